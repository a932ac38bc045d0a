import os
import signal
import threading

import pytest

from ml_experiment_nb.endings import STOPPED, outcome_of, stopped_by, uninterrupted, whole
from ml_experiment_nb.errors import SpecError, StoreError, StoreLostError
from ml_experiment_nb.records import Status


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), Status.KILLED, "KeyboardInterrupt: the run was stopped"),
        (GeneratorExit(), Status.KILLED, "KeyboardInterrupt: the run was stopped"),
        (SystemExit(), Status.FINISHED, "None"),
        (SystemExit(0), Status.FINISHED, "None"),
        (SystemExit(3), Status.FAILED, "SystemExit: 3"),
        (SystemExit("no"), Status.FAILED, "SystemExit: no"),
        (StoreError("it is away"), Status.KILLED, "StoreError: it is away"),
        (StoreLostError("it is gone"), Status.KILLED, "StoreLostError: it is gone"),
        (SpecError("is wrong", key="C"), Status.FAILED, "SpecError: C: is wrong"),
        (ValueError("no"), Status.FAILED, "ValueError: no"),
    ],
)
def test_how_a_run_ends(error, status, said):
    outcome = outcome_of(error)
    assert (outcome.status, str(outcome.failure)) == (status, said)


def test_who_has_stopped_a_run_is_told():
    found = stopped_by("stopped from a page")
    assert (found.status, str(found.failure)) == (STOPPED.status, "KeyboardInterrupt: stopped from a page")


@pytest.fixture
def handlers():
    """The handlers of this process's signals, which are as they were afterwards."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in signals}
    yield before
    for one, handler in before.items():
        signal.signal(one, handler)


def test_an_interrupt_is_heard_when_the_writing_is_done(handlers):
    done = []

    def write():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("written")
        return "record"

    with pytest.raises(KeyboardInterrupt):
        whole(write)()
    assert done == ["written"]
    assert {one: signal.getsignal(one) for one in handlers} == handlers


def test_each_plea_is_heard_by_its_own_handler_once(handlers):
    heard = []
    for one in handlers:
        signal.signal(one, lambda number, _: heard.append(number))
    with uninterrupted():
        for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(one)
        assert heard == []
    assert heard == [signal.SIGTERM, signal.SIGHUP]


def test_another_thread_has_nothing_to_hold_off(handlers):
    done = []

    def work():
        with uninterrupted():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [handlers[signal.SIGINT]]
