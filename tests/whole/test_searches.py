"""Searches from their plan to their records: seeds, several metrics, spaces that the code draws, and limits."""

import os
import re
import sys
import time

import cloudpickle
import nbformat
import optuna
import pytest
from optuna.trial import TrialState

from ml_experiment_nb import Trial, job, loop, report
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell, Function, Notebook

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # trials do not find the tests' folder
BASE = {"kind": "group", "name": "search", "executor": "inline", "slots": 1, "num_trials": 6}


@pytest.fixture
def search(stored):
    """Search a function, or any other target, and return the records."""

    def make(run, **keys):
        is_function = callable(run)
        values = {"function": run} if is_function else {}
        target = Function(function=run) if is_function else run
        plan = make_plan(spec_from_mapping({**BASE, "run": [target], **keys}), values=values)
        return loop.collect(plan, loop.run(plan))

    return make


def study_of(records):
    tags = records.parent.tags
    storage = optuna.storages.journal.JournalFileBackend(tags["mlexp.storage"])
    return optuna.load_study(study_name=tags["mlexp.study"], storage=optuna.storages.JournalStorage(storage))


def parabola(x, y=0.0):
    return {"loss": (x - 3) ** 2 + y}


SPACE = {"x": "uniform(-10, 10)", "y": "loguniform(0.001, 1)"}


# --- seeds ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [{"seed": 5}, {"sampler": {"name": "tpe", "seed": 5, "n_startup_trials": 3}}, {"sampler": "cma-es", "seed": 5}],
    ids=["key", "option", "cma-es"],
)
def test_a_seed_repeats_a_group_of_one_slot(search, keys):
    first, second = (
        [
            record.params
            for record in search(parabola, param_space=SPACE, metric="loss", num_trials=8, **keys)
            if record.ok
        ]
        for _ in range(2)
    )
    assert first == second
    assert len({point["x"] for point in first}) == len(first) == 8


def test_two_seeds_that_disagree():
    with pytest.raises(SpecError, match="seed: is 1, and the sampler's own option says 2"):
        spec_from_mapping(
            {**BASE, "run": "a.py", "param_space": SPACE, "seed": 1, "sampler": {"name": "tpe", "seed": 2}}
        )
    same = {"seed": 1, "sampler": {"name": "tpe", "seed": 1}}
    assert spec_from_mapping({**BASE, "run": "a.py", "param_space": SPACE, **same}).sampler_seed == 1


@pytest.mark.parametrize(
    ("keys", "noted"),
    [
        ({"slots": 2, "seed": 1}, True),
        ({"slots": 2, "sampler": {"name": "tpe", "seed": 1}}, True),
        ({"slots": 1, "seed": 1}, False),
        ({"slots": 2}, False),
        ({"slots": 2, "seed": 1, "sampler": "random"}, False),
    ],
)
def test_a_plan_says_where_a_seed_does_not_repeat(project, script, keys, noted):
    spec = spec_from_mapping({**BASE, "run": script("x = 1").path, "param_space": SPACE, **keys})
    assert any("the seed doesn't repeat the search" in note for note in make_plan(spec).notes) is noted


def test_a_plan_says_where_a_pruner_has_nothing_to_judge_by(project, script):
    asked = {**BASE, "run": script("pass").path, "param_space": SPACE, "pruner": "median"}
    assert "Median prunes nothing: the group has no metric to judge by" in make_plan(spec_from_mapping(asked)).notes
    assert make_plan(spec_from_mapping({**asked, "metric": "loss"})).notes == ()
    assert make_plan(spec_from_mapping({**asked, "pruner": "none"})).notes == ()


# --- several metrics ---


def trade(x):
    return {"gain": x, "cost": x**2 if x > 0 else 5 - x}


