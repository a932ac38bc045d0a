"""Whether a run of a notebook's session came of its cells alone: findings, judged, and said in a record's tags. Pure.

A proof runs the slice of the session that the run depends on in a new kernel. What it finds is put into one word, which
is that of the gravest finding, and a sentence that names all of them with the cells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final

from ml_experiment_nb.quantities import cut
from ml_experiment_nb.verdicts import Difference

PROOF: Final = "mlexp.proof"
SENTENCE: Final = "mlexp.proof.says"
CELLS: Final = "mlexp.proof.cells"
SECONDS: Final = "mlexp.proof.seconds"


_TITLE = 41  # characters of a cell by which it is named
_DIFFERENCES = 3


class ProofAnswer(StrEnum):
    """What a proof has come to, the gravest first."""

    STOPPED = "not finished"
    FAILED = "could not run"
    DIFFERS = "differs"
    CHANGED = "depends on a deleted or edited cell"
    HIDDEN = "depends on what no cell makes"
    OUT_OF_ORDER = "out of order"
    CLEAN = "clean"


_NOT_THE_SAME: Final = (ProofAnswer.STOPPED, ProofAnswer.FAILED, ProofAnswer.DIFFERS)
RUNNING: Final = "is being proven"


@dataclass(frozen=True)
class Ran:
    """A cell of a session that a run depends on; the run's own is one of them.

    Attributes:
        number: Its number in ``In``.
        source: Its text as it was executed.
        cell: The cell's id, where the front end says it.
        ended: When it had been executed, in seconds since 1970, where that is known.
    """

    number: int
    source: str
    cell: str | None = None
    ended: float | None = None

    def __str__(self) -> str:
        lines = [line for line in self.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        title = lines[0].strip() if lines else ""
        return f"In [{self.number}] ({cut(title, _TITLE)})"


@dataclass(frozen=True)
class Saved:
    """The code cells of a notebook's file, ids and texts in their order, and when it was saved (seconds since 1970)."""

    cells: Sequence[tuple[str, str]]
    at: float


@dataclass(frozen=True)
class Finding:
    """Something that a proof has found: which kind of answer it is, a sentence, and the numbers of the cells."""

    answer: ProofAnswer
    text: str
    cells: tuple[int, ...] = ()


