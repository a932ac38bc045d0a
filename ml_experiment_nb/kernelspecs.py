"""What a notebook's kernelspec says of its kernels' start, and so whether they may be forked from a set-up here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from traitlets import TraitError

from ml_experiment_nb import notebooks
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.setup_cells import setup_prefix
from ml_experiment_nb.targets import OWN_ENGINE, Notebook

DEFAULT_KERNEL: Final = "python3"
LAUNCHER: Final = "ipykernel_launcher"
PROVISIONER: Final = "ml-experiment-fork"

_HARMLESS = ((), ("-Xfrozen_modules=off",), ("-X", "frozen_modules=off"))
"""Flags of the interpreter that a fork can do without: ipykernel's own kernelspec may have them, for its debugger."""

_NAMES = ("python", f"python{sys.version_info[0]}", f"python{sys.version_info[0]}.{sys.version_info[1]}")
"""What jupyter_client reads as the interpreter that it runs in."""


@dataclass(frozen=True)
class Beginning:
    """How the kernels of a notebook begin in a group's trials.

    Attributes:
        cells: How many leading cells have run already, once for all trials.
        env: What the kernelspec adds to the environment; ``${NAME}`` in it is still to be filled in.
        started: Why they are started as usual, not forked; None when they are forked.
    """

    cells: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    started: str | None = None


def beginning(target: Notebook) -> Beginning:
    """Return how a notebook's kernels begin where trials are forks.

    The kernelspec is the one that papermill takes: the target's, else the notebook's. Where only a part of the cells
    is run, they all run in the kernel itself.
    """
    if target.engine != OWN_ENGINE:
        return Beginning(started=f"the engine {target.engine!r} starts its kernels itself")
    count, name = 0, target.kernel
    try:
        nb = notebooks.read_notebook(target.file)
        name = name or notebooks.kernel_name(nb)
        count = 0 if target.part else setup_prefix(nb)
    except SpecError:  # the task itself will say so
        pass
    name = name or DEFAULT_KERNEL
    try:
        spec = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        return Beginning(started=f"no kernel is called {name!r}")
    except (OSError, ValueError, TypeError, TraitError) as error:
        return Beginning(started=f"the kernelspec {name!r} can't be read: {error}")
    why = _why_started(spec)
    if why is not None:
        return Beginning(started=f"the kernelspec {name!r} {why}")
    return Beginning(count, dict(spec.env))


def launcher_arguments(command: Sequence[str]) -> list[str] | None:
    """Return what ipykernel's launcher is given in a command; None where that isn't all that the command asks for.

    A flag of the interpreter, such as ``-O``, would be lost in a fork.
    """
    for flags in _HARMLESS:
        head = [*flags, "-m", LAUNCHER]
        if list(command[1 : 1 + len(head)]) == head:
            return list(command[1 + len(head) :])
    return None


def is_this_python(python: str) -> bool:
    """Whether a kernel's interpreter is this one, with this one's packages.

    An environment's interpreter is a link to the one that it was made with, so the folder counts too.
    """
    if python in _NAMES:
        return True
    found = shutil.which(python.replace("{prefix}", sys.prefix))
    if found is None or os.path.realpath(found) != os.path.realpath(sys.executable):
        return False
    return os.path.samefile(os.path.dirname(os.path.abspath(found)), os.path.dirname(sys.executable))


def _why_started(spec: KernelSpec) -> str | None:
    provisioner = spec.metadata.get("kernel_provisioner", {}).get("provisioner_name", PROVISIONER)
    if spec.language.lower() != "python":
        return f"is for {spec.language or 'no language'}, not for Python"
    if provisioner not in (PROVISIONER, "local-provisioner"):
        return f"has the provisioner {provisioner!r} start its kernels"
    if launcher_arguments(spec.argv) != ["-f", "{connection_file}"]:
        return f"starts them in a way of its own: {' '.join(spec.argv)}"
    if not is_this_python(spec.argv[0]):
        return f"starts them with another interpreter: {spec.argv[0]} (this is {sys.executable})"
    return None
