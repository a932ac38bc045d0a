import json
import os
import subprocess
import sys
import time

import nbformat
import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.events import Answer, Cell, Done, Log, Metrics, Note, Params
from ml_experiment_nb.records import SYSTEM, Failure, Outcome, Status
from ml_experiment_nb.targets import Notebook, with_options
from ml_experiment_nb.work.notebook import run_notebook
from ml_experiment_nb.work.process import Running

pytestmark = pytest.mark.kernel

FINISHED = Outcome(Status.FINISHED)
PARAMETERS = ("C = 1.0\nkernel = 'rbf'", "parameters")


@pytest.fixture
def notebook(project):
    """Write a notebook into the project: of sources, of ``(source, tag)``, and of markdown cells as they are."""

    def write(*cells, name="train.ipynb", kernel="python3"):
        found = nbformat.v4.new_notebook()
        for cell in cells:
            if isinstance(cell, nbformat.NotebookNode):
                found.cells.append(cell)
                continue
            source, *tags = (cell,) if isinstance(cell, str) else cell
            found.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
        if kernel is not None:
            found.metadata.kernelspec = {"name": kernel, "display_name": "Python 3", "language": "python"}
        nbformat.write(found, project / name)
        return Notebook(path=str(project / name))

    return write


@pytest.fixture
def kept(project):
    """Read the executed notebook that the task kept; the outputs of its code cells as text."""

    def read(path=project / ".tasks/0/artifacts/train.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        return [
            (
                cell.source,
                "".join(
                    one.get("text") or one.get("ename") or one.get("data", {}).get("text/plain", "")
                    for one in cell.outputs
                ),
            )
            for cell in cells
        ]

    return read


def perform(task, verdicts=None):
    running = Running(task)
    events, outcome = [], None
    for batch in running.batches():
        for event in batch:
            if isinstance(event, Metrics) and event.ask:
                running.answer(Answer(verdicts(event)))
            outcome = event.outcome if isinstance(event, Done) else outcome
        events += batch
    return events, outcome


def metrics(events):
    """Return what the notebook has told; what it uses is sampled where it takes long."""
    told = [event for event in events if isinstance(event, Metrics)]
    return [(event.values, event.step) for event in told if not any(name.startswith(SYSTEM) for name in event.values)]


def test_a_notebook_from_its_parameters_to_its_last_value(make_task, notebook, kept, project):
    target = notebook(
        nbformat.v4.new_markdown_cell("# Title"),
        PARAMETERS,
        "from ml_experiment_nb import artifact, report\nfor k in range(3): report(loss=C / (k + 1))",
        "artifact('notes', kernel)\nprint('training', kernel)",
        "{'accuracy': C}, {'more': 'text'}",
    )
    task = make_task(target, params={"C": 0.5}, output=str(project / "out.ipynb"))
    events, outcome = perform(task)
    assert outcome == FINISHED
    assert events[0] == Params({"C": 0.5, "kernel": "rbf"})
    assert metrics(events) == [
        ({"loss": 0.5}, 0),
        ({"loss": 0.25}, 1),
        ({"loss": 0.5 / 3}, 2),
        ({"accuracy": 0.5}, None),
    ]
    cells = [event for event in events if isinstance(event, Cell)]
    assert [(cell.index, cell.count) for cell in cells] == [(k, 5) for k in (1, 2, 3, 4, 5)]
    assert cells[-1].title == "{'accuracy': C}, {'more': 'text'}"
    assert "training rbf" in "".join(event.text for event in events if isinstance(event, Log))
    assert [event for event in events if isinstance(event, Note)] == []
    cells = kept(project / "out.ipynb")
    assert cells[1][0].endswith("C = 0.5\n")
    assert cells[3][1] == "training rbf\n"
    assert kept(project / ".tasks/0/artifacts/out.ipynb") == cells
    assert (project / ".tasks/0/artifacts/notes.txt").read_text() == "rbf"
    assert (project / ".tasks/0/artifacts/more.txt").read_text() == "text"
    assert sorted(one.name for one in project.iterdir()) == [".tasks", "out.ipynb", "train.ipynb"]


@pytest.mark.kernel
def test_what_a_cell_has_shown_may_arrive_long_after_it_ended(notebook, project, monkeypatch):
    import papermill

    from ml_experiment_nb.work.engine import Client

    real = Client.process_message

    def slowly(self, message, cell, index):
        if message["msg_type"] == "display_data":
            time.sleep(0.5)
        return real(self, message, cell, index)

    monkeypatch.setattr(Client, "process_message", slowly)
    target = notebook("for i in range(12): display(i)", "1")
    out = papermill.execute_notebook(target.path, None, engine_name="ml-experiment", progress_bar=False)
    assert len(out.cells[0].outputs) == 12


