"""What is to be written of a run that has ended, on disk until it is: its driver may die before."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import Metric, Param

from ml_experiment_nb.absences import Waiting, as_data
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.whole_files import write_whole

FILE = "due.json"


@dataclass(frozen=True)
class Due:
    """How a run has ended, when, and what of it is not in its store."""

    outcome: Outcome
    ended: datetime
    waiting: Waiting


def leave(folder: Path, due: Due) -> None:
    """Write what is due to a run's folder.

    Raises:
        OSError: It can't be written.
    """
    failure, waiting = due.outcome.failure, due.waiting
    data = {
        "status": due.outcome.status.value,
        "failure": asdict(failure) if failure else None,
        "ended": due.ended.timestamp(),
        "params": [(one.key, one.value) for one in waiting.params],
        "metrics": [(one.key, one.value, one.timestamp, one.step) for one in waiting.metrics],
        "tags": dict(waiting.tags),
        "inputs": [as_data(one) for one in waiting.inputs],
        "notes": list(waiting.notes),
    }
    write_whole(folder / FILE, json.dumps(data))


def left(folder: Path) -> Due | None:
    """Return what is due of a run; None where its driver died before it ended, or as it wrote this."""
    try:
        data = json.loads((folder / FILE).read_text())
        failure = Failure(**data["failure"]) if data["failure"] else None
        waiting = Waiting(
            [Metric(*one) for one in data["metrics"]],
            [Param(*one) for one in data["params"]],
            [Input(**one) for one in data["inputs"]],
            data["tags"],
            data["notes"],
        )
        return Due(Outcome(Status(data["status"]), failure), datetime.fromtimestamp(data["ended"], UTC), waiting)
    except (OSError, ValueError, KeyError, TypeError):
        return None
