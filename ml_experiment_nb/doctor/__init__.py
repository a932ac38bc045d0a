"""What is reachable of all that a run may need, each looked at within a time limit, and nothing lasting changed.

Every check is a function of the project's root that returns findings. All of them run at once, in threads that nobody
waits for any longer than the limit. What they are made of is imported before, one module after the other: of two
threads that import at once, one may find only half of a module that the other has begun.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ml_experiment_nb.doctor.findings import Finding, Level, without_secrets

SECONDS = 30.0
CHECKS = {
    "python": "machine:python",
    "kernel": "machine:kernel",
    "git": "machine:git",
    "disk": "machine:disk",
    "project": "machine:project",
    "store": "store:store",
    "artifacts": "store:artifacts",
    "ray": "machine:ray",
    "docker": "machine:docker",
    "gpu": "machine:gpu",
    "jupyterlab": "lab:jupyterlab",
}
"""What is looked at, in this order: the module and the function of each."""
BESIDES = frozenset({"git", "docker", "gpu", "jupyterlab"})
"""What runs on this machine alone do without: nothing of it is worse than a warning."""

__all__ = ["BESIDES", "CHECKS", "SECONDS", "Finding", "Level", "examine"]


def examine(root: Path, *, seconds: float = SECONDS) -> Iterator[Finding]:
    """Look at everything and yield what is found, in the order of `CHECKS`; passwords are masked.

    Args:
        root: The project's root.
        seconds: How long all of it may take.
    """
    looks = [_Look(name, where, root) for name, where in CHECKS.items()]
    for look in looks:
        look.thread.start()
    until = time.monotonic() + seconds
    for look in looks:
        look.thread.join(max(0.0, until - time.monotonic()))
        if look.thread.is_alive():
            advice = "look at it by hand, or give more --timeout"
            yield _weighed(Finding(look.name, Level.PROBLEM, f"no answer within {seconds:g} s", advice))
        else:
            yield from (_weighed(without_secrets(one)) for one in look.found)


def _weighed(finding: Finding) -> Finding:
    """Return a finding that is no problem, if runs do without what it is about."""
    if finding.level is Level.PROBLEM and finding.check in BESIDES:
        return replace(finding, level=Level.WARNING)
    return finding


class _Look:
    """A check in a thread of its own, which is a daemon: what hangs is left hanging."""

    def __init__(self, name: str, where: str, root: Path) -> None:
        self.name, self._root = name, root
        self.found: list[Finding] = []
        self.thread = threading.Thread(target=self._run, name=f"doctor-{name}", daemon=True)
        self._check: Callable[[Path], Iterable[Finding]] = lambda root: self.found
        module, _, function = where.partition(":")
        with self._failing():
            self._check = getattr(importlib.import_module(f"{__name__}.{module}"), function)

    def _run(self) -> None:
        with self._failing():
            self.found = list(self._check(self._root))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Make a finding of a check that fails, or can't be imported."""
        try:
            yield
        except Exception as error:
            what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.found = [
                Finding(self.name, Level.PROBLEM, what, "look at what is installed; this is none of your code's")
            ]
