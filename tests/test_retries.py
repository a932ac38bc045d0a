import pytest

from ml_experiment_nb.plans import Task
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.retries import Retries

LOST = Outcome(Status.FAILED, Failure("SlotLostError", "the node is gone"))
SHORT = Outcome(Status.FAILED, Failure("SlotMemoryError", "the node was low on memory"))
TASK = Task(key="3", name="a #3", steps=(), params={"x": 1}, cwd="/")


def begun(retries, run_id="first"):
    return retries.begin(TASK, run_id)


def test_a_lost_trial_is_tried_again_as_often_as_the_limit_says():
    retries = Retries(2)
    assert begun(retries, "first") is None
    assert retries.tags("3") == {}
    assert retries.grants("3", LOST)
    assert (retries.waiting, retries.next(), retries.next()) == (1, TASK, None)
    assert retries.tags("3") == {"mlexp.retry": "1", "mlexp.retry_of": "first"}
    assert begun(retries, "second") == "first"
    assert retries.grants("3", LOST)
    assert retries.tags("3") == {"mlexp.retry": "2", "mlexp.retry_of": "first"}
    assert begun(retries, "third") == "second"
    assert not retries.grants("3", LOST)


def test_what_was_to_be_stopped_is_not_tried_again():
    retries = Retries(3)
    begun(retries)
    assert not retries.grants("3", LOST, stopped=True)
    assert retries.waiting == 0


def test_without_retries_none_is_granted():
    retries = Retries(0)
    begun(retries)
    assert not retries.grants("3", LOST)


def test_a_slot_that_was_ended_for_its_memory_counts_once():
    retries = Retries(5)
    begun(retries)
    assert retries.grants("3", SHORT)
    begun(retries)
    assert retries.grants("3", LOST)
    begun(retries)
    assert not retries.grants("3", SHORT)


@pytest.mark.parametrize(
    "kind", ["ValueError", "TaskDiedError", "TaskMemoryError", "TaskTimeoutError", "ExecutorError"]
)
def test_what_the_users_code_did_is_not_tried_again(kind):
    retries = Retries(3)
    begun(retries)
    assert not retries.grants("3", Outcome(Status.FAILED, Failure(kind, "")))
    assert not retries.grants("3", Outcome(Status.FINISHED))
    assert retries.next() is None
