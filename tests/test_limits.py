import time

import pytest

from ml_experiment_nb.limits import Limits
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Failure, Outcome, Record, Status, now
from ml_experiment_nb.specs import spec_from_mapping

FINISHED = Outcome(Status.FINISHED)
NONE = Outcome(Status.FAILED, Failure("TaskError", "no trial finished"))


@pytest.fixture
def limits(project, script):
    def make(**keys):
        space = {} if "each" in keys else {"param_space": {"x": "uniform(0, 1)"}, "num_trials": 3}
        asked = {"kind": "group", "run": script("x = 1", "train.py").path, **space, **keys}
        return Limits(make_plan(spec_from_mapping(asked)))

    return make


def record(number=0, status=Status.FINISHED, **metrics):
    failure = Failure("ValueError", f"no {number}") if status is Status.FAILED else None
    return Record(None, f"t #{number}", "t", "trial", status, {}, metrics, now(), 0.0, failure, number)


def test_without_limits_nothing_ends(limits):
    found = limits()
    found.saw("0", "t #0", {"loss": 0})
    found.ended(record(status=Status.FAILED))
    assert (found.due(["1"]), found.reason, found.notes([record()])) == ([], None, [])
    assert found.outcome(NONE) is NONE


def test_an_experiment_has_none(project, script):
    plan = make_plan(spec_from_mapping({"run": script("x = 1").path, "timeout": 1e-9}))
    assert Limits(plan).due(["0"]) == []


def test_the_time(limits):
    found = limits(timeout=0.001)
    time.sleep(0.01)
    assert found.due(["0", "1"]) == ["0", "1"]
    assert found.reason == "stopped at its limit of 0.00 s"
    assert found.stopped().status is Status.KILLED
    assert found.outcome(FINISHED) is FINISHED
    assert found.outcome(NONE).failure.type == "TaskTimeoutError"
    assert found.notes([]) == ["no more was begun: stopped at its limit of 0.00 s"]


def test_the_time_of_a_table(limits):
    found = limits(timeout=0.001, each=[{"x": 1}])
    time.sleep(0.01)
    assert found.due([]) == []
    assert found.outcome(FINISHED).failure.message.endswith("and rows were left")


def test_time_that_is_up_when_all_is_done_ends_nothing(limits):
    found = limits(timeout=0.001)
    for number in range(3):
        found.ended(record(number))
    time.sleep(0.01)
    assert (found.due([]), found.reason) == ([], None)


def test_failures_count_and_nothing_else_does(limits):
    found = limits(max_failures=2)
    for number, status in enumerate((Status.FAILED, Status.KILLED, Status.PRUNED, Status.FINISHED)):
        found.ended(record(number, status))
    assert found.reason is None
    found.ended(record(4, Status.FAILED))
    assert found.due(["5"]) == ["5"]
    outcome = found.outcome(FINISHED)
    assert outcome.status is Status.FAILED
    assert str(outcome.failure) == "TaskError: max_failures is reached: 2 failed; the last: t #4: ValueError: no 4"


def test_the_task_that_meets_the_condition_is_spared_and_the_first_reason_stands(limits):
    found = limits(stop_when="loss < 0.5 and epoch > 1", max_failures=1)
    found.saw("0", "t #0", {"loss": 0.1})
    assert found.reason is None
    found.saw("0", "t #0", {"loss": 0.1, "epoch": 2, "other": 3})
    assert found.due(["0", "1"]) == ["1"]
    found.saw("1", "t #1", {"loss": 0.1, "epoch": 2})
    found.ended(record(1, Status.FAILED))
    assert found.due(["0", "1"]) == []  # it was told
    assert found.reason == "stop_when is met by t #0 (loss=0.1, epoch=2)"
    assert found.outcome(NONE).status is Status.FINISHED


def test_a_metric_that_never_came(limits):
    found = limits(stop_when="accuracy > 0.5 or los < 1")
    notes = found.notes([record(loss=1.0, accuracy=0.1)])
    assert notes == ["stop_when: 'los' was never reported; did you mean 'loss'?"]


def test_the_time_holds_for_the_one_that_has_met_the_condition(limits):
    found = limits(stop_when="loss < 1", timeout=0.2)
    found.saw("0", "t #0", {"loss": 0})
    assert found.due(["0", "1"]) == ["1"]
    time.sleep(0.25)
    assert found.due(["0", "1"]) == ["0"]
    assert found.due(["0", "1"]) == []


def test_what_a_lost_trial_has_reported_ends_nothing(limits):
    found = limits(stop_when="loss < 1")
    found.saw("0", "t #0", {"loss": 0})
    found.lost("1")
    assert found.reason is not None
    found.lost("0")
    assert (found.reason, found.due(["0", "1"]), found.outcome(FINISHED)) == (None, [], FINISHED)


def unmeasured(number, **metrics):
    failure = Failure("MetricError", "'acc' was never reported (it reported ac); did you mean 'ac'?")
    return Record(None, f"t #{number}", "t", "trial", Status.FAILED, {}, metrics, now(), 0.0, failure, number)


def test_a_metric_that_no_trial_has_ends_the_group_soon(limits):
    found = limits(metric={"name": "acc", "direction": "maximize"})
    found.ended(unmeasured(0, ac=1.0))
    found.ended(unmeasured(1, ac=1.0))
    assert found.reason is None
    found.ended(unmeasured(2, ac=1.0))
    assert found.reason.startswith("3 trials have ended, and none had the metric: 'acc' was never reported")
    assert found.due(["3"]) == ["3"]
    assert found.outcome(NONE).failure.type == "MetricError"


def test_a_metric_that_a_trial_has_so_far_counts(limits):
    found = limits(metric={"name": "acc", "direction": "maximize"})
    found.saw("9", "t #9", {"acc": 0.9})
    for number in range(4):
        found.ended(unmeasured(number))
    assert found.reason is None


@pytest.mark.parametrize("first", [record(0, acc=1.0), record(0, Status.PRUNED)])
def test_a_metric_that_some_trials_lack_doesn_t(limits, first):
    found = limits(metric={"name": "acc", "direction": "maximize"})
    found.ended(first)
    for number in range(1, 5):
        found.ended(unmeasured(number))
    assert found.reason is None
