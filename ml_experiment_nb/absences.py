"""What a run knows of a store that has gone: since when, and what waits on disk until it is there again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param

from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.records import duration

FILE = "waiting.jsonl"


@dataclass(frozen=True)
class Waiting:
    """What a run was told that is not in the store, in the order in which it was.

    Attributes:
        metrics: Values reported.
        params: Parameters.
        inputs: The data that it reads.
        tags: The last text of each.
        notes: All that the run has; the store may have some of them.
    """

    metrics: Sequence[Metric] = ()
    params: Sequence[Param] = ()
    inputs: Sequence[Input] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


class Absence:
    """The time that a run's store is away, if it is; a driver that dies meanwhile leaves what it was told.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._since: float | None = None
        self._kept = [0, 0, 0]  # metrics, parameters and inputs on disk already: the first ones of those that wait
        self._tags: dict[str, str] = {}
        self._notes: set[str] = set()
        self.pause = 0.0  # seconds until it should be tried again

    @property
    def lasts(self) -> bool:
        """Whether the store is away, as far as the run knows."""
        return self._since is not None

    def begin(self, waiting: Waiting, took: float) -> None:
        """The store could not be written: keep what was to be.

        Args:
            waiting: All that waits.
            took: Seconds until that was known, which the run's code may have been waiting for.
        """
        self._since = self._since if self._since is not None else time.monotonic() - took
        self.pause = 5 * took
        self.keep(waiting)

    def keep(self, waiting: Waiting) -> None:
        """Keep on disk what waits, and isn't there yet."""
        lines = [json.dumps(line) + "\n" for line in self._lines(waiting)]
        if not lines:
            return
        lines.insert(0, "\n")  # what was there before may be cut, by a disk that was full
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:  # a full disk: the driver has them
            file.writelines(lines)
            self._kept = [len(waiting.metrics), len(waiting.params), len(waiting.inputs)]
            self._tags |= waiting.tags
            self._notes |= set(waiting.notes)

    def _lines(self, waiting: Waiting) -> Iterator[list[Any]]:
        metrics, params, inputs = self._kept
        for metric in waiting.metrics[metrics:]:
            yield ["metric", metric.key, metric.value, metric.timestamp, metric.step]
        for param in waiting.params[params:]:
            yield ["param", param.key, param.value]
        for one in waiting.inputs[inputs:]:
            yield ["input", as_data(one)]
        for name, text in waiting.tags.items():
            if self._tags.get(name) != text:
                yield ["tag", name, text]
        for text in waiting.notes:
            if text not in self._notes:
                yield ["note", text]

    def wrote(self, metrics: int, params: int, inputs: int = 0) -> None:
        """So many of the first ones are in the store now."""
        written = metrics, params, inputs
        self._kept = [max(0, kept - one) for kept, one in zip(self._kept, written, strict=True)]

    def end(self) -> str | None:
        """All is written: return what the run's record says of the time that the store was away, if it was."""
        self.pause, self._kept, self._tags, self._notes = 0.0, [0, 0, 0], {}, set()
        self._path.unlink(missing_ok=True)
        if self._since is None:
            return None
        away, self._since = time.monotonic() - self._since, None
        return note(away)


def note(seconds: float) -> str:
    """Return what a record says of the time that its store was away."""
    away = f"{max(1, round(seconds))} s" if seconds < 59.5 else duration(seconds)
    return f"the store was away for {away}; what was recorded meanwhile was written when it was back"


def as_data(one: Input) -> dict[str, Any]:
    """Return an input as JSON data; the digests of its files are in a file of the record."""
    return {**vars(one), "files": None}


def waiting(folder: Path) -> Waiting:
    """Return what waits in a run's folder whose driver is gone."""
    metrics: list[Metric] = []
    params: list[Param] = []
    inputs: list[Input] = []
    notes: list[str] = []
    tags: dict[str, str] = {}
    text = ""
    with suppress(OSError):
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        with suppress(ValueError, TypeError, IndexError):  # it is cut
            kind, *values = json.loads(line)
            match kind:
                case "metric":
                    metrics.append(Metric(*values))
                case "param":
                    params.append(Param(*values))
                case "input":
                    inputs.append(Input(**values[0]))
                case "tag":
                    tags[values[0]] = values[1]
                case "note":
                    notes.append(values[0])
    return Waiting(metrics, params, inputs, tags, notes)
