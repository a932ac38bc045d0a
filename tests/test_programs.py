"""A run's code as a program: what comes back is run, in a fresh folder, and gives the same metrics."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from made_records import experiment_record

from ml_experiment_nb import forms, programs
from ml_experiment_nb.archive import SPEC
from ml_experiment_nb.command_requests.forms import form_of
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.sweeps import opened_store

SCRIPT = '''"""A script."""
from __future__ import annotations
from ml_experiment_nb import job

@job
def train(C: float, kernel="rbf", *, shape: tuple = (1, 2)):  # ä
    return {"accuracy": C * len(kernel), "size": len(shape)}

if __name__ == "__main__":
    train()
'''
PLAIN = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--C', type=float)\n" + (
    "from ml_experiment_nb import report\nreport(accuracy=parser.parse_args().C)\n"
)


def asked(spec, sources, form, **keys):
    """Return a form of a spec's run that has kept these sources."""
    return form_of(experiment_record(**keys), spec_text(spec_from_mapping(spec)), form, sources.get).text


def test_parameters_become_a_job_s_defaults():
    params = {"C": 0.5, "shape": [1, 2, 3]}
    text = asked({"run": "train.py", "params": params}, {"source/train.py": SCRIPT}, "script")
    line = 'def train(C: float = 0.5, kernel="rbf", *, shape: tuple = [1, 2, 3]):  # ä'
    assert text == SCRIPT.replace('def train(C: float, kernel="rbf", *, shape: tuple = (1, 2)):  # ä', line)


def test_parameters_become_another_script_s_words():
    text = asked({"run": "a.py", "params": {"C": 0.5}}, {"source/a.py": f'"""Text."""\n{PLAIN}'}, "script")
    line = "import sys; sys.argv[1:] = ['--C', '0.5']  # what the run was given\n"
    assert text == f'"""Text."""\n{line}{PLAIN}'


def test_a_script_without_parameters_is_as_it_was():
    assert asked({"run": "a.py"}, {"source/a.py": PLAIN}, "script") == PLAIN


def notebook(*cells, language="python"):
    code = nbformat.v4.new_code_cell
    made = [code(text, id=f"c{k}", metadata={"tags": tags}) for k, (text, *tags) in enumerate(cells)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "x"}, "language_info": {"name": language}}
    return json.dumps(nbformat.v4.new_notebook(cells=made, metadata=metadata))


BOOK = notebook(["%matplotlib inline\nbase = 2"], ["C = 1\nk = 3", "parameters"], ["x = C * base; {'accuracy': x + k}"])


def test_a_notebook_is_given_its_parameters():
    text = asked({"run": "a.ipynb", "params": {"C": 5}}, {"source/a.ipynb": BOOK}, "notebook")
    cells = json.loads(text)["cells"]
    assert [(one["source"], one["metadata"].get("tags")) for one in cells][1:3] == [
        ("C = 1\nk = 3", ["parameters"]), ("C = 5", ["injected-parameters"]),
    ]  # fmt: skip


def test_a_notebook_as_a_script():
    text = asked({"run": "a.ipynb", "params": {"C": 5}}, {"source/a.ipynb": BOOK}, "script")
    assert text == (
        "from ml_experiment_nb import artifact, report\n"
        "from ml_experiment_nb.capture.artifacts import as_artifacts\n"
        "from ml_experiment_nb.events import as_number\n\n"
        "# %%\nbase = 2\n\n\n# %%\nC = 1\nk = 3\n\n\n# %%\nC = 5\n\n\n"
        "# %%\nx = C * base; _value = (\n    {'accuracy': x + k}\n)\n"
        "_metrics, _artifacts = _value, {}\n"
        "if isinstance(_value, tuple) and len(_value) == 2 and isinstance(_value[0], dict):\n"
        "    _metrics, _artifacts = _value[0], as_artifacts(_value[1])\n"
        "if isinstance(_metrics, dict):\n"
        "    report({_name: _one for _name, _one in _metrics.items() if as_number(_one) is not None})\n"
        "for _name, _content in _artifacts.items():\n    artifact(_name, _content)\n"
    )


