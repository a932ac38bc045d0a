"""What a cell's badge says of the last run of it.

It goes with the output that shows the run: a front end keeps it in the cell's metadata, where a kernel can't write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_experiment_nb.quantities import number
from ml_experiment_nb.records import SYSTEM, Record


def badge_of(record: Record, goals: Mapping[str, bool] = {}) -> dict[str, Any]:
    """Return what is said of a run; nothing of one that isn't tracked.

    Args:
        record: The run.
        goals: The metrics that are optimised: the first that the run has is said, else the first of all.
    """
    if record.run_id is None:
        return {}
    own = [name for name in record.metrics if not name.startswith(SYSTEM)]
    name = next((one for one in own if one in goals), own[0] if own else None)
    metric = None if name is None else f"{name} {number(record.metrics[name])}"
    return {"run": record.run_id, "status": record.status.value, "metric": metric}


def badge_of_group(run_id: str, status: str, best: Record | None, metrics: list[str]) -> dict[str, Any]:
    """Return what is said of a group: of its best trial, what it optimises; of several metrics none is the best."""
    if best is None or len(metrics) != 1:
        return {"run": run_id, "status": status, "metric": None}
    return {"run": run_id, "status": status, "metric": f"best {metrics[0]} {number(best.metrics[metrics[0]])}"}
