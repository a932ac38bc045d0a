"""The run that code of this process belongs to, and what a library's training says to it, by the wire to its driver."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment_nb import events, reports

RUN_ID = "ML_EXPERIMENT_RUN"
_NOTES = 5  # of a run, on what could not be autologged


@dataclass
class ThisRun:
    """A run as the code that is part of it sees it.

    Attributes:
        run_id: MLflow's id.
        experiment_id: The id of its MLflow experiment; empty where that isn't known.
        sink: Where events go.
        pruned: The step at which the group's pruner gave the trial up.
        working: Whether MLflow is at work for us, and what it imports is to be looked after later, by `settle`.
        busy: Whether a fit is going on that is recorded as such, and so not by what looks at loops.
        saved: The artifacts that we have made of what libraries have trained, by their paths.
    """

    run_id: str
    experiment_id: str
    sink: reports.Sink
    pruned: int | None = None
    busy: bool = False
    saved: set[str] = field(default_factory=set)
    working: bool = False
    settle: Callable[[], None] = lambda: None
    _first: dict[str, int] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)
    _fit: Any = None
    _noted: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(cls, sink: reports.Sink) -> ThisRun | None:
        """Return the run of a sink; None where it isn't tracked."""
        run_id = getattr(sink, "run_id", None) if hasattr(sink, "run_id") else os.environ.get(RUN_ID)
        experiment = getattr(sink, "experiment_id", None) or os.environ.get("MLFLOW_EXPERIMENT_ID", "")
        return cls(run_id, experiment, sink) if run_id else None

    @property
    def artifacts(self) -> Path:
        """Where the run's files are gathered."""
        return self.sink.artifacts

    def params(self, values: Mapping[str, Any]) -> None:
        """Record a library's own parameters."""
        if values:
            self.sink.send(events.Params({str(name): str(value) for name, value in values.items()}, autologged=True))

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags."""
        if values:
            self.sink.send(events.Tags({str(name): str(value) for name, value in values.items()}))

    def note(self, text: str) -> None:
        """Say what could not be recorded; of many such things, the first."""
        if len(self._noted) < _NOTES and text not in self._noted:
            self._noted.add(text)
            self.sink.send(events.Note(text))

    def begin(self, fit: Any) -> None:
        """A fit begins, or goes on: `fit` is what tells it from others. Its curves go on where an earlier one's end."""
        with self._lock:
            if fit != self._fit:
                self._fit, self._first = fit, {}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """MLflow is at work for us: it may import a library, and is not to be told to patch it meanwhile."""
        before, self.working = self.working, True
        try:
            yield
        finally:
            self.working = before
            if not before:
                self.settle()

    @contextmanager
    def fit(self, fit: Any) -> Iterator[None]:
        """A fit goes on while the block lasts."""
        self.begin(fit)
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def metrics(self, values: Mapping[str, float], step: int, moment: float | None = None) -> None:
        """Record metrics of the present fit, but for those that the code reports itself.

        Args:
            values: Names and numbers.
            step: The epoch or round, counted from the beginning of the fit.
            moment: Seconds since the epoch; by default, now.

        Raises:
            Pruned: The group's pruner gave the trial up.
        """
        with self._lock:
            by_step: dict[int, dict[str, float]] = {}
            for name, value in values.items():
                if (number := events.as_number(value)) is not None and not reports.is_reported(name):
                    by_step.setdefault(self._step(name, step), {})[name] = number
            for moved, numbers in by_step.items():
                asks = bool(os.environ.get(reports.PRUNING))
                self._send(events.Metrics(numbers, moved, moment or time.time(), ask=asks, autologged=True))
        if self.pruned is not None and threading.current_thread() is threading.main_thread():
            raise reports.Pruned(f"pruned at step {self.pruned}")

    def _step(self, name: str, step: int) -> int:
        first = self._first.setdefault(name, max(0, self._last.get(name, -1) + 1 - step))
        self._last[name] = max(first + step, self._last.get(name, -1))
        return first + step

    def _send(self, event: events.Metrics) -> None:
        if not event.ask:
            self.sink.send(event)
        elif self.sink.ask(event).value:
            self.pruned = event.step
