"""Who is told what a command does, where nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan
    from ml_experiment_nb.updates import Update


class CommandWatch(Protocol):
    """Is told what a command does."""

    def follow(self, plan: Plan, updates: Iterator[Update]) -> Iterator[Update]:
        """Hand on what happens in a plan, and see it on the way."""

    def step(self, text: str) -> None:
        """Take a line that says what is being done."""

    def made(self, result: dict[str, Any], failure: str | None = None) -> None:
        """Take what was made, and why it isn't as it should be."""
