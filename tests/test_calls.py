"""A job that was called in a notebook, as a notebook of its own that calls it once."""

import json
import subprocess
import sys

import nbformat
import pytest
from made_records import experiment_record as record

from ml_experiment_nb import calls, image_plans
from ml_experiment_nb.effects import Executed
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.listing import listed
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.session import SLICE, as_notebook

DEFINED = "@job\ndef train(rows, C, kernel='rbf', scaler=Scaler()):\n    return {'acc': C * sum(rows)}"
SPEC = "name: train\nkind: experiment\nrun: [{function: '__main__:train'}]\nparams: {rows: a table, C: 2, kernel: rbf, "
SPEC += "scaler: a scaler}\n"


def notebook(last, spec=SPEC, **keys):
    """Return the texts of the cells that a run's image has, in place of the session's last one, and their tags."""
    cells = [Executed(1, "%matplotlib inline\nrows = [1, 2]", False), Executed(2, DEFINED, False)]
    text = as_notebook([*cells, Executed(3, last, False)], {})
    found = calls.in_notebook(record(**keys), spec, {SLICE: text}.get)
    made = json.loads(found.text)["cells"][2:]
    return ["".join(cell["source"]) for cell in made], [cell["metadata"].get("tags") for cell in made]


PARAMETERS = "C = 2\nkernel = 'rbf'"
ASSIGNED = "reports.assigned = {'C': C, 'kernel': kernel}  # the call takes them, and is part of this notebook's run"


@pytest.mark.parametrize(
    ("last", "above"),
    [
        ("train(rows, 2)", []),
        ("x = 1  # one\ntrain(rows, C=2)\ny = 2", ["x = 1  # one"]),
        ("train(rows, C=1); z = 3; train(rows, C=2)", ["pass; z = 3"]),
        ("for C in (1, 2):\n    print(train(rows, C=C)['acc'])", []),
        ("best = train(rows, C=1)\ntrain(rows, C=best['acc'])", []),
        ("def again():\n    train(rows, 1)\nprint(train(rows, **given))", ["def again():\n    train(rows, 1)"]),
    ],
)  # fmt: skip
def test_the_call_takes_what_is_known_and_says_the_rest_itself(last, above):
    texts, tags = notebook(last)
    rows = "rows=rows"
    *before, call = texts
    assert before == [*above, PARAMETERS]
    assert tags[-2:] == [["parameters"], None]
    assert call == f"from ml_experiment_nb import reports\n\n{ASSIGNED}\nresult = train({rows})"


def test_a_value_of_a_loop_and_a_secret_are_parameters():
    spec = SPEC.replace("rows: a table", "rows: [7]").replace("kernel: rbf", "kernel: secret(A_NAME)")
    texts, _ = notebook("for rows in [[7]]:\n    train(rows, 2)", spec)
    assert texts[0] == "from ml_experiment_nb import secret\nrows = [7]\nC = 2\nkernel = secret('A_NAME')".replace(
        "'", '"'
    )
    assert texts[-1].endswith("result = train()")


def test_a_trial_is_one_call_with_what_was_drawn():
    spec = "name: train\nkind: group\nrun: [{function: '__main__:train'}]\nparam_space: {C: 'uniform(0, 1)'}\n"
    spec += "params: {rows: [1]}\nmetric: {name: acc}\nnum_trials: 2\n"
    texts, _ = notebook("n = 2\nfound = train.group({'C': x}, num_trials=n)", spec, kind="trial", params={"C": 0.25})
    assert texts[:2] == ["n = 2", "rows = [1]\nC = 0.25"]
    assert texts[-1].endswith("result = train()")


@pytest.mark.parametrize(
    ("last", "keys", "problem"),
    [
        ("other = train\nother(rows, C=2)", {}, r"doesn't call train by that name: call it as train\(…\) in a cell"),
        ("train.group({})", {"kind": "group"}, "is a group: make an image of one of its trials"),
    ],
)
def test_what_can_not_be_told_is_said(last, keys, problem):
    with pytest.raises(SpecError, match=problem) as error:
        notebook(last, **keys)
    assert "\n" not in str(error.value)


def test_what_no_notebook_has_called_is_another_matter():
    assert calls.in_notebook(record(), SPEC, {}.get) is None
    assert calls.in_notebook(record(), "run: [a.py]\n", {SLICE: "{}"}.get) is None


SESSION = [
    "from ml_experiment_nb import job\nimport random\nrows = [1, 2, 3]",
    "@job(seed=3)\ndef train(rows, C):\n    yield {'loss': C}\n    return {'acc': C * sum(rows) + random.random()}",
    "x = train(rows, C=0.5)",
    "found = train.group({'C': 'uniform(0, 1)'}, metric='acc', num_trials=1, params={'rows': [4]}, executor='inline')",
]


@pytest.mark.kernel
def test_an_image_of_a_called_job_has_its_metrics_and_takes_its_parameters(stored):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in SESSION])
    nbformat.write(nb, stored / "session.ipynb")
    jupyter = [sys.executable, "-m", "jupyter", "execute", "session.ipynb"]
    subprocess.run(jupyter, check=True, timeout=300, capture_output=True)
    runs = {one.name: one for one in listed(stored, wanted(limit=9)) if one.kind != "group"}
    for name, params in (("train", ()), ("train #0", ("-p", "C", "2"))):
        plan = image_plans.plan_image(runs[name].run_id, base="base:1", choices=Choices(only_imports=True))
        for place, content in plan.frozen.program.contents.items():
            (stored / "again" / place).parent.mkdir(parents=True, exist_ok=True)
            (stored / "again" / place).write_bytes(content)
        file = stored / "again" / plan.frozen.program.file
        command = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "-q", "--json", str(file), *params]
        done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])["metrics"]
        if params:
            assert found["loss"] == 2.0
        else:
            assert found == runs[name].metrics
