"""What ends a group before all of its tasks are done: its time, failures, or that it found what it was after."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from ml_experiment_nb.conditions import parse_condition
from ml_experiment_nb.errors import MetricError, nearest
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.records import Failure, Outcome, Record, Status, duration, pairs
from ml_experiment_nb.specs import Group

LIMIT_NOTE = "no more was begun: "
_UNMEASURED = 3  # trials without the metric that is optimised, and none with it
_BY_TIME = "stopped at its limit of"
LIMIT_REACHED = "LimitReached"
"""The type of failure of a task that was stopped since its group had reached a limit."""


def is_cut_by_time(record: Record) -> bool:
    """Return whether a group that has ended was stopped by its time, which is not what it was asked for."""
    return any(note.startswith(f"{LIMIT_NOTE}{_BY_TIME}") for note in record.notes)


class Limits:
    """The limits of a plan while it runs, and whether one of them is reached.

    Args:
        plan: What is run; only a group has limits.
        kept: How many of its tasks had ended before, where it goes on.
    """

    def __init__(self, plan: Plan, kept: int = 0) -> None:
        self._group = plan.spec if isinstance(plan.spec, Group) else None
        self._goals = plan.goal[0]
        self._whole_table = plan.table is not None
        self._total = plan.total
        group = self._group
        self._condition = parse_condition(group.stop_when) if group is not None and group.stop_when else None
        self._deadline = time.monotonic() + group.timeout if group is not None and group.timeout else None
        self._failures = 0
        self._unmeasured: int | None = None if kept else 0  # None: some trial had it, or may have had it
        self._ended = kept
        self._met_by: str | None = None
        self._told: set[str] = set()
        self._outcome: Outcome | None = None
        self.reason: str | None = None
        """Why no task is begun any more."""

    def lost(self, key: str) -> None:
        """Take note that a task's slot was lost: what it had reported counts for nothing."""
        if self._met_by == key:
            self.reason = self._outcome = self._met_by = None
        self._told.discard(key)

    def saw(self, key: str, name: str, metrics: Mapping[str, float]) -> None:
        """Take note of the metrics that a task has reported so far."""
        if all(name in metrics for name in self._goals):
            self._unmeasured = None
        if self._condition is None or self.reason is not None or not self._condition.met(metrics):
            return
        self._met_by = key
        shown = {metric: metrics[metric] for metric in self._condition.names if metric in metrics}
        self._reached(f"stop_when is met by {name} ({pairs(shown)})", Outcome(Status.FINISHED))

    def ended(self, record: Record) -> None:
        """Take note of a task's end."""
        self._ended += 1
        self._failures += record.status is Status.FAILED
        most = self._group.max_failures if self._group is not None else None
        if most is not None and self._failures >= most and self.reason is None:
            reason = f"max_failures is reached: {self._failures} failed"
            last = f"; the last: {record.name}: {record.failure}"
            self._reached(reason, Outcome(Status.FAILED, Failure("TaskError", reason + last)))
        self._measured(record)

    def due(self, running: Collection[str]) -> list[str]:
        """Return which running tasks are to be stopped now, each once; one that met ``stop_when`` has its time."""
        is_late = self._deadline is not None and time.monotonic() > self._deadline
        if is_late and self.reason is None and (running or self._ended != self._total):
            assert self._group is not None
            self._reached(f"{_BY_TIME} {duration(self._group.timeout or 0)}", None)
        if self.reason is None:
            return []
        spared = None if is_late else self._met_by
        found = [key for key in running if key != spared and key not in self._told]
        self._told.update(found)
        return found

    def stopped(self) -> Outcome:
        """Return the outcome of a task that is stopped because a limit is reached."""
        return Outcome(Status.KILLED, Failure(LIMIT_REACHED, f"the group was stopped: {self.reason}"))

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return the group's outcome, given the one that its tasks come to."""
        if self.reason is None:
            return outcome
        if self._outcome is not None:
            return self._outcome
        if outcome.status is Status.FINISHED and not self._whole_table:
            return outcome
        what = "rows were left" if self._whole_table else "no trial had finished"
        return Outcome(Status.FAILED, Failure("TaskTimeoutError", f"{self.reason}, and {what}"))

    def cut(self, done: Sequence[Record]) -> bool:
        """Return whether a limit has left something to do."""
        count = sum(one.status in (Status.FINISHED, Status.PRUNED) for one in done)
        return self.reason is not None and (self._total is None or count < self._total)

    def notes(self, done: Sequence[Record]) -> list[str]:
        """Return what the group's record should say."""
        found = [f"{LIMIT_NOTE}{self.reason}"] if self.reason is not None else []
        came = list(dict.fromkeys(name for record in done for name in record.metrics))
        for name in self._condition.names if self._condition is not None and done else ():
            if name not in came:
                found.append(f"stop_when: {name!r} was never reported{nearest(name, came)}")
        return found

    def _measured(self, record: Record) -> None:
        """Take note of whether a trial had what is optimised. A name that is mistyped should not cost a whole group."""
        if self._unmeasured is None or self._group is None or record.failure is None:
            self._unmeasured = None
        elif record.failure.type == MetricError.__name__ and any(one not in record.metrics for one in self._goals):
            self._unmeasured += 1
            if self._unmeasured == _UNMEASURED and self.reason is None:
                reason = f"{_UNMEASURED} trials have ended, and none had the metric: {record.failure.message}"
                self._reached(reason, Outcome(Status.FAILED, Failure(MetricError.__name__, reason)))

    def _reached(self, reason: str, outcome: Outcome | None) -> None:
        self.reason, self._outcome = reason, outcome