def test_a_cell_that_fails(make_task, notebook, kept, project):
    target = notebook(
        PARAMETERS, "print('before')", "def f():\n    raise ValueError(f'C is {C}')\nf()", "print('never')"
    )
    events, outcome = perform(make_task(target, params={"C": 2}, output=str(project / "out.ipynb")))
    failure = outcome.failure
    assert (outcome.status, failure.type, failure.message) == (Status.FAILED, "ValueError", "C is 2")
    assert "raise ValueError" in failure.traceback
    assert "\x1b" not in failure.traceback
    assert "papermill" not in failure.traceback
    outputs = dict(kept(project / "out.ipynb"))
    assert kept(project / ".tasks/0/artifacts/out.ipynb")
    assert outputs["print('before')"] == "before\n"
    assert outputs["print('never')"] == ""
    assert metrics(events) == []


def test_names_with_braces_are_taken_as_they_are(make_task, notebook, kept, project):
    target = notebook(PARAMETERS, "{'C': C}", name="{odd} name.ipynb")
    _, outcome = perform(make_task(target, params={"C": 2}, output=str(project / "out-{C}.ipynb")))
    assert outcome == FINISHED
    assert kept(project / "out-{C}.ipynb")[-1][1] == "{'C': 2}"
    assert (project / ".tasks/0/artifacts/out-{C}.ipynb").exists()


def test_a_kernel_that_dies(make_task, notebook, kept):
    events, outcome = perform(make_task(notebook("print('before')", "import os; os._exit(3)", "print('never')")))
    assert (outcome.status, outcome.failure.type) == (Status.FAILED, "TaskDiedError")
    assert dict(kept())["print('before')"] == "before\n"
    assert "before" in "".join(event.text for event in events if isinstance(event, Log))


def test_the_tags_of_nbclient(make_task, notebook, kept):
    target = notebook(("1 / 0", "skip-execution"), ("2 / 0", "raises-exception"), "{'after': 1}")
    events, outcome = perform(make_task(target))
    assert outcome == FINISHED
    assert metrics(events) == [({"after": 1.0}, None)]
    assert [output for _, output in kept()] == ["", "ZeroDivisionError", "{'after': 1}"]


def test_a_failure_after_an_allowed_one(make_task, notebook):
    _, outcome = perform(make_task(notebook(("2 / 0", "raises-exception"), "raise KeyError('real')", "1")))
    assert outcome.failure.type == "KeyError"


def test_errors_that_a_kernel_would_swallow(make_task, notebook, kept, project):
    (project / "fails.py").write_text("raise KeyError('within')\n")
    target = notebook(
        ("%nosuch", "raises-exception"), "!exit 3", ("%run fails.py", "raises-exception"), "%%capture\n%nosuch", "never"
    )
    events, outcome = perform(make_task(target))
    failure = outcome.failure
    assert (failure.type, failure.message) == ("UsageError", "Line magic function `%nosuch` not found.")
    assert failure.traceback.startswith("cell 4\n")
    assert [output for _, output in kept()] == ["UsageError", "", "KeyError", "UsageError", ""]
    assert [event.text for event in events if isinstance(event, Note)] == ["In [2]: !exit 3 ended with exit code 3"]


@pytest.mark.parametrize("engine", ["ml-experiment", "nbclient"])
def test_a_script_that_raises_within_run(make_task, notebook, kept, project, engine):
    (project / "fails.py").write_text("raise KeyError('within')\n")
    target = with_options(notebook("%run fails.py", "print('after')"), {"engine": engine})
    assert perform(make_task(target))[1].failure.type == "KeyError"
    assert kept()[-1][1] == ("" if engine == "ml-experiment" else "after\n")


def test_a_cell_that_takes_too_long(make_task, notebook, kept, project):
    target = notebook("print('before')", "import time; time.sleep(600)", "print('never')")
    task = make_task(with_options(target, {"execution_timeout": 1}), output=str(project / "out.ipynb"))
    failure = perform(task)[1].failure
    assert failure.type == "TaskTimeoutError"
    assert failure.message == ("stopped in cell 2 (import time; time.sleep(600)): it took longer than its limit of 1 s")
    assert [output for _, output in kept(project / "out.ipynb")] == ["before\n", "", ""]
    assert statuses(project / "out.ipynb") == ["completed", "failed", "pending"]