@pytest.mark.slow
def test_a_group_with_several_metrics(search, client):
    metric = [{"name": "gain", "direction": "maximize"}, {"name": "cost"}]
    space = {"x": "choice([-2, -1, 0, 1, 2])"}
    records = search(trade, param_space=space, metric=metric, sampler="grid", num_trials=None)
    assert records.best is None
    assert sorted(record.params["x"] for record in records.front) == [1, 2]
    numbers = sorted(record.number for record in records.front)
    parent = client.get_run(records.parent.run_id)
    assert parent.data.tags["mlexp.front"].split(",") == [str(r.number) for r in records.front]
    assert parent.data.metrics == {}
    assert "mlexp.best_run" not in parent.data.tags
    study = study_of(records)
    assert [one.name for one in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert sorted(trial.number for trial in study.best_trials) == numbers


def test_a_trial_without_one_of_the_metrics_fails(search):
    records = search(parabola, param_space=SPACE, metric={"loss": "min", "size": "min"}, num_trials=2)
    assert [record.status for record in records] == [Status.FAILED] * 2
    assert "'size' was never reported (it reported loss)" in records[0].failure.message


def test_a_called_group_with_several_metrics(stored):
    @job
    def train(x):
        return {"gain": x, "cost": x**2}

    found = train.group(
        {"x": "range(0, 3)"}, metric={"gain": "maximize", "cost": "minimize"}, sampler="grid", slots=1,
        executor="inline",
    )  # fmt: skip
    assert sorted(record.params["x"] for record in found.front) == [0, 1, 2]
    with pytest.raises(SpecError, match="direction: is for a metric that is given by its name"):
        train.group({"x": "range(0, 3)"}, metric={"gain": "maximize"}, direction="maximize")


# --- spaces that the code draws ---

CONDITIONAL = """
kind = trial.suggest_categorical("kind", ["svm", "forest"])
if kind == "svm":
    value = trial.suggest_float("C", 0.01, 100, log=True)
else:
    value = trial.suggest_int("depth", 1, 9, step=2)
"""
SCRIPT = f"""
from ml_experiment_nb import Trial, report
trial = Trial.get_current()
{CONDITIONAL}
trial.set_user_attr("number", trial.number)
report(loss=value, given=trial.params.get("fixed", 0))
"""


def conditional(fixed=0):
    trial = Trial.get_current()
    if trial.suggest_categorical("kind", ["svm", "forest"]) == "svm":
        value = trial.suggest_float("C", 0.01, 100, log=True)
    else:
        value = trial.suggest_int("depth", 1, 9, step=2)
    trial.set_user_attr("number", trial.number)
    return {"loss": value, "given": trial.params.get("fixed", 0)}


def check_conditional(records):
    assert [record.status for record in records] == [Status.FINISHED] * len(records)
    study = study_of(records)
    for record in records:
        trial = study.trials[record.number]
        assert {name: value for name, value in record.params.items() if name != "fixed"} == trial.params
        assert set(trial.params) == {"kind", "C" if trial.params["kind"] == "svm" else "depth"}
        assert trial.values == [record.metrics["loss"]]
        assert record.metrics["given"] == 7
        assert trial.user_attrs == {"number": record.number}
        assert record.tags["mlexp.attr.number"] == str(record.number)
    assert {record.params["kind"] for record in records} == {"svm", "forest"}
    depth = next(trial for trial in study.trials if "depth" in trial.params)
    assert depth.distributions["depth"] == optuna.distributions.IntDistribution(1, 9, step=2)
    svm = next(trial for trial in study.trials if "C" in trial.params)
    assert svm.distributions["C"] == optuna.distributions.FloatDistribution(0.01, 100, log=True)
    chosen = {name.removeprefix("mlexp.best.") for name in records.parent.tags if name.startswith("mlexp.best.")}
    assert chosen == set(records.best.params) - {"fixed"}


OPEN = {"param_space": {}, "params": {"fixed": 7}, "metric": "loss", "num_trials": 10, "seed": 1}


@pytest.mark.slow
def test_a_function_that_draws(search):
    check_conditional(search(conditional, **OPEN))


@pytest.mark.slow
def test_a_cell_that_draws(search):
    source = f"fixed = 7\nfrom ml_experiment_nb import Trial\ntrial = Trial.get_current()\n{CONDITIONAL}\n"
    source += "trial.set_user_attr('number', trial.number)\n{'loss': value, 'given': trial.params['fixed']}"
    check_conditional(search(Cell(source=source, parameters=("fixed",)), **OPEN))


@pytest.mark.slow
def test_a_script_that_draws_in_two_slots(search, script):
    check_conditional(search(script(SCRIPT, "train.py"), slots=2, **OPEN))


@pytest.mark.kernel
def test_a_notebook_that_draws(search, project):
    cells = [nbformat.v4.new_code_cell(text) for text in ("fixed = 0", f"{SCRIPT}\n{{'done': 1}}")]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / "train.ipynb")
    check_conditional(search(Notebook(path=str(project / "train.ipynb")), **{**OPEN, "num_trials": 5}))