@dataclass(frozen=True)
class Proof:
    """What a proof has come to.

    Attributes:
        answer: Its one word.
        text: A sentence that names all that was found.
        cells: The numbers of the cells that it names.
        seconds: How long it took.
    """

    answer: ProofAnswer
    text: str
    cells: tuple[int, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def tags(self) -> dict[str, str]:
        """Return what the run's record says of it."""
        said = "; ".join([self.text, *self.notes])
        numbers = ", ".join(map(str, self.cells))
        return {
            PROOF: self.answer.value, SENTENCE: said, CELLS: numbers or "none", SECONDS: f"{self.seconds:.1f}"
        }  # fmt: skip

    def to_json(self) -> str:
        """Return it as a line of JSON; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Proof:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        lists = {name: tuple(data[name]) for name in ("cells", "notes")}
        return cls(**{**data, **lists, "answer": ProofAnswer(data["answer"])})


def judged(findings: Iterable[Finding], *, clean: str, seconds: float, notes: Iterable[str] = ()) -> Proof:
    """Return the proof that findings come to.

    Args:
        findings: What was found.
        clean: What is said where nothing was, and besides where its cells gave the same all the same.
        seconds: How long it took.
        notes: What else is to be said.
    """
    order = list(ProofAnswer)
    found = sorted(findings, key=lambda one: order.index(one.answer))
    cells = tuple(dict.fromkeys(number for one in found for number in one.cells))
    answer = found[0].answer if found else ProofAnswer.CLEAN
    if found and all(one.answer not in _NOT_THE_SAME for one in found):
        notes = (clean, *notes)
    return Proof(answer, "; ".join(one.text for one in found) or clean, cells, seconds, tuple(notes))


def changed_cells(ran: Sequence[Ran], saved: Saved) -> list[Finding]:
    """Return which cells are not in the notebook any more as they were run, as far as its file tells.

    A cell that was run after the file was saved isn't judged by it.
    """
    texts = dict(saved.cells)
    there = {_plain(text) for text in texts.values()}
    found = []
    for one in ran:
        if one.ended is None or saved.at < one.ended:
            continue
        if one.cell is None or one.cell not in texts:
            if one.cell is not None and _plain(one.source) not in there:
                found.append(Finding(ProofAnswer.CHANGED, f"{one} is not in the notebook any more", (one.number,)))
            elif _plain(one.source) not in there:
                told = f"{one} is not in the notebook any more, or was edited"
                found.append(Finding(ProofAnswer.CHANGED, told, (one.number,)))
        elif _plain(texts[one.cell]) != _plain(one.source):
            found.append(Finding(ProofAnswer.CHANGED, f"{one} was edited since", (one.number,)))
    return found


def order_of(ran: Sequence[Ran], saved: Saved) -> list[Finding]:
    """Return which cells were run in another order than the notebook has them, each after the one that it stands above.

    Args:
        ran: The cells in the order in which they were run.
        saved: The notebook's file.
    """
    ids = {cell: k for k, (cell, _) in enumerate(saved.cells)}
    texts: dict[str, int | None] = {}
    for k, (_, text) in enumerate(saved.cells):
        texts[_plain(text)] = None if _plain(text) in texts else k  # of cells that are alike, nobody knows which it was
    placed = []
    for one in ran:
        place = ids.get(one.cell) if one.cell is not None else None
        place = place if place is not None else texts.get(_plain(one.source))
        if place is not None:
            placed.append((one, place))
    found = []
    for (one, above), (other, below) in pairwise(placed):
        if above == below:
            told = f"{one} and In [{other.number}] are one cell, which was run twice"
        elif above > below:
            told = f"{other} stands above In [{one.number}], and was run after it"
        else:
            continue
        found.append(Finding(ProofAnswer.OUT_OF_ORDER, told, (one.number, other.number)))
    return found


def hidden(problems: Iterable[str]) -> list[Finding]:
    """Return as findings what can't be traced to any executed cell, or was executed again with another text."""
    return [
        Finding(
            ProofAnswer.CHANGED if "was edited since" in one else ProofAnswer.HIDDEN,
            one,
            tuple(int(number) for number in re.findall(r"In \[(\d+)\]", one)),
        )
        for one in problems
    ]


def differing(differences: Sequence[Difference], unseeded: str | None) -> list[Finding]:
    """Return as a finding that metrics differ, with the cause where it is known."""
    if not differences:
        return []
    more = f", and {len(differences) - _DIFFERENCES} more" if len(differences) > _DIFFERENCES else ""
    told = ", ".join(map(str, differences[:_DIFFERENCES])) + more
    cause = f", for random numbers were drawn without a seed ({unseeded})" if unseeded else ""
    return [Finding(ProofAnswer.DIFFERS, f"in a new kernel its cells give something else: {told}{cause}")]


def clean_text(cells: int, metrics: int) -> str:
    """Return what is said of a run whose cells gave the same again."""
    ran = "its cell alone" if cells == 1 else f"its {cells} cells, in the order in which they were run,"
    gave = {0: "ended as it had; it has no metrics", 1: "gave the same metric"}.get(
        metrics, f"gave the same {metrics} metrics"
    )
    return f"in a new kernel {ran} {gave}"


def said(tags: Mapping[str, str]) -> str:
    """Return what a record says of its proof, in a line; empty where none was asked for."""
    if PROOF not in tags:
        return ""
    text = tags.get(SENTENCE, "")
    return f"{tags[PROOF]}: {text}" if text else tags[PROOF]


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
