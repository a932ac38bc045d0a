"""Trials whose slot was lost under them: how often each is tried again, and what its new run says of the lost one."""

from __future__ import annotations

from collections import Counter, deque

from ml_experiment_nb.again import RETRY, RETRY_OF
from ml_experiment_nb.errors import SlotLostError, SlotMemoryError
from ml_experiment_nb.plans import Task
from ml_experiment_nb.records import Outcome, Record

_LOST = {SlotLostError.__name__, SlotMemoryError.__name__}
_ONCE = SlotMemoryError.__name__  # a second time, it may well be the trial that takes the memory


def was_lost(outcome: Outcome | Record) -> bool:
    """Return whether a task ended since its slot was lost."""
    return outcome.failure is not None and outcome.failure.type in _LOST


class Retries:
    """The trials that are to be tried again. A fault of the user's code, or of its process, is none of theirs.

    Args:
        limit: How many times one is, at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: dict[str, Task] = {}
        self._run_ids: dict[str, list[str]] = {}
        self._lost: Counter[str] = Counter()
        self._short: set[str] = set()
        self._waiting: deque[Task] = deque()

    @property
    def waiting(self) -> int:
        """How many trials wait for a slot to be tried again."""
        return len(self._waiting)

    def next(self) -> Task | None:
        """Return a trial to try again; None when there is none."""
        return self._waiting.popleft() if self._waiting else None

    def begin(self, task: Task, run_id: str | None) -> str | None:
        """Take note of a try that begins, and return the run of the one before it, if there was one."""
        if not self._limit:
            return None
        runs = self._run_ids.setdefault(task.key, [])
        before = runs[-1] if runs else None
        self._tasks[task.key] = task
        if run_id is not None:
            runs.append(run_id)
        return before

    def tags(self, key: str) -> dict[str, str]:
        """Return what the run of the try that begins now is tagged with."""
        if not (tries := self._lost[key]):
            return {}
        return {RETRY: str(tries), RETRY_OF: self._run_ids[key][0]}

    def grants(self, key: str, outcome: Outcome, *, stopped: bool = False) -> bool:
        """Return whether a trial that has ended is tried again; never one that was to be stopped."""
        kind = outcome.failure.type if outcome.failure is not None else ""
        if stopped or not was_lost(outcome) or self._lost[key] >= self._limit or (kind == _ONCE and key in self._short):
            self._forget(key)
            return False
        self._lost[key] += 1
        self._short |= {key} if kind == _ONCE else set()
        self._waiting.append(self._tasks[key])
        return True

    def _forget(self, key: str) -> None:
        self._tasks.pop(key, None)
        self._run_ids.pop(key, None)