@pytest.mark.kernel
@pytest.mark.parametrize("tagged", [True, False], ids=["in-the-setup", "no-parameters"])
def test_a_notebook_that_draws_before_its_parameters_or_has_none(search, project, tagged):
    first = "from ml_experiment_nb import Trial\ntrial = Trial.get_current()"
    texts = [first, "fixed = 0", "x = trial.suggest_float('x', 0, 1)\n{'loss': x, 'fixed': fixed}"]
    cells = [nbformat.v4.new_code_cell(text) for text in texts]
    if tagged:
        cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / "train.ipynb")
    params = {"fixed": 7} if tagged else {}
    keys = {"param_space": {}, "metric": "loss", "num_trials": 2, "params": params}
    records = search(Notebook(path=str(project / "train.ipynb")), **keys)
    assert [record.status for record in records] == [Status.FINISHED] * 2
    assert [record.metrics for record in records] == [
        {"loss": record.params["x"], "fixed": float(params.get("fixed", 0))} for record in records
    ]
    assert records[0].params["x"] != records[1].params["x"]


def test_what_is_fixed_is_not_drawn(search):
    records = search(conditional, **{**OPEN, "params": {"fixed": 7, "kind": "svm"}, "allow_unknown_params": True})
    assert {record.status for record in records} == {Status.FAILED}  # the function has no parameter `kind`


def test_a_fixed_parameter_of_a_script_is_not_drawn(search, script):
    records = search(script(SCRIPT), **{**OPEN, "params": {"kind": "svm"}, "num_trials": 3})
    assert [set(record.params) for record in records] == [{"kind", "C"}] * 3
    assert [set(trial.params) for trial in study_of(records).trials] == [{"C"}] * 3


def test_a_space_and_code_that_draws_more(search):
    def train(x):
        trial = Trial.get_current()
        assert trial.params == {"x": x}
        assert trial.suggest_float("x", 0, 1) == x
        return {"loss": trial.suggest_float("y", 0, 1) + trial.suggest_float("y", 0, 1)}

    records = search(train, param_space={"x": "uniform(0, 1)"}, metric="loss", num_trials=3)
    assert [sorted(record.params) for record in records] == [["x", "y"]] * 3
    assert all(record.metrics["loss"] == 2 * record.params["y"] for record in records)
    best = {name: value for name, value in records.parent.tags.items() if name.startswith("mlexp.best.")}
    assert best == {f"mlexp.best.{name}": str(value) for name, value in records.best.params.items()}


def wrong(trial, how):
    if how == "bounds":
        trial.suggest_float("a", 2, 1)
    elif how == "log":
        trial.suggest_float("a", 0, 1, log=True)
    else:
        trial.suggest_categorical("a", [trial.number, "x"])


@pytest.mark.parametrize(
    ("how", "says"), [("bounds", "a: .*low"), ("log", "a: .*low"), ("choices", "does not support dynamic value space")]
)
def test_what_a_study_does_not_take_fails_the_trial_and_says_why(search, how, says):
    def train():
        wrong(Trial.get_current(), how)
        return {"loss": 1.0}

    records = search(train, param_space={}, metric="loss", num_trials=2, max_failures=9)
    failed = [record for record in records if record.status is Status.FAILED]
    assert failed
    assert failed[-1].failure.type == "SpecError"
    assert re.search(says, failed[-1].failure.message)


