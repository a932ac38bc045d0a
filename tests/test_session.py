import json
import os
import time

import nbformat
import papermill
import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import start_new_kernel
from traitlets.config import Config

from ml_experiment_nb import session
from ml_experiment_nb.effects import Executed
from ml_experiment_nb.tracking import Store


@pytest.fixture
def shell():
    """A shell that is this process's, with the extension loaded and its own history."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def after(shell, stored):
    """Execute cells, and return the record's two notebooks, as their cells' sources, and the notes of the last run."""

    def execute(*cells):
        for cell in cells:
            shell.run_cell(cell, store_history=True)
        store = Store(stored)
        record = store.records()[0]
        found = [nbformat.reads(store.text(record, f"record/{name}.ipynb"), 4) for name in ("session", "slice")]
        for one in found:
            nbformat.validate(one)
        return (*([cell.source for cell in one.cells] for one in found), record.notes)

    return execute


LOAD = "%load_ext ml_experiment_nb"
LAST = "%%experiment E --seed 1\nC = 2\n{'a': x + C}"


def test_the_cells_as_they_were_executed_and_those_that_are_needed(after):
    cells = [LOAD, "x = 1", "y = 2", "x = 3", "x", LAST]
    assert after(*cells) == (cells, [LOAD, "x = 3", LAST], ())


def test_a_session_that_changes_its_folder_says_where_it_began(shell, after, stored):
    began = shell.starting_dir
    (stored / "sub").mkdir()
    after(LOAD, "x = 1", LAST)
    assert session.started_in(session.sliced(shell).text) is None
    after("import os\nos.chdir('sub')", LAST)
    assert session.started_in(session.sliced(shell).text) == began


def test_a_called_job(after):
    define = "from ml_experiment_nb import job\n@job\ndef train(C):\n    return {'a': C * factor}"
    cells = [define, "factor = 2", "train(C=1)", "factor = 3", "unneeded = 1", "train(C=2)"]
    assert after(*cells) == (cells, [define, "factor = 3", "train(C=2)"], ())


def test_an_experiment_may_stand_on_another(after):
    first = "%%experiment first\nC = 1\nmodel = {'C': base + C}\n{'a': 1}"
    last = "%%experiment second\n{'a': model['C']}"
    cells = [LOAD, "base = 1", first, "%%experiment other\nB = 1\n{'b': B}", last]
    assert after(*cells) == (cells, [LOAD, "base = 1", first, last], ())


def test_magics_stay_as_they_are_and_the_extension_is_loaded_where_it_was_not(after, shell):
    shell.run_line_magic("load_ext", "ml_experiment_nb")
    cells = ["%%capture shown\nx = 1", "lines = !echo 4", "%time y = int(lines[0]) + len(shown.stdout)", LAST + "['a']"]
    cells[-1] = "%%experiment E\n{'a': x + y}"
    assert after(*cells) == ([LOAD, *cells], [LOAD, *cells], ())


def test_what_an_option_names_is_needed(after):
    last = "%%experiment E -p C={value} --data table\nC = 1\n{'a': C}"
    cells = [LOAD, "value = 7", "table = [1, 2]", "other = 1", last]
    assert after(*cells)[1:] == ([LOAD, "value = 7", "table = [1, 2]", last], ())


def test_a_script_that_was_run_makes_names(after, stored):
    (stored / "prepare.py").write_text("x = 5\n")
    cells = [LOAD, "z = 1", "%run prepare.py", LAST]
    assert after(*cells)[1:] == ([LOAD, "%run prepare.py", LAST], ())


def test_numbers_that_the_last_cell_draws_depend_on_what_was_drawn(after):
    last = "%%experiment E\nimport random\n{'a': random.random()}"
    cells = [LOAD, "import random", "random.seed(3)", "x = random.random()", "y = 1", last]
    assert after(*cells)[1:] == ([LOAD, *cells[1:4], last], ())


@pytest.mark.slow
def test_hidden_state_is_said(after, shell):
    shell.user_ns["x"] = 1
    cells = [LOAD, "y = x + 1", "%%experiment E\n{'a': x + y + _}"]
    _, needed, [note] = after(*cells)
    assert needed == cells
    assert note.startswith("the session has hidden state, which its cells alone don't give: the cell reads _, which a")
    assert "; In [2] reads x, and no cell that was executed here makes it" in note


def test_what_a_silent_cell_has_made_is_hidden(after, shell):
    shell.run_cell("x = 3", silent=True)
    cells = [LOAD, LAST]
    assert after(*cells)[2] == (
        "the session has hidden state, which its cells alone don't give: the cell reads x, and no cell that was "
        "executed here makes it",
    )


def test_a_session_that_is_very_long_is_not_kept(shell, stored, monkeypatch):
    monkeypatch.setattr(session, "_MOST_CELLS", 3)
    for cell in (LOAD, "x = 1", "x = 2", LAST):
        shell.run_cell(cell, store_history=True)
    store = Store(stored)
    [record] = store.records()
    assert "record/session.ipynb" not in store.artifacts(record)
    assert record.notes == ("the session is not kept: it has 4 cells of 78 characters",)


def test_cells_that_failed_are_tagged():
    cells = [Executed(k, f"cell {k}", k in (1, 2, 3)) for k in range(5)]
    made = json.loads(session.as_notebook(cells, {1: "ValueError", 2: "KeyboardInterrupt", 3: "SyntaxError"}))
    assert [cell["metadata"].get("tags") for cell in made["cells"]] == [
        None, ["raises-exception"], ["skip-execution"], ["skip-execution"], None,
    ]  # fmt: skip
    assert [cell["execution_count"] for cell in made["cells"]] == [0, 1, 2, 3, 4]


def test_a_failed_cell_does_what_it_did_and_no_more():
    source = "a.append(1)\nif a:\n    text = '''x\n y\n'''\n1 / 0\na.append(2)"
    made = json.loads(session.as_notebook([Executed(1, source, True), Executed(2, "last")], {1: "ZeroDivisionError"}))
    names = {"a": []}
    exec("".join(made["cells"][0]["source"]), names)
    assert (names["a"], names["text"]) == ([1], "x\n y\n")
    magic = json.loads(session.as_notebook([Executed(1, "%%time\nf()", True), Executed(2, "last")], {1: "NameError"}))
    assert "".join(magic["cells"][0]["source"]) == "%%time\nf()"


def test_what_would_end_the_session_is_skipped():
    cells = [Executed(k, text) for k, text in enumerate(["exit", "%debug", "exit_code = 1", "last"])]
    made = json.loads(session.as_notebook(cells, {}))
    skipped = [cell["source"][0] for cell in made["cells"] if cell["metadata"]]
    assert skipped == ["exit", "%debug"]


def test_outside_of_a_notebook_nothing_is_kept(stored):
    from ml_experiment_nb import job

    job(lambda C=1: {"a": C})()
    store = Store(stored)
    assert "record/session.ipynb" not in store.artifacts(store.records()[0])


SESSION = [
    "import numpy as np\nnp.random.seed(4)", LOAD, "unneeded = np.zeros(3)", "noise = np.random.rand(2)",
    "def f(x):\n    return x * K", "K = 1", "K = 3", "values = {'a': 1}", "values['a'] = 2; 1 / 0", "x = = 1",
    "from ml_experiment_nb import job\n\n@job\ndef train(C):\n    return {'a': f(C)}", "train(C=1)",
    "%%experiment first\nfitted = {'K': f(2)}\n{'a': 1}", "%%time\nshift = 4", "%run prepare.py", "K = 5",
]  # fmt: skip
TRACKED = """%%experiment E --into found
C = 0.5
{'a': f(C) + values['a'] + fitted['K'] + shift + x + noise.sum() + np.random.rand()}"""


@pytest.mark.kernel
@pytest.mark.slow
def test_both_notebooks_give_the_runs_metrics(stored):
    (stored / "prepare.py").write_text("x = 10\n")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(stored))
    try:
        replies = [client.execute_interactive(cell, timeout=120)["content"]["status"] for cell in [*SESSION, TRACKED]]
        client.execute_interactive("train(C=7)", timeout=120)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert [k for k, status in enumerate(replies) if status == "error"] == [8, 9]
    store = Store(stored)
    of_job, of_cell = store.records()[:2]
    assert (of_job.name, of_cell.name) == ("train", "E")
    assert (of_job.notes, of_cell.notes) == ((), ())
    counts = []
    for record, name in ((of_cell, "session"), (of_cell, "slice"), (of_job, "slice")):
        path = stored / f"{name}.ipynb"
        path.write_text(store.text(record, f"record/{name}.ipynb"))
        done = papermill.execute_notebook(path, stored / "out.ipynb", progress_bar=False, cwd=stored)
        again = store.records()[0]
        assert again.run_id not in (of_cell.run_id, of_job.run_id)
        assert (again.name, again.metrics) == (record.name, record.metrics)
        counts.append(len(done.cells))
    assert counts[0] == len(SESSION) + 1 > counts[1] > counts[2]


def test_cells_whose_text_in_the_notebook_is_another_by_now():
    cells = [Executed(k, text) for k, text in enumerate(("x = 1", "y = 1", "z = 1", "x = 1", "w = 1"), start=1)]
    ids = {1: "a", 2: "b", 4: "a", 5: "b"}
    assert session.edited_since(cells[:3], cells, ids) == ["In [2] was edited since, as In [5]"]
    assert session.edited_since(cells, cells, {}) == []


def test_a_cell_that_the_notebook_has_not_any_more_is_hidden_state(after, stored, monkeypatch):
    file = stored / "n.ipynb"
    monkeypatch.setattr(session, "this_notebook", lambda: file)  # which a kernel is told, and this process isn't

    def save(*sources, ago):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
        at = time.time() - ago
        os.utime(file, (at, at))

    save(LOAD, "x = 3", LAST, ago=600)  # as it was before anything was run
    assert after(LOAD, "x = 1", LAST)[2] == ()
    save(LOAD, "x = 3", LAST, ago=-600)
    *_, [note] = after(LAST)
    assert note.endswith("alone don't give: In [2] (x = 1) is not in the notebook any more, or was edited")
    save(LOAD, "x = 1", LAST, ago=-600)
    assert after(LAST)[2] == ()
    file.write_text("no notebook")
    assert after(LAST)[2] == ()


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ('%%experiment "SVM" --prove', '%%experiment "SVM"'),
        ("%%experiment --prove -p C=2 --needed", "%%experiment -p C=2"),
        ("%%experiment --notify https://host/x --into r", "%%experiment --into r"),
        ("%%group --notify='a b' --trials 2 --notify desktop", "%%group --trials 2"),
        ("%%time\n%%experiment --prove x", "%%time\n%%experiment x"),
        ("%%experiment my--prove", "%%experiment my--prove"),
    ],
)
def test_nobody_is_told_of_a_proof_and_it_is_proven_no_further(line, left):
    text = session.as_notebook([Executed(1, "x = '--prove'"), Executed(2, f"{line}\n{{'a': 1}}  # --prove")], {})
    cells = json.loads(session.as_proven(text, "guard()"))["cells"]
    assert ["".join(one["source"]) for one in cells] == [
        "guard()", "%load_ext ml_experiment_nb", "x = '--prove'", f"{left}\n{{'a': 1}}  # --prove"
    ]  # fmt: skip