def statuses(path):
    return [cell.metadata.papermill.status for cell in nbformat.read(path, as_version=4).cells]


def test_a_part_of_a_notebook(make_task, notebook, kept, project):
    target = notebook(
        PARAMETERS, "1 / 0", nbformat.v4.new_markdown_cell("Text"), ("print(C)", "here"), "{'c': C}", "later"
    )
    nb = nbformat.read(target.path, as_version=4)
    nb.cells[1].outputs = [nbformat.v4.new_output("error", ename="OldError", evalue="", traceback=[])]
    nb.cells[5].outputs = [nbformat.v4.new_output("stream", text="kept")]
    nbformat.write(nb, target.path)
    part = with_options(target, {"from_cell": "here", "until_cell": 5, "report_mode": True})
    task = make_task(part, params={"C": 3}, output=str(project / "out.ipynb"))
    events, outcome = perform(task)
    assert outcome == FINISHED
    assert [output for _, output in kept(project / "out.ipynb")] == ["", "", "OldError", "3\n", "{'c': 3}", "kept"]
    done, skipped = "completed", "skipped"
    assert statuses(project / "out.ipynb") == [done, done, skipped, skipped, done, done, skipped]
    assert [event.index for event in events if isinstance(event, Cell)] == [1, 2, 4, 5]
    [note] = [event.text for event in events if isinstance(event, Note)]
    assert note == "a part of the notebook was run, from cell here until cell 5: left out 3 of its 6 cells"
    hidden = [cell.metadata.get("jupyter") for cell in nbformat.read("out.ipynb", as_version=4).cells]
    assert hidden == [None if k == 3 else {"source_hidden": True} for k in range(7)]


def test_what_is_logged_and_written_besides(make_task, notebook, project):
    options = {"log_output": True, "stdout_file": "out.txt", "stderr_file": "err.txt", "autosave_cell_every": 0}
    target = with_options(notebook("import sys\nprint('told')\nprint('warned', file=sys.stderr)\n1 + 41"), options)
    events, outcome = perform(make_task(target))
    assert outcome == FINISHED
    printed = "".join(event.text for event in events if isinstance(event, Log))
    assert "Executing Cell 1-----" in printed
    assert printed.count("told") == printed.count("warned") == 1
    assert "42\n" in printed  # a result, as text
    assert ((project / "out.txt").read_text(), (project / "err.txt").read_text()) == ("told\n", "warned\n")


def test_the_same_as_papermill(notebook, make_task, project, monkeypatch):
    """Side by side: cells, outputs, tags and the keys of the metadata, but for ids and times."""
    code = "import sys\nprint(C, kernel)\nprint('warned', file=sys.stderr)\n{'a': C}"
    title = nbformat.v4.new_markdown_cell("# Title")
    target = notebook(title, PARAMETERS, ("stale = 1", "injected-parameters"), code, ("1 / 0", "skip-execution"), "")
    params = ["-p", "C", "0.5", "-r", "kernel", "1", "--report-mode", "-k", "python3"]
    words = [sys.executable, "-m", "papermill", target.path, "theirs.ipynb", *params, "--no-progress-bar"]
    assert subprocess.run(words, capture_output=True).returncode == 0
    task = make_task(
        with_options(target, {"report_mode": True, "kernel": "python3"}),
        params={"C": 0.5, "kernel": "1"},
        output=str(project / "ours.ipynb"),
    )
    assert perform(task)[1] == FINISHED
    ours, theirs = (comparable(project / f"{name}.ipynb") for name in ("ours", "theirs"))
    assert ours == theirs
    assert len(ours["cells"]) == 6
    assert ours["metadata"]["papermill"]["parameters"] == {"C": 0.5, "kernel": "1"}


def comparable(path):
    nb = json.loads(path.read_text())
    for changing in ("start_time", "end_time", "duration", "output_path"):
        nb["metadata"]["papermill"][changing] = "…"
        for cell in nb["cells"]:
            cell["metadata"]["papermill"][changing] = "…"
    for cell in nb["cells"]:
        cell["id"] = "…"
        cell["metadata"]["execution"] = sorted(cell["metadata"].get("execution", {}))
        if "outputs" in cell:
            cell["outputs"].sort(key=str)  # of two streams, either may be read first
    return nb


