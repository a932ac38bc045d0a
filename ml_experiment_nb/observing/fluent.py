"""MLflow's own calls in a tracked cell, or a called job: they meet its run, as they do in a task's process.

What the notebook had set up for itself (an address, an experiment, a run that is open) is put aside for the cell, and
is there again after it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ml_experiment_nb import reports

if TYPE_CHECKING:
    from ml_experiment_nb.observing import ObservingOptions

_NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")


@contextmanager
def observing(sink: reports.Sink, asked: ObservingOptions) -> Iterator[None]:
    """Have MLflow's fluent API meet the run of `sink`, which is this process's own."""
    given: Mapping[str, str] = getattr(sink, "environment", {})
    if "MLFLOW_RUN_ID" not in given or "mlflow" not in sys.modules:
        yield  # a task's process, whose environment says so from the beginning
        return
    with _environment({name: given[name] for name in _NAMES if name in given}), _aside(given["MLFLOW_RUN_ID"]):
        yield


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if os.environ.get(name) not in (given[name], None):
                continue  # the cell's own choice, which stays
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _aside(run_id: str) -> Iterator[None]:
    """Put aside what MLflow keeps in this process; what the cell itself sets stays."""
    from mlflow.tracking import fluent
    from mlflow.tracking._tracking_service import utils

    settings: tuple[tuple[Any, str], ...] = ((utils, "_tracking_uri"), (fluent, "_active_experiment_id"))
    before = [(where, name, getattr(where, name)) for where, name in settings]
    last = fluent._last_active_run_id.get()
    active = fluent._active_run_stack.get()
    open_runs = list(active)
    active.clear()
    for where, name, _ in before:
        setattr(where, name, None)
    try:
        yield
    finally:
        if utils._tracking_uri is None:  # else the cell's last run is where the next cell will look for it
            fluent._last_active_run_id.set(last)
        for where, name, value in before:
            if getattr(where, name) is None:
                setattr(where, name, value)
        left = [one for one in active if one.info.run_id != run_id]  # ours is closed by its driver
        active[:] = open_runs + left