def test_brute_force_tries_every_branch_once_and_ends(search):
    def train():
        trial = Trial.get_current()
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            trial.suggest_int("n", 1, 3)
        return {"loss": 1.0}

    records = search(train, param_space={}, metric="loss", sampler="brute-force", num_trials=None)
    assert sorted(tuple(record.params.values()) for record in records) == [("a", 1), ("a", 2), ("a", 3), ("b",)]


# --- points to begin with ---


def test_the_points_that_a_group_begins_with(search):
    space = {"x": "uniform(0, 1)", "gamma": "choice([[1], [2]])", "layers": ["range(0, 9)", "choice([1, True])"]}

    def train(x, gamma, layers):
        return {"loss": x}

    points = [{"x": 1, "gamma": [2], "layers": [3, True]}, {"gamma": [1]}]
    records = search(train, param_space=space, metric="loss", num_trials=3, enqueue=points)
    assert records[0].params == {"x": 1.0, "gamma": [2], "layers": [3, True]}
    assert records[0].params["layers"][1] is True
    assert records[1].params["gamma"] == [1]
    assert 0 <= records[1].params["x"] <= 1
    assert len(records) == 3


def test_points_of_a_space_that_the_code_draws(search):
    records = search(conditional, **{**OPEN, "enqueue": [{"kind": "svm", "C": 3.5}], "num_trials": 2})
    assert records[0].params == {"fixed": 7, "kind": "svm", "C": 3.5}


# --- limits ---


def test_a_group_stops_when_it_has_found_what_it_was_after(search):
    records = search(
        parabola, param_space={"x": "choice([9, 8, 3, 7, 6])"}, metric="loss", num_trials=5, sampler="tpe",
        enqueue=[{"x": 9}, {"x": 8}, {"x": 3}], stop_when="loss < 0.5",
    )  # fmt: skip
    assert [record.params["x"] for record in records] == [9, 8, 3]
    assert records.parent.status is Status.FINISHED
    assert "no more was begun: stop_when is met by search #2 (loss=0)" in records.parent.notes
    assert {trial.state for trial in study_of(records).trials} == {TrialState.COMPLETE}


def test_the_trial_that_meets_it_goes_on_and_the_others_are_stopped(search, project):
    def train(x):
        open(f"pid{x}", "w").write(str(os.getpid()))
        if x == 0:
            report(loss=5.0)
            time.sleep(600)
        until = time.monotonic() + 60
        while not os.path.exists("pid0") and time.monotonic() < until:
            time.sleep(0.01)
        report(loss=0.1)
        time.sleep(1)
        return {"loss": 0.05}

    records = search(
        train, param_space={"x": "range(0, 9)"}, metric="loss", slots=2, enqueue=[{"x": 0}, {"x": 1}],
        stop_when="loss < 0.5",
    )  # fmt: skip
    found = {record.params["x"]: record for record in records}
    assert set(found) == {0, 1}
    assert (found[1].status, found[1].metrics["loss"]) == (Status.FINISHED, 0.05)
    assert found[0].status is Status.KILLED
    assert str(found[0].failure) == "LimitReached: the group was stopped: stop_when is met by search #1 (loss=0.1)"
    assert records.parent.status is Status.FINISHED
    assert records.best.params["x"] == 1


def test_a_metric_that_nobody_reports_ends_the_group_soon(search):
    records = search(parabola, param_space=SPACE, metric="los", num_trials=40)
    assert len(records) < 10
    assert records.parent.status is Status.FAILED
    assert "did you mean 'loss'?" in records.parent.failure.message


def test_a_metric_that_stop_when_names_and_nobody_reports(search):
    records = search(parabola, param_space=SPACE, metric="loss", num_trials=1, stop_when="los < 0.5")
    assert "stop_when: 'los' was never reported; did you mean 'loss'?" in records.parent.notes


def slow_after_two(x):
    if Trial.get_current().number >= 2:
        time.sleep(600)
    return {"loss": x}


