from datetime import timedelta

from ml_experiment_nb.attached import ended, log
from ml_experiment_nb.records import Failure, Record, Status, now
from ml_experiment_nb.tracking import Store

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


def test_the_log_of_a_run_that_is_driven_on_another_machine_says_so(stored):
    store = Store(stored)
    run = store.client.create_run("0", tags={"mlexp.driver": "faraway/12/0a1b2c", "mlexp.kind": "experiment"})
    store.client.log_text(run.info.run_id, "epoch 1\n", "record/log.txt")
    text = "".join(log(store, store.record(run.info.run_id)))
    assert text.startswith("epoch 1\n[this run goes on, and its driver is not in this project's folder but on faraway:")
    store.client.set_terminated(run.info.run_id)
    assert "".join(log(store, store.record(run.info.run_id))) == "epoch 1\n"
