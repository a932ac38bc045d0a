"""Where a project begins, and the folder in it that is ours.

Everything that is kept without being asked for (the store, studies, logs of running tasks) stands in
``.ml-experiment/`` at the project's root. The folder ignores itself in git, so recording a run never makes
the work tree dirty.
"""

from __future__ import annotations

import os
from pathlib import Path

from ml_experiment_nb.errors import StoreError

FOLDER = ".ml-experiment"
STORE = "mlflow.db"
SOCKETS = "/tmp" if os.path.isdir("/tmp") else None
"""Where sockets' folders are made: a socket's path has at most 107 bytes, and a user's TMPDIR may be longer."""
NOT_OF_IT = frozenset(
    {
        FOLDER,
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        ".ipynb_checkpoints",
        "node_modules",
        "mlruns",
        ".venv",
        ".tox",
        ".nox",
    }
    | {".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"}
)
"""Names of folders in a project that tools have made: no part of it, wherever its files are copied or sent."""
_MARKS = (FOLDER, ".git", "pyproject.toml")


def find_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder at or above `start` that holds a project's mark.

    The marks are ``.ml-experiment``, ``.git`` and ``pyproject.toml``. Without any of them, it is `start` itself.
    ``ML_EXPERIMENT_ROOT`` in the environment overrides the search.
    """
    if told := os.environ.get("ML_EXPERIMENT_ROOT"):
        return Path(told).expanduser().absolute()
    start = (start or Path.cwd()).absolute()
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return start


def is_environment(folder: Path) -> bool:
    """Return whether a folder is a Python environment, which is no part of the project that it stands in."""
    return (folder / "pyvenv.cfg").exists() or (folder / "conda-meta").exists()


def has_store(root: Path) -> bool:
    """Return whether something may be recorded: a store is named in the environment, or the project has its own."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / FOLDER / STORE).exists()


def home(root: Path) -> Path:
    """Return the project's ``.ml-experiment`` folder, made if it wasn't there.

    Raises:
        StoreError: It can't be made.
    """
    folder = root / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise StoreError(
            f"{folder} can't be written ({error.strerror}); run from a folder that is yours, "
            "or set ML_EXPERIMENT_ROOT to one"
        ) from error
    return folder
