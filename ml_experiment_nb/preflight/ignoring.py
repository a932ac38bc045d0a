"""Comments by which code says that a rule doesn't hold for it: ``# ml-experiment: ignore[unseeded]``.

On a line of code it is about that line, or the statement that ends there; on a line of its own about the next line, and
above all of the code of a cell or a script about the whole of it. Without a rule's name it is about all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ml_experiment_nb.errors import nearest
from ml_experiment_nb.preflight.findings import RULES, Finding
from ml_experiment_nb.preflight.reading import CheckedCell, Source

_COMMENT = re.compile(r"#\s*ml-experiment:\s*ignore\b(?:\[([^\]]*)\])?")


@dataclass(frozen=True)
class _Comment:
    rules: frozenset[str]
    first: int
    last: int

    def is_about(self, finding: Finding) -> bool:
        line = finding.line or 1
        meets = self.first <= max(line, finding.last) and line <= self.last
        return meets and (not self.rules or finding.rule in self.rules)


def kept(source: Source, found: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings that no comment says to ignore, and those about such comments."""
    cells = source.cells + source.skipped
    comments = {cell.number: list(_comments(cell)) for cell in cells if "ml-experiment:" in cell.source}
    for finding in found:
        if not any(one.is_about(finding) for one in comments.get(finding.cell, ())):
            yield finding
    for cell in cells:
        for comment in comments.get(cell.number, ()):
            for name in sorted(comment.rules - RULES.keys()):
                hint = nearest(name, RULES) or f"; the rules are {', '.join(RULES)}"
                text, advice = f"ignore[{name}] names no rule{hint}", "correct the name"
                yield Finding("unknown-rule", text, advice, source.file, cell.number, cell.id, comment.first)


def _comments(cell: CheckedCell) -> Iterator[_Comment]:
    lines = cell.source.splitlines()
    at_top = True
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        alone = text.startswith("#")
        if found := _COMMENT.search(line):
            rules = frozenset(one.strip() for one in (found[1] or "").split(",") if one.strip())
            last = len(lines) if alone and at_top else number + 1 if alone else number
            yield _Comment(rules, number if not (alone and at_top) else 1, last)
        at_top = at_top and (not text or alone or text.startswith("%%"))
