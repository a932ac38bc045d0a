"""How a run ends that is stopped, interrupted or raises; and what an interrupt waits for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.failures import failure_of
from ml_experiment_nb.records import Failure, Outcome, Record, Status

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = Outcome(Status.KILLED, Failure("KeyboardInterrupt", "the run was stopped"))


def stopped_by(who: str) -> Outcome:
    """Return how a run ends that somebody has asked to be stopped; `who` is that as a sentence."""
    return Outcome(Status.KILLED, Failure("KeyboardInterrupt", who))


def outcome_of(error: BaseException) -> Outcome:
    """Return how a run ends whose code, or driver, has raised."""
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return STOPPED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return Outcome(Status.FINISHED)
    # Without its store a plan was stopped, and can go on when that is there again.
    return Outcome(Status.KILLED if isinstance(error, StoreError) else Status.FAILED, failure_of(error))


def whole(write: Callable[[], Record]) -> Callable[[], Record]:
    """Return what writes a record and is not interrupted in the middle of it."""

    def written() -> Record:
        with uninterrupted():
            return write()

    return written


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold off Ctrl-C, a plea to end and a closed terminal while a run is opened or closed; they are heard later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {one: signal.signal(one, lambda number, _: arrived.append(number)) for one in _INTERRUPTS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in dict.fromkeys(arrived):
            signal.raise_signal(number)