def reported(monkeypatch, *cells):
    """Run a notebook as a script; return the metrics and the artifacts that it reports."""
    metrics, artifacts = {}, {}
    monkeypatch.setattr("ml_experiment_nb.reports.report", metrics.update)
    monkeypatch.setattr("ml_experiment_nb.reports.artifact", artifacts.__setitem__)
    text = asked({"run": "a.ipynb"}, {"source/a.ipynb": notebook(*([one] for one in cells))}, "script")
    exec(compile(text, "b.py", "exec", dont_inherit=True), {})
    return metrics, artifacts


@pytest.mark.parametrize(
    ("last", "metrics", "artifacts"),
    [
        ("(3, 4)", {}, {}),
        ("(1, 2, 3)", {}, {}),
        ("()", {}, {}),
        ("{'a': 1, 'kernel': 'rbf', 'none': None}", {"a": 1}, {}),
        ("{'a': 1}, {'b': 'text'}", {"a": 1}, {"b": "text"}),
        ("{'a': 1}, [1, 2]", {"a": 1}, {"artifact": [1, 2]}),
        ("{'a': 1}, None", {"a": 1}, {}),
    ],
)
def test_a_last_expression_reports_what_it_does_in_the_notebook(monkeypatch, last, metrics, artifacts):
    assert reported(monkeypatch, last) == (metrics, artifacts)


def test_what_comes_from_the_future_comes_first(monkeypatch):
    cells = [
        '"""Text."""\nfrom __future__ import annotations\ndef f(x: Nothing): return 1',
        "from __future__ import division; y = 2",
        "from __future__ import (\n    annotations,  # so\n    generators,\n)",
        "{'a': f(0) + y}",
    ]
    assert reported(monkeypatch, *cells) == ({"a": 3}, {})


@pytest.mark.parametrize(
    ("spec", "sources", "form", "problem"),
    [
        ({"run": "a.py"}, {}, "script", "the script's source is not kept"),
        ({"run": "a.py"}, {"source/a.py": PLAIN}, "notebook", "no notebook and no cell was run"),
        ({"run": "a.ipynb"}, {}, "notebook", "the notebook's source is not kept"),
        ({"run": {"command": "ls"}}, {}, "script", "no notebook and no cell was run"),
        ({"run": ["a.py", "b.py"]}, {}, "script", "take one of its steps"),
        ({"run": "a.py", "kind": "group", "param_space": {"C": "uniform(0, 1)"}}, {}, "script", "one of its trials"),
        ({"run": "a.py", "params": {"C": "secret(API_TOKEN)"}}, {"source/a.py": PLAIN}, "script", "a secret is among"),
        ({"run": "a.ipynb"}, {"source/a.ipynb": notebook(["!ls"], ["1"])}, "script", "cell 'c0' .* '!ls'"),
        ({"run": "a.ipynb"}, {"source/a.ipynb": notebook(["x = 1\nawait f(x)"])}, "script", "cell 'c0' .* 'await f"),
        ({"run": "a.ipynb", "params": {"C": 1}}, {"source/a.ipynb": notebook(["1"], language="R")}, "notebook", "in r"),
        ({"run": {"source": "C = 1\nC + other"}}, {}, "notebook", "the cell reads other"),
    ],
)
def test_what_can_not_be_had(spec, sources, form, problem):
    with pytest.raises(SpecError, match=problem):
        asked(spec, sources, form)


def test_a_part_of_a_notebook_leaves_the_rest_out():
    run = {"notebook": "a.ipynb", "from_cell": 2}
    cells = json.loads(asked({"run": run}, {"source/a.ipynb": BOOK}, "notebook"))["cells"]
    assert [one["metadata"].get("tags") for one in cells] == [["skip-execution"], ["parameters"], []]


def test_what_the_code_does_not_have_is_said():
    spec = spec_from_mapping({"run": "a.py", "seed": 1, "root_path": "/x"})
    form = programs.as_script(programs.RecordedSpec(spec), {"source/a.py": PLAIN}.get)
    assert form.losses == ("seed: 1 was asked, and isn't in the code", "it ran in /x")


# --- for real ---


