"""What a run knows of a store that has gone: since when, and what waits on disk until it is there again."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlflow.entities import Metric, Param

from ml_experiment_nb.records import duration

FILE = "waiting.jsonl"


class Absence:
    """The time that a run's store is away, if it is; a driver that dies meanwhile leaves what it was told.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._since: float | None = None
        self._written = [0, 0]
        self.pause = 0.0  # seconds until it should be tried again

    def begin(self, metrics: Sequence[Metric], params: Sequence[Param], took: float) -> None:
        """The store could not be written: keep what was to be, of which the first ones may be kept already.

        Args:
            metrics: All that wait.
            params: All that wait.
            took: Seconds until that was known, which the run's code may have been waiting for.
        """
        self._since = self._since if self._since is not None else time.monotonic() - took
        self.pause = 5 * took
        lines = [["metric", one.key, one.value, one.timestamp, one.step] for one in metrics[self._written[0] :]]
        lines += [["param", one.key, one.value] for one in params[self._written[1] :]]
        with suppress(OSError), self._path.open("a") as file:  # a full disk: the driver still has them
            file.writelines(json.dumps(line) + "\n" for line in lines)
            self._written = [len(metrics), len(params)]

    def wrote(self, metrics: int, params: int) -> None:
        """So many of the first ones are in the store now."""
        self._written = [max(0, self._written[0] - metrics), max(0, self._written[1] - params)]

    def end(self) -> str | None:
        """All is written: return what the run's record says of the time that the store was away, if it was."""
        self.pause = 0.0
        if self._since is None:
            return None
        away, self._since = time.monotonic() - self._since, None
        self._written = [0, 0]
        self._path.unlink(missing_ok=True)
        return note(away)


def note(seconds: float) -> str:
    """Return what a record says of the time that its store was away."""
    away = f"{max(1, round(seconds))} s" if seconds < 59.5 else duration(seconds)
    return f"the store was away for {away}; what was recorded meanwhile was written when it was back"


def waiting(folder: Path) -> tuple[list[Metric], list[Param]]:
    """Return what waits in a run's folder whose driver is gone."""
    metrics, params = [], []
    with suppress(OSError, ValueError, TypeError):  # the last line may be cut
        for line in (folder / FILE).read_text().splitlines():
            kind, *values = json.loads(line)
            if kind == "metric":
                metrics.append(Metric(*values))
            else:
                params.append(Param(*values))
    return metrics, params
