"""Slots of this very machine with nothing to start: a thread each, which listens to the task's process."""

from __future__ import annotations

import queue
import threading

from ml_experiment_nb.endings import STOPPED
from ml_experiment_nb.events import Answer, Done, Event
from ml_experiment_nb.plans import Task
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.work.process import Running
from ml_experiment_nb.work.setups import Warm


class InlineExecutor:
    """An `Executor` without Ray.

    Args:
        slots: How many tasks run at once.
    """

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self._events: queue.Queue[tuple[str, list[Event]]] = queue.Queue()
        self._warm: Warm | None = None
        self._running: dict[str, tuple[Running, threading.Thread]] = {}

    def submit(self, task: Task) -> None:
        """Start a task in a process of its own."""
        if task.warm and self._warm is None:
            self._warm = Warm(task)
        running = Running(task, self._warm if task.warm else None)
        thread = threading.Thread(target=self._listen, args=(task.key, running), daemon=True)
        self._running[task.key] = (running, thread)
        thread.start()

    def poll(self, timeout: float) -> list[tuple[str, Event]]:
        """Return what has arrived."""
        try:
            key, events = self._events.get(timeout=timeout)
        except queue.Empty:
            return []
        arrived = [(key, event) for event in events]
        while not self._events.empty():
            key, events = self._events.get_nowait()
            arrived += [(key, event) for event in events]
        for key, event in arrived:
            if isinstance(event, Done):
                self._running.pop(key)[1].join()
        return arrived

    def answer(self, key: str, answer: Answer) -> None:
        """Answer a task that waits for it."""
        if key in self._running:
            self._running[key][0].answer(answer)

    def kill(self, key: str, outcome: Outcome) -> None:
        """Stop a task."""
        if key in self._running:
            self._running[key][0].kill(outcome)

    def close(self, interrupted: bool = False) -> None:
        """Stop what still runs."""
        for running, _ in self._running.values():
            running.kill(STOPPED)
        for _, thread in self._running.values():
            thread.join()
        if self._warm is not None:
            self._warm.close()

    def _listen(self, key: str, running: Running) -> None:
        try:
            for batch in running.batches():
                self._events.put((key, batch))
        except Exception as error:  # the task has to end, whatever its slot raises
            failure = Failure(type(error).__name__, f"the task could not be performed: {error}")
            self._events.put((key, [Done(Outcome(Status.FAILED, failure))]))
