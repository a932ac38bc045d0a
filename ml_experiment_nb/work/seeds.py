"""Random numbers across forks: children of one server must not all draw the same, unless the user seeded.

``random`` reseeds itself in a forked child, which would undo a seed that the setup has set; NumPy's and torch's
global generators do not, which would make every child draw the same numbers. So the setup is watched for calls of
the seeding functions: a generator that was seeded goes on where the setup left it, in every child alike; one that
was not starts from fresh entropy.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ml_experiment_nb.observing import seeding

_state: Any = None
_WITHOUT_NUMPY = frozenset(sys.stdlib_module_names | {"IPython", "ipykernel", "ml_experiment_nb"})
_WITH_TORCH = frozenset({"torch", "lightning", "pytorch_lightning", "transformers", "fastai", "accelerate"})


def watch(modules: Iterable[str]) -> None:
    """Note from now on who seeds a generator.

    Args:
        modules: What will be imported. NumPy is imported for it if any of these may use it, torch likewise.
    """
    seeding.watch()
    found = {name.partition(".")[0] for name in modules}
    if found - _WITHOUT_NUMPY:
        with suppress(ImportError):
            importlib.import_module("numpy.random")
    if found & _WITH_TORCH:
        with suppress(ImportError):
            importlib.import_module("torch")


def hold() -> None:
    """Remember the state of ``random``, which a fork would lose."""
    global _state
    seeding.settle()
    _state = random.getstate() if seeding.seeded("random") else None


def renew() -> None:
    """In a forked child: keep what was seeded, and give what was not fresh entropy."""
    if _state is not None:
        random.setstate(_state)
    if not seeding.seeded("numpy") and (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
    if not seeding.seeded("torch") and (torch := sys.modules.get("torch")) is not None:
        torch.seed()
