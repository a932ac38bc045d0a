"""What the server does beside what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Background:
    """Tasks of the event loop, held on to until they are done: the loop itself would have them collected."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Have something done beside."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
