"""The error tree: every error that this package raises on purpose.

::

    ExperimentError                 catch this to catch all of them
    ├── SpecError                   what was asked for is wrong: file, line, key and what to do
    │   ├── SpaceError              a distribution's text or arguments
    │   └── ParameterError          an unknown, missing or ill-typed parameter
    ├── CaptureError                a notebook value that can't be sent to a trial
    ├── MetricError                 a returned value that isn't metrics, or a metric that never came
    ├── StoreError                  the tracking store can't be reached or read
    │   ├── RunNotFoundError        no run, or more than one, has that id
    │   └── StoreLostError          it was deleted while a run was to be written, and what was kept of the run with it
    ├── StillRunningError           a run that is to be taken up, and its driver lives
    ├── ResumeError                 a group that can't be taken up again
    ├── ReplayError                 a run that can't be done again
    ├── ExecutorError               the slots (Ray) can't be had
    │   └── SlotLostError           the slot under a running task was lost: its node, or the slot's own process
    │       └── SlotMemoryError     Ray ended it, as its node was short of memory
    ├── EngineError                 no Docker engine can be had, or it doesn't do what it is asked
    │   └── ImageError              an image that isn't there, can't be made, or hasn't what a task needs
    └── TaskError                   the user's code did not succeed; carries its record's status
        ├── CellFailedError         a notebook's cell raised; the kernel's own traceback comes along
        ├── WorkerFailedError       a worker of a distributed run raised or was lost; says which one
        ├── TaskTimeoutError        it took longer than its time limit
        ├── TaskMemoryError         it used more memory than its limit
        └── TaskDiedError           its process or kernel ended without a word (a signal, out of memory)

All of them pickle, so that they can come back from another process.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ml_experiment_nb.tracebacks import lines_of


class ExperimentError(Exception):
    """The root of this package's errors."""

    def _render_traceback_(self) -> list[str]:
        """Tell IPython what to show in a notebook: the user's own line that led to it, and the message."""
        return lines_of(self)


class SpecError(ExperimentError):
    """What was asked for is wrong.

    Args:
        problem: What is wrong and what to do, in a sentence.
        file: The file it stands in, if any.
        line: The line in that file, counted from 1.
        key: The dotted key, such as ``metric.direction``.
    """

    def __init__(self, problem: str, file: str | None = None, line: int | None = None, key: str | None = None) -> None:
        super().__init__(problem, file, line, key)
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key

    def __str__(self) -> str:
        where = self.file or ""
        if self.line is not None:
            where += f":{self.line}" if where else f"line {self.line}"
        return ": ".join(part for part in (where, self.key, self.problem) if part)


class SpaceError(SpecError):
    """A distribution can't be read, or its arguments make no sense."""


class ParameterError(SpecError):
    """A parameter is unknown, missing, or of the wrong type."""


class CaptureError(ExperimentError):
    """A value that a cell reads can't be sent to another process."""


class MetricError(ExperimentError):
    """A value that should be metrics isn't, or the metric to optimise never came."""


class StoreError(ExperimentError):
    """The tracking store can't be reached or read."""


class RunNotFoundError(StoreError):
    """No run, or more than one, answers to an id."""


class StoreLostError(StoreError):
    """A store was deleted while a run went on, and with it what was kept of that run: waiting is of no use."""


class StillRunningError(ExperimentError):
    """A run's driver lives: it can be attached to or stopped, and not taken up again."""


class ResumeError(ExperimentError):
    """A run can't be taken up again; says why and what to do."""


class ReplayError(ExperimentError):
    """A run can't be done again from its record; says why and what to do."""


class ExecutorError(ExperimentError):
    """The slots that tasks run in can't be had."""


class SlotLostError(ExecutorError):
    """The slot under a running task was lost, by no fault of the task's: its node, or the slot's own process."""


class SlotMemoryError(SlotLostError):
    """Ray's memory monitor ended the slot under a running task, as its node was short of memory."""


class EngineError(ExperimentError):
    """No Docker engine can be had, or it doesn't do what it is asked."""


class ImageError(EngineError):
    """A Docker image isn't there, can't be built or pushed, or hasn't what a task needs."""


class TaskError(ExperimentError):
    """The user's code did not succeed."""


class CellFailedError(TaskError):
    """A cell of a headless notebook raised.

    Args:
        name: The exception's type.
        message: Its message.
        traceback: The traceback as the kernel printed it, without colours.
    """

    def __init__(self, name: str, message: str, traceback: str) -> None:
        super().__init__(name, message, traceback)
        self.name, self.message, self.traceback = name, message, traceback

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


class WorkerFailedError(TaskError):
    """A worker of a distributed run raised, or was lost.

    Args:
        name: The type of what it raised, or `TaskDiedError`'s for one that was lost.
        message: What it said, its rank before it.
        traceback: Its traceback from the user's own code on; empty for one that was lost.
    """

    def __init__(self, name: str, message: str, traceback: str = "") -> None:
        super().__init__(name, message, traceback)
        self.name, self.message, self.traceback = name, message, traceback

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


class TaskTimeoutError(TaskError):
    """A task took longer than its time limit and was stopped."""


class TaskMemoryError(TaskError):
    """A task used more memory than its limit and was stopped."""


class TaskDiedError(TaskError):
    """A task's process or kernel ended without an outcome: a signal, or out of memory."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word closest to `word`, or an empty string."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[found[0]]!r}?" if found else ""
