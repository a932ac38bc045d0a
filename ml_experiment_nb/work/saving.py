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

    @contextmanager
    def paced(self) -> Iterator[None]:
        """Pace the manager's writes within this block; papermill itself writes the notebook's last state after it."""
        self._nb_man.save = self._save
        try:
            with self._at_termination():
                yield
        finally:
            del self._nb_man.save

    @contextmanager
    def _at_termination(self) -> Iterator[None]:
        """Write what is due when this process is asked to end, and let it end as it would have."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def write(number: int, frame: object) -> None:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
            self._write_due()
            signal.raise_signal(number)

        before = signal.signal(signal.SIGTERM, write)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

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