def sh(*words, cwd):
    binary = Path(sys.executable).with_name(words[0])
    done = subprocess.run([binary, *words[1:]], cwd=cwd, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def newest(folder, **wanted):
    lines = sh("ml-experiment", "ls", "--json", cwd=folder).splitlines()
    return next(one for one in map(json.loads, lines) if wanted.items() <= one.items())


@pytest.fixture
def comes_back(project, tmp_path_factory, monkeypatch):
    """Have a run come back in a form, run that in a fresh folder, and return the metrics of both."""
    monkeypatch.delenv("ML_EXPERIMENT_ROOT")
    (project / ".ml-experiment").mkdir(exist_ok=True)

    def check(run, form, name):
        fresh = tmp_path_factory.mktemp("fresh")
        (fresh / ".ml-experiment").mkdir()
        (fresh / name).write_text(sh("ml-experiment", "show", run["run_id"], "--as", form, cwd=project))
        sh("ml-experiment", "run", name, cwd=fresh)
        return newest(fresh, kind="experiment")["metrics"], run["metrics"]

    return check


@pytest.mark.slow
@pytest.mark.parametrize(("text", "words"), [(SCRIPT, ["-p", "C=3", "-p", "kernel=ab"]), (PLAIN, ["-p", "C=3"])])
def test_a_script_s_run_comes_back(project, comes_back, text, words):
    (project / "a.py").write_text(text)
    sh("ml-experiment", "run", "a.py", *words, cwd=project)
    (project / "a.py").write_text("raise SystemExit('another one by now')")
    again, before = comes_back(newest(project), "script", "b.py")
    assert again == before
    assert before["accuracy"] in (3, 6)


@pytest.mark.kernel
@pytest.mark.slow
def test_a_notebook_s_run_comes_back(project, comes_back):
    (project / "a.ipynb").write_text(BOOK)
    sh("ml-experiment", "run", "a.ipynb", "-p", "C=7", cwd=project)
    (project / "a.ipynb").unlink()
    run = newest(project)
    assert run["metrics"] == {"accuracy": 17}
    for form, name in (("notebook", "b.ipynb"), ("script", "b.py")):
        again, before = comes_back(run, form, name)
        assert again == before


@pytest.mark.kernel
@pytest.mark.slow
def test_a_cell_s_run_comes_back(project, comes_back):
    cell = "%%experiment 'x' -p C=4\nC = 1\nkernel = 'rbf'\n\nmodel = double(C)\n{'accuracy': model, 'n': len(data)}"
    book = notebook(
        ["%load_ext ml_experiment_nb"], ["import math\nunused = 1"], ["data = [1, 2]"], ["data.append(3)"],
        ["def double(x):\n    return 2 * x * len(data)"], [cell], ["data = []"],
    )  # fmt: skip
    (project / "a.ipynb").write_text(book)
    sh("ml-experiment", "run", "a.ipynb", cwd=project)
    run = newest(project, name="x")
    assert run["metrics"] == {"accuracy": 24, "n": 3}
    again, before = comes_back(run, "script", "b.py")
    assert again == before
    text = sh("ml-experiment", "show", run["run_id"], "--as", "notebook", cwd=project)
    assert "unused" not in text
    (project / "b.ipynb").write_text(text)
    sh("ml-experiment", "run", "b.ipynb", cwd=project)
    other = newest(project, name="x")
    assert (other["metrics"], other["params"]) == (run["metrics"], run["params"])
    assert other["run_id"] != run["run_id"]


@pytest.mark.kernel
@pytest.mark.slow
def test_a_cell_s_run_as_a_notebook_that_is_run_headless_has_its_metrics_and_takes_its_parameters(project):
    cell = "%%experiment 'x' -p C=4\nC: int = 1\nkernel = 'rbf'\n\nbase = len(kernel)\n{'accuracy': double(C) + base}"
    (project / "a.ipynb").write_text(
        notebook(["%load_ext ml_experiment_nb"], ["def double(x):\n    return 2 * x"], [cell])
    )
    sh("ml-experiment", "run", "a.ipynb", cwd=project)
    run = newest(project, name="x")
    store = opened_store()
    found = store.record(run["run_id"])
    asked = forms.asked_by(found, store.text(found, SPEC))
    form = programs.as_headless(asked, lambda name: store.text(found, f"record/{name}"))
    (project / "b.ipynb").write_text(form.text)
    for words, accuracy in ((), 11), (("-p", "C=1"), 5):
        printed = sh("ml-experiment", "run", "-q", "--json", "b.ipynb", *words, cwd=project)
        assert json.loads(printed.splitlines()[-1])["metrics"] == {"accuracy": accuracy}
