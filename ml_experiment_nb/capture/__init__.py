"""What is recorded of a run besides its parameters and metrics.

Nothing in here breaks the run that it describes: what can't be had is left empty, and a note says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ml_experiment_nb.capture.git import GitState, git_state
from ml_experiment_nb.capture.notebook import this_notebook
from ml_experiment_nb.capture.packages import Package, packages_on
from ml_experiment_nb.capture.packages import packages as installed_packages
from ml_experiment_nb.capture.system import System, interpreter_facts, system_info

__all__ = ["Snapshot", "snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """Code, machine and packages at one moment.

    Attributes:
        git: The work tree that the code stands in, if any.
        system: The machine and the interpreter.
        packages: The packages that the interpreter sees.
        notes: A sentence for each thing that should have been recorded and isn't.
        notebook: The notebook that this process is the kernel of, if it is one and its file is known.
    """

    git: GitState | None
    system: System
    packages: tuple[Package, ...]
    notes: tuple[str, ...]
    notebook: Path | None = None


def snapshot(folder: Path, python: str | None = None) -> Snapshot:
    """Return what code in `folder` runs with.

    Args:
        folder: The folder.
        python: The interpreter that runs it; by default this process's own.
    """
    notes: list[str] = []
    git = git_state(folder, notes=notes)
    system = system_info(notes=notes)
    if python is None:
        installed = installed_packages(notes=notes)
    else:
        path, facts = interpreter_facts(python)
        system, installed = replace(system, **facts), packages_on(path, notes=notes)
    return Snapshot(git, system, installed, tuple(notes), this_notebook())
