"""Random numbers across forks: children of one server must not all draw the same, unless the user seeded.

``random`` reseeds itself in a forked child, which would undo a seed that the setup has set; NumPy's and torch's
global generators do not, which would make every child draw the same numbers. So the setup is watched for calls of
the seeding functions: a generator that was seeded goes on where the setup left it, in every child alike; one that
was not starts from fresh entropy.
"""

from __future__ import annotations

import functools
import importlib
import os
import random
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

_seeded: set[str] = set()
_state: Any = None
_WITHOUT_NUMPY = frozenset(sys.stdlib_module_names | {"IPython", "ipykernel", "ml_experiment_nb"})
_WITH_TORCH = frozenset({"torch", "lightning", "pytorch_lightning", "transformers", "fastai", "accelerate"})


def watch(modules: Iterable[str]) -> None:
    """Note from now on who seeds ``random``, ``numpy.random`` and ``torch``.

    Args:
        modules: What will be imported. NumPy is imported for it if any of these may use it, torch likewise.
    """
    _note(random, "seed", "random")
    found = {name.partition(".")[0] for name in modules}
    if found - _WITHOUT_NUMPY:
        with suppress(ImportError):
            _note(importlib.import_module("numpy.random"), "seed", "numpy")
    if found & _WITH_TORCH:
        with suppress(ImportError):
            _note(importlib.import_module("torch"), "manual_seed", "torch")


def hold() -> None:
    """Remember the state of ``random``, which a fork would lose."""
    global _state
    _state = random.getstate() if "random" in _seeded else None


def renew() -> None:
    """In a forked child: keep what was seeded, and give what was not fresh entropy."""
    if _state is not None:
        random.setstate(_state)
    if "numpy" not in _seeded and (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
    if "torch" not in _seeded and (torch := sys.modules.get("torch")) is not None:
        torch.seed()


def _note(module: Any, name: str, who: str) -> None:
    original: Callable[..., Any] = getattr(module, name)
    if hasattr(original, "__wrapped_by_ml_experiment__"):
        return

    @functools.wraps(original)
    def seed(*args: Any, **kwargs: Any) -> Any:
        _seeded.add(who)
        return original(*args, **kwargs)

    seed.__wrapped_by_ml_experiment__ = True  # type: ignore[attr-defined]
    setattr(module, name, seed)
