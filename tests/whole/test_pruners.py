"""Each pruner gives trials up for real: in functions, scripts and notebooks, in one slot, in several, and on Ray."""

import sys

import cloudpickle
import nbformat
import optuna
import pytest
from optuna.trial import TrialState

from ml_experiment_nb import Trial, loop, report
from ml_experiment_nb.algorithms import Pruner
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Function, Notebook

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # trials do not find the tests' folder

STEPS = 12
PRUNERS = {
    "Median": {"n_startup_trials": 2},
    "Percentile": {"percentile": 40.0, "n_startup_trials": 2},
    "Hyperband": {"min_resource": 1, "max_resource": 9, "reduction_factor": 3},
    "SuccessiveHalving": {"min_resource": 1, "reduction_factor": 2},
    "Patient": {"patience": 2},
    "Threshold": {"upper": 50.0},
    "Wilcoxon": {"p_threshold": 0.2},
}


def curve(x):
    """Fall if x is small, and rise if it is large."""
    for step in range(STEPS):
        yield {"loss": x + (0.01 * (STEPS - step) if x < 50 else step)}


def stepwise(x):
    for step in range(STEPS):
        report(step=step, loss=x + (0.01 * (STEPS - step) if x < 50 else step))


def asks(x):
    trial = Trial.get_current()
    for step in range(STEPS):
        trial.report(x + (0.01 * (STEPS - step) if x < 50 else step), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return {"loss": x}


@pytest.fixture
def search(stored):
    """Search with good points first, three by default, and as many bad ones after them."""

    def make(target, slots=1, executor="inline", good=3, **keys):
        values = {} if isinstance(target, Notebook) else {"function": target}
        points = [{"x": x} for x in (*range(1, good + 1), *range(100 - good, 100))]
        asked = {
            "kind": "group", "name": "pruned", "run": [Function(function=target) if values else target],
            "param_space": {"x": "range(0, 100)"}, "metric": "loss", "enqueue": points, "num_trials": len(points),
            "slots": slots, "executor": executor, **keys,
        }  # fmt: skip
        plan = make_plan(spec_from_mapping(asked), values=values)
        return loop.collect(plan, loop.run(plan))

    return make


def check(records, *, bad=3):
    """Check that `bad` trials or more were given up before their end, and the study knows it; the best one is good."""
    tags = records.parent.tags
    storage = optuna.storages.journal.JournalFileBackend(tags["mlexp.storage"])
    study = optuna.load_study(study_name=tags["mlexp.study"], storage=optuna.storages.JournalStorage(storage))
    assert {record.status for record in records} <= {Status.FINISHED, Status.PRUNED}
    pruned = [record for record in records if record.status is Status.PRUNED]
    assert sum(record.params["x"] > 50 for record in pruned) >= bad
    for record in pruned:
        trial = study.trials[record.number]
        assert trial.state is TrialState.PRUNED
        assert 0 < len(trial.intermediate_values) <= STEPS
        assert record.failure is None
    assert records.best.params["x"] < 50
    assert records.parent.ok


def test_every_pruner_is_here():
    assert {*PRUNERS, "Nop"} == set(Pruner.NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_in_one_slot(search, name):
    # Hyperband compares a trial with some of the others only, those of its bracket, which is chosen by a hash.
    good, bad = (12, 1) if name == "Hyperband" else (3, 3)
    check(search(curve, good=good, pruner={"name": name, **PRUNERS[name]}), bad=bad)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_in_several_slots(search, name):
    check(search(curve, slots=3, good=12 if name == "Hyperband" else 3, pruner={"name": name, **PRUNERS[name]}), bad=1)


@pytest.mark.parametrize("function", [stepwise, asks])
def test_the_other_ways_to_report(search, function):
    check(search(function, slots=2, pruner={"name": "threshold", "upper": 50.0}))


def test_a_pruner_with_another_in_it(search):
    wrapped = {"name": "median", "n_startup_trials": 2}
    check(search(curve, pruner={"name": "patient", "patience": 1, "wrapped_pruner": wrapped}))


@pytest.mark.slow
def test_without_a_pruner_nothing_is_given_up(search):
    assert [record.status for record in search(curve)] == [Status.FINISHED] * 6
    assert [record.status for record in search(asks, pruner="none")] == [Status.FINISHED] * 6


@pytest.mark.ray
def test_on_ray(search):
    from ml_experiment_nb.executors.ray import shutdown

    try:
        check(search(curve, slots=2, executor="ray", pruner={"name": "threshold", "upper": 50.0}))
    finally:
        shutdown()


@pytest.mark.kernel
@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
def test_a_notebook_that_is_given_up(stored, has_ended, cold):
    train = f"""
import os
from ml_experiment_nb import report
report(pid=os.getpid())
print("training", x)
for step in range({STEPS}):
    report(step=step, loss=x + step)
"""
    cells = [nbformat.v4.new_code_cell(text) for text in ("import math", "x = 0", train, "print('after')\n{'done': 1}")]
    cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), "train.ipynb")
    asked = {
        "kind": "group", "name": "pruned", "run": "train.ipynb", "param_space": {"x": "range(0, 100)"},
        "metric": "loss", "enqueue": [{"x": 1}, {"x": 97}], "num_trials": 2, "executor": "inline", "slots": 1,
        "pruner": "threshold(upper=50.0)",
    }  # fmt: skip
    plan = make_plan(spec_from_mapping(asked), cold=cold)
    good, bad, parent = loop.run(plan)
    assert (good.status, bad.status, parent.status) == (Status.FINISHED, Status.PRUNED, Status.FINISHED)
    assert (good.metrics["done"], "done" in bad.metrics) == (1.0, False)
    assert has_ended(int(bad.metrics["pid"]))
    kept = nbformat.read(f"{bad.artifact_uri.removeprefix('file://')}/train.ipynb", as_version=4)
    assert not any("papermill-error-cell-tag" in cell.metadata.get("tags", ()) for cell in kept.cells)
    outputs = {cell.source: cell.outputs for cell in kept.cells if cell.cell_type == "code"}
    printed, error = outputs[train]
    assert printed.text == "training 97\n"
    assert (error.ename, error.evalue, error.traceback) == ("Pruned", "pruned at step 0", ["Pruned: pruned at step 0"])
    assert outputs["print('after')\n{'done': 1}"] == []
