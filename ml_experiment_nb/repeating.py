"""Something done again and again while other code runs, by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(
    act: Callable[[], bool], pause: Callable[[], float], *, name: str, patience: float = 0.0
) -> Iterator[None]:
    """Do something now and then while the block runs.

    Args:
        act: What is done; it returns whether to go on.
        pause: Seconds until it is done next.
        name: The thread's name.
        patience: Seconds that the block's end waits for what is being done.
    """
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(max(0.0, pause())):
            if not act():
                return

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(patience)
