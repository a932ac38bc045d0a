"""What is found in code before it runs, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

RULES: Final = {
    "syntax": "a cell that isn't Python, or that can't be read",
    "order": "a name that is read above the cell that makes it",
    "undefined": "a name that is read, and that nothing makes",
    "unused-parameter": "a parameter that nothing reads",
    "overwritten-parameter": "a parameter that gets another value before anything reads it",
    "stale-parameter": "a value that is computed before its parameter is set",
    "unseeded": "random numbers that are others each time",
    "absolute-path": "a path that is there on this machine alone",
    "secret": "a password or token that is written out",
    "uncommitted": "code that git doesn't have as it is",
    "unknown-rule": "a comment that ignores a rule that there isn't",
}
"""The rules, by the names under which findings give them."""


@dataclass(frozen=True)
class Finding:
    """What is wrong at one place, and what to do about it.

    Attributes:
        rule: Which of `RULES` it goes against.
        text: What is wrong.
        advice: What to do about it.
        file: The file, as it was named; None for a cell that has none.
        cell: The cell's number among all cells of its notebook, counted from 1; None in a script.
        id: The cell's id.
        line: The line in the cell, its magic's line included, or in the script, counted from 1.
    """

    rule: str
    text: str
    advice: str
    file: str | None = None
    cell: int | None = None
    id: str | None = None
    line: int | None = None
    last: int = field(default=0, repr=False, compare=False)
    """The line in which the code that is meant ends; for comments that ignore it."""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        named = f"cell {self.cell}" + (f" ({self.id})" if self.id else "") if self.cell is not None else ""
        words = [named, f"line {self.line}" if self.line is not None else ""]
        return ": ".join(filter(None, (self.file, ", ".join(filter(None, words)))))

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON data."""
        names = ("rule", "file", "cell", "id", "line", "text", "advice")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return f"{self.place}: [{self.rule}] {self.text}" if self.place else f"[{self.rule}] {self.text}"


class Findings(tuple[Finding, ...]):
    """Findings in the order of their places; printed, a line for each and one for what to do."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(f"{one}\n  -> {one.advice}" for one in self) or "nothing found"

    def __repr__(self) -> str:
        return str(self)


def sorted_findings(found: Sequence[Finding]) -> Findings:
    """Return findings in the order of their places, each once."""
    order = list(RULES)
    unique = dict.fromkeys(found)
    return Findings(sorted(unique, key=lambda one: (one.cell or 0, one.line or 0, order.index(one.rule), one.text)))
