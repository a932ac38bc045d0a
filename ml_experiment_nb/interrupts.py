"""An interrupt, held back where it would leave something broken."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt come when the block has ended.

    It is for imports: a library that was interrupted in the middle of its own, such as MLflow, can't be imported
    again in that process.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[-1])


def let_come_again(after: float = 0.3) -> None:
    """Interrupt this process again in a moment: where the interrupt was caught, nobody could have acted on it.

    Args:
        after: Seconds until then.
    """
    main = threading.main_thread().ident or 0
    timer = threading.Timer(after, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.daemon = True
    timer.start()
