from datetime import timedelta

from ml_experiment_nb.attached import ended
from ml_experiment_nb.records import Failure, Record, Status, now

BEGAN = now()
LOST = Failure("SlotLostError", "the node is gone")


def trial(number, status, seconds, failure=None):
    began = BEGAN + timedelta(seconds=number)
    return Record(str(number), "t", "g", "trial", status, {}, {}, began, seconds, failure, number)


def test_trials_come_as_they_end_and_one_that_is_tried_again_only_if_it_is_not():
    first, second = trial(0, Status.FINISHED, 9.0), trial(1, Status.FAILED, 2.0, Failure("ValueError", ""))
    lost, stopped = trial(2, Status.KILLED, 3.0, LOST), trial(3, Status.KILLED, 1.0, Failure("Stopped", ""))
    running, given_up = trial(4, Status.RUNNING, 1.0), trial(5, Status.FAILED, 1.0, LOST)
    trials = [first, second, lost, stopped, running, given_up]
    assert ended(trials, goes_on=True) == [second, stopped, given_up, first]
    assert ended(trials, goes_on=False) == [second, stopped, lost, given_up, first]