def test_a_last_cell_without_a_value_records_nothing(make_task, notebook):
    events, outcome = perform(make_task(notebook("{'early': 1}", "x = {'late': 1}")))
    assert outcome == FINISHED
    assert metrics(events) == []


def test_an_empty_last_cell_is_passed_over(make_task, notebook):
    events, _ = perform(make_task(notebook("{'a': 1}", "", nbformat.v4.new_markdown_cell("The end"))))
    assert metrics(events) == [({"a": 1.0}, None)]


def test_what_is_no_metric_in_the_last_value_is_noted(make_task, notebook):
    events, outcome = perform(make_task(notebook("{'model': 'svm'}")))
    assert outcome == FINISHED
    assert ["returned 'model' is a str" in event.text for event in events if isinstance(event, Note)] == [True]


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("from ml_experiment_nb import report\nfor k in range(9): report(loss=k)", [0, 1, 2]),
        ("import optuna\nraise optuna.TrialPruned", []),
    ],
    ids=["report", "optuna"],
)
def test_a_pruned_notebook(make_task, notebook, kept, project, source, steps):
    task = make_task(notebook(source, "print('never')"), pruning=True)
    events, outcome = perform(task, verdicts=lambda event: event.step == 2)
    assert outcome == Outcome(Status.PRUNED)
    assert [step for _, step in metrics(events)] == steps
    assert dict(kept())["print('never')"] == ""
    executed = nbformat.read(project / ".tasks/0/artifacts/train.ipynb", as_version=4)
    assert not any("papermill-error-cell-tag" in cell.metadata.get("tags", ()) for cell in executed.cells)
    (error,) = [one for cell in executed.cells for one in cell.get("outputs", ()) if one.output_type == "error"]
    assert error.traceback == [f"{error.ename}: {error.evalue}" if error.evalue else error.ename]


def test_a_notebook_that_names_no_kernel(make_task, notebook):
    events, outcome = perform(make_task(notebook("{'a': 1}", kernel=None)))
    assert outcome == FINISHED
    assert metrics(events) == [({"a": 1.0}, None)]
    assert ["names no kernel" in event.text for event in events if isinstance(event, Note)] == [True]


def test_a_kernel_that_is_not_installed(make_task, notebook):
    _, outcome = perform(make_task(notebook("1", kernel="no-such-kernel")))
    assert outcome.failure.type == "SpecError"
    assert "no-such-kernel" in outcome.failure.message


def test_the_kernel_works_in_the_tasks_folder_and_leaves_with_the_task(make_task, notebook, project, has_ended):
    target = notebook("import os; print('pid', os.getpid(), os.getcwd())\nimport time; time.sleep(600)")
    running = Running(make_task(target))
    batches, printed = running.batches(), ""
    while "\n" not in printed:
        printed += "".join(event.text for event in next(batches) if isinstance(event, Log))
    _, pid, cwd = printed.split()
    assert cwd == str(project)
    outcome = Outcome(Status.KILLED, Failure("Test", "enough"))
    running.kill(outcome)
    *_, last = (event for batch in batches for event in batch)
    assert last == Done(outcome)
    assert has_ended(int(pid), timeout=0)


def test_the_partial_notebook_of_a_killed_task_is_kept(make_task, notebook, kept):
    target = notebook("{'early': 1}", "print('second')\nimport time; time.sleep(600)")
    running = Running(make_task(target))
    for batch in running.batches():
        if any(isinstance(event, Log) and "second" in event.text for event in batch):
            running.kill(Outcome(Status.KILLED))
    assert dict(kept())["{'early': 1}"] == "{'early': 1}"


def test_the_engine_is_papermills_for_everyone(notebook, project):
    """Without a run, as ``papermill --engine ml-experiment``."""
    target = notebook(PARAMETERS, "{'C': C}")
    words = [sys.executable, "-m", "papermill", target.path, "out.ipynb", "--engine", "ml-experiment", "-p", "C", "0.5"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ML_EXPERIMENT")}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    executed = json.loads((project / "out.ipynb").read_text())
    assert executed["cells"][-1]["outputs"][0]["data"]["text/plain"] == ["{'C': 0.5}"]


def test_a_file_that_is_no_notebook(tmp_path):
    class Nowhere:
        artifacts = tmp_path

        def send(self, event):
            pass

    (tmp_path / "x.ipynb").write_text("{}")
    with pytest.raises(SpecError, match="isn't a notebook"):
        run_notebook(Notebook(path=str(tmp_path / "x.ipynb")), {}, Nowhere(), None)
