"""ml-experiment-nb: every cell, script and notebook a reproducible experiment.

In a notebook: ``%load_ext ml_experiment_nb``, then ``%%experiment`` and ``%%group``. In code: ``@job``, `report`
and `artifact`. On the command line: ``ml-experiment``.

Importing this package loads nothing heavy: each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_experiment_nb.comparison import diff
    from ml_experiment_nb.comparison.view import compare
    from ml_experiment_nb.errors import ExperimentError
    from ml_experiment_nb.imaging import export_image
    from ml_experiment_nb.jobs import job
    from ml_experiment_nb.listing import best_run, runs
    from ml_experiment_nb.loop import run
    from ml_experiment_nb.needs import needed
    from ml_experiment_nb.planning import make_plan
    from ml_experiment_nb.preflight import check
    from ml_experiment_nb.records import Record, Records, Status
    from ml_experiment_nb.replays import replay
    from ml_experiment_nb.reports import Pruned, artifact, report, secret
    from ml_experiment_nb.spaces import choice, loguniform, randint, uniform
    from ml_experiment_nb.spec_files import read_spec, write_spec
    from ml_experiment_nb.specs import Experiment, Group, Job
    from ml_experiment_nb.trials import Trial

__version__ = "0.1.0"

_HOMES = {
    "comparison": ("diff",),
    "comparison.view": ("compare",),
    "errors": ("ExperimentError",),
    "spec_files": ("read_spec", "write_spec"),
    "imaging": ("export_image",),
    "jobs": ("job",),
    "listing": ("best_run", "runs"),
    "loop": ("run",),
    "needs": ("needed",),
    "planning": ("make_plan",),
    "preflight": ("check",),
    "records": ("Record", "Records", "Status"),
    "replays": ("replay",),
    "reports": ("Pruned", "artifact", "report", "secret"),
    "spaces": ("choice", "loguniform", "randint", "uniform"),
    "specs": ("Experiment", "Group", "Job"),
    "trials": ("Trial",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Experiment",
    "ExperimentError",
    "Group",
    "Job",
    "Pruned",
    "Record",
    "Records",
    "Status",
    "Trial",
    "artifact",
    "best_run",
    "check",
    "choice",
    "compare",
    "diff",
    "export_image",
    "job",
    "loguniform",
    "make_plan",
    "needed",
    "randint",
    "read_spec",
    "replay",
    "report",
    "run",
    "runs",
    "secret",
    "uniform",
    "write_spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))


def load_ipython_extension(shell: Any) -> None:
    """Register the magics: what ``%load_ext ml_experiment_nb`` calls."""
    from ml_experiment_nb.magics import load_ipython_extension as load

    load(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Say where a checkout's JupyterLab extension is: what ``jupyter labextension develop`` asks."""
    return [{"src": "labextension", "dest": "ml-experiment-nb"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Say where the server's extension is: what Jupyter's server asks."""
    return [{"module": "ml_experiment_nb.server"}]