@pytest.mark.slow
def test_the_time_of_a_whole_group(search, has_ended):
    began = time.monotonic()
    records = search(slow_after_two, param_space={"x": "uniform(0, 1)"}, metric="loss", slots=2, timeout=8.0)
    assert time.monotonic() - began < 60
    assert [record.status for record in records].count(Status.FINISHED) == 2
    killed = [record for record in records if record.status is Status.KILLED]
    assert len(killed) == 2
    assert {str(one.failure) for one in killed} == {
        "LimitReached: the group was stopped: stopped at its limit of 8.00 s"
    }
    assert records.parent.status is Status.FINISHED
    assert "no more was begun: stopped at its limit of 8.00 s" in records.parent.notes
    assert sorted(trial.state.name for trial in study_of(records).trials) == ["COMPLETE", "COMPLETE", "FAIL", "FAIL"]


def test_a_group_that_has_nothing_when_its_time_is_up_has_failed(search):
    def train(x):
        time.sleep(600)

    records = search(train, param_space={"x": "uniform(0, 1)"}, metric="loss", timeout=1.0)
    assert records.parent.status is Status.FAILED
    assert str(records.parent.failure) == "TaskTimeoutError: stopped at its limit of 1.00 s, and no trial had finished"


@pytest.mark.slow
def test_the_time_of_a_trial_is_another(search):
    def train(x):
        if x == 0:
            time.sleep(600)
        return {"loss": x}

    records = search(
        train, param_space={"x": "range(0, 2)"}, sampler="grid", num_trials=None, timeout_per_trial=2.0, timeout=500
    )
    found = {record.params["x"]: record for record in records}
    assert str(found[0].failure) == "TaskTimeoutError: stopped at its limit of 2.00 s"
    assert found[1].ok
    assert records.parent.ok


@pytest.mark.slow
def test_a_table_whose_time_is_up_has_failed(search):
    def train(x):
        time.sleep(600 * (x == 1))
        return {"loss": x}

    records = search(train, num_trials=None, each=[{"x": 0}, {"x": 1}, {"x": 2}], timeout=3.0)
    assert [record.status for record in records] == [Status.FINISHED, Status.KILLED]
    assert str(records.parent.failure) == "TaskTimeoutError: stopped at its limit of 3.00 s, and rows were left"


def test_too_many_failures_end_a_group(search):
    def train(x):
        if x > 0:
            raise ValueError(f"no {x}")
        return {"loss": x}

    records = search(
        train, param_space={"x": "range(0, 9)"}, metric="loss", enqueue=[{"x": 0}, {"x": 1}, {"x": 2}],
        max_failures=2,
    )  # fmt: skip
    assert [record.status for record in records] == [Status.FINISHED, Status.FAILED, Status.FAILED]
    parent = records.parent
    assert parent.status is Status.FAILED
    assert str(parent.failure) == "TaskError: max_failures is reached: 2 failed; the last: search #2: ValueError: no 2"
    assert records.best.params == {"x": 0}


def test_what_runs_while_the_last_failure_comes_is_stopped(search):
    def train(x):
        if x == 0:
            open("begun", "w").close()
            time.sleep(600)
        until = time.monotonic() + 60
        while not os.path.exists("begun") and time.monotonic() < until:
            time.sleep(0.01)
        raise ValueError("no")

    keys = {"param_space": {"x": "range(0, 9)"}, "slots": 2, "enqueue": [{"x": 0}, {"x": 1}], "max_failures": 1}
    records = search(train, **keys)
    found = {record.params["x"]: record.status for record in records}
    assert found == {0: Status.KILLED, 1: Status.FAILED}


def test_limits_that_are_not_reached_change_nothing(search):
    keys = {"timeout": 600, "max_failures": 1, "stop_when": "loss < -1"}
    records = search(parabola, param_space=SPACE, metric="loss", num_trials=3, **keys)
    assert [record.status for record in records] == [Status.FINISHED] * 3
    assert (records.parent.status, records.parent.notes) == (Status.FINISHED, ())
