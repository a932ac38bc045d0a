"""What can wait until a cell's value is shown: the last writes of its run, done in a thread and in their order.

Nothing depends on that thread: whoever hands work over has left on disk what is to be done, and should this process
die first, a sweep does it. The next cell waits for it, but not for long.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable

AFTER = 0.03  # seconds that a cell's reply and what it shows get first
CELL = 0.25  # that the next cell waits
EXIT = 10.0  # that the end of this process waits


class _Writer:
    """The thread and its work; the thread ends when there is none."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.hurry = threading.Event()
        self.waiting: deque[tuple[Callable[[], object], str]] = deque()
        self.problems: list[str] = []
        self.thread: threading.Thread | None = None

    def perform(self) -> None:
        self.hurry.wait(AFTER)
        while True:
            with self.changed:
                if not self.waiting:
                    self.thread = None
                    return
                work, what = self.waiting[0]
            try:
                work()
            except BaseException as error:  # whatever it is: the others still wait to be written
                self.problems.append(f"{what}: {error}")
            with self.changed:
                self.waiting.popleft()
                self.changed.notify_all()


_writer = _Writer()


def later(work: Callable[[], object], what: str) -> None:
    """Have something done in a moment, after what was handed over before.

    Args:
        work: What to do.
        what: What couldn't be done, should it raise.
    """
    _at_exit()
    writer = _writer
    with writer.changed:
        writer.waiting.append((work, what))
        if writer.thread is None:
            writer.hurry.clear()
            writer.thread = threading.Thread(target=writer.perform, name="ml-experiment-writer", daemon=True)
            writer.thread.start()


def wait(seconds: float | None = None) -> bool:
    """Wait until all is done that was handed over, and say whether it is.

    Args:
        seconds: Not longer than this.
    """
    writer = _writer
    if not writer.waiting or threading.current_thread() is writer.thread:
        return True
    writer.hurry.set()
    with writer.changed:
        return writer.changed.wait_for(lambda: not writer.waiting, seconds)


def problems() -> list[str]:
    """Return what could not be done since this was asked last."""
    found, _writer.problems = _writer.problems, []
    return found


_registered = False


def _at_exit() -> None:
    """Have the process's end wait for the work, before threads can no longer be started: files are sent by some."""
    global _registered
    if not _registered:
        _registered = True
        register = getattr(threading, "_register_atexit", atexit.register)
        register(lambda: wait(EXIT))


def _forget() -> None:
    """Begin anew in a process that was forked: the thread and its work are its parent's."""
    global _writer
    _writer = _Writer()


os.register_at_fork(after_in_child=_forget)
