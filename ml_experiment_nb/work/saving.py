"""When a notebook that is being executed is written: as often as somebody could look, not twice for each cell."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SAVE_EVERY = 0.5
"""Seconds between two writes. What a cell leaves is on the disk so soon, even if the next one hangs."""


class Saving:
    """Stands in for the `save` of papermill's execution manager, which writes when each cell begins and when it ends.

    Writing a notebook takes longer than many a cell does, and the longer the more it shows.
    """

    def __init__(self, nb_man: Any) -> None:
        self._nb_man = nb_man
        self._write = nb_man.save
        self._due = False
        self._at = time.monotonic()
        self._in_main_thread = threading.current_thread() is threading.main_thread()

    @contextmanager
    def paced(self) -> Iterator[None]:
        """Pace the manager's writes within this block; the next one, which papermill asks for after it, is the last.

        Up to that one, what is due is written when this process is asked to end.
        """
        self._nb_man.save = self._save
        if self._in_main_thread:
            self._before = signal.signal(signal.SIGTERM, self._terminate) or signal.SIG_DFL
        try:
            yield
        finally:
            self._nb_man.save = self._save_last

    def _save_last(self, **options: Any) -> None:
        self._write(**options)
        self._due = False
        del self._nb_man.save
        if self._in_main_thread:
            signal.signal(signal.SIGTERM, self._before)

    def _terminate(self, number: int, frame: object) -> None:
        """Write what is due, and let this process end as it would have."""
        signal.signal(signal.SIGTERM, self._before)
        self._write_due()
        signal.raise_signal(number)

    @contextmanager
    def during_cell(self) -> Iterator[None]:
        """See to it that what is due is written while a cell is executed, in the loop that waits for it."""
        timer = asyncio.get_running_loop().call_later(SAVE_EVERY, self._write_due)
        try:
            yield
        finally:
            timer.cancel()

    def _save(self, **options: Any) -> None:
        if options.get("nb") is not None:
            self._nb_man.nb = options["nb"]
        self._due = True
        if time.monotonic() - self._at >= SAVE_EVERY:
            self._write_due()

    def _write_due(self) -> None:
        if self._due:
            self._write()
            self._due, self._at = False, time.monotonic()
