"""Which of a notebook's executed cells a cell stands on, told from their text and from what is in the notebook now.

A cell that binds a name which is needed is taken, and so is one that may have changed its value since: by a method,
an assignment into it, or a call for its effect. What is changed through a second name for it is not seen.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ml_experiment_nb.cells import shell_lines
from ml_experiment_nb.effects import Effects, Executed, names_by_star, read_effects
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.flow import is_everywhere
from ml_experiment_nb.magic_lines import OF_OURS

_DEEP = frozenset({"_", "__", "___", "In", "Out"})
EARLIER: Final = re.compile(r"_+|_\d+|_i+|_i\d+|_[do]h|In|Out")
CHANGES_FOLDER: Final = re.compile(r"^%?cd\b|\bos\.chdir\b", re.MULTILINE)
_PROCESS = re.compile(r"^[%!]?%?(cd|env|set_env)\b|\bos\.(environ|putenv|chdir)\b|\bsys\.path\b", re.MULTILINE)
_RANDOM = re.compile(
    r"\b(np|numpy)\.random\.(?!default_rng|Generator|RandomState|SeedSequence|PCG64)\w"
    r"|\brandom\.(seed|random|randint|randrange|choices?|shuffle|sample|uniform|gauss)\b"
    r"|\b(torch|tf\.random)\.(manual_seed|set_seed|rand\w*)|\b(set_seed|seed_everything|set_random_seed)\("
)


def needed_cells(reads: Iterable[str], history: Sequence[Executed], namespace: Mapping[str, Any]) -> list[Executed]:
    """Return the executed cells by which the names that a cell reads came about, in their order.

    Args:
        reads: The names that the cell takes from outside. Those that `namespace` hasn't are left out.
        history: The cells that were executed before it.
        namespace: The notebook's variables as they are now.

    Raises:
        SpecError: A name can't be traced: no executed cell binds it, or one does whose effect is not known.
    """
    return _Slice([read_effects(one) for one in history], namespace).of(reads)


@dataclass(frozen=True)
class Dependencies:
    """The executed cells that a cell depends on, in their order, and what of it can't be traced to any."""

    cells: tuple[Executed, ...]
    problems: tuple[str, ...]


def dependencies(cell: Executed, history: Sequence[Executed], namespace: Mapping[str, Any]) -> Dependencies:
    """Return what a cell depends on, as far as it can be told; unlike `needed_cells` it refuses nothing.

    A ``%%experiment`` cell counts as what it does to the notebook, and one that has failed as what it may have done.

    Args:
        cell: The cell, with its magic's line if it has one.
        history: The cells that were executed before it.
        namespace: The notebook's variables when it began.
    """
    mine = read_effects(cell, whole=True)
    found = _Slice([read_effects(one, whole=True) for one in history], namespace, strict=False)
    reads = {name for name in mine.reads if not is_everywhere(name) or name in _DEEP}
    cells = found.of(reads, draws=_RANDOM.search(cell.source) is not None)
    return Dependencies(tuple(cells), tuple(found.problems))


class _Slice:
    """The search for what is needed; where it is not `strict`, what it would refuse stands in `problems`."""

    def __init__(self, cells: Sequence[Effects], namespace: Mapping[str, Any], strict: bool = True) -> None:
        self._cells = cells
        self._namespace = namespace
        self._strict = strict
        self._of_name: dict[str, list[int]] = {}
        for index, cell in enumerate(cells):
            for name in cell.concerns():
                self._of_name.setdefault(name, []).append(index)
        self.problems: list[str] = []
        self._chosen: set[int] = set()
        self._waiting: list[tuple[str, int, str]] = []
        self._seen: set[tuple[str, int]] = set()

    def of(self, reads: Iterable[str], draws: bool = False) -> list[Executed]:
        end = len(self._cells)
        self._waiting = [(name, end, "the cell") for name in sorted(reads) if self._is_traced(name)]
        for index, cell in enumerate(self._cells):
            if _sets_up(cell) and not cell.executed.failed:
                self._choose(index)
        self._follow()
        drawing = [k for k, one in enumerate(self._cells) if _RANDOM.search(one.executed.source) and self._counts(one)]
        last = end if draws else max(self._chosen & set(drawing), default=0)
        if last:  # its numbers depend on what was drawn before
            for index in drawing:
                if index < last:
                    self._choose(index)
            self._follow()
        return [self._cells[index].executed for index in sorted(self._chosen)]

    def _counts(self, cell: Effects) -> bool:
        """Whether a cell may have had an effect; a strict search takes none of ours, and none that has failed."""
        return not self._strict or not (cell.is_ours or cell.executed.failed)

    def _refuse(self, problem: str) -> None:
        if self._strict:
            raise SpecError(problem)
        if problem not in self.problems:
            self.problems.append(problem)

    def _is_traced(self, name: str) -> bool:
        if EARLIER.fullmatch(name):
            self._refuse(f"the cell reads {name}, which a new notebook hasn't: give that value a name of its own")
            return False
        return name in self._namespace and not is_everywhere(name)

    def _is_there(self, name: str) -> bool:
        return name in self._namespace and not is_everywhere(name) and not EARLIER.fullmatch(name)

    def _follow(self) -> None:
        while self._waiting:
            name, before, reader = self._waiting.pop()
            if (name, before) not in self._seen:
                self._seen.add((name, before))
                self._trace(name, before, reader)

    def _trace(self, name: str, before: int, reader: str) -> None:
        found = False
        candidates = self._of_name.get(name, [])
        for index in reversed(candidates[: bisect_left(candidates, before)]):
            cell = self._cells[index]
            if name in cell.writes or name in names_by_star(cell):
                self._check_maker(name, cell)
                self._choose(index)
                # What its functions read when they are called, which is before that moment.
                self._waiting += [(one, before, cell.place) for one in sorted(cell.late) if self._is_there(one)]
                found = True
                if not cell.executed.failed and (name in cell.certain or name not in cell.writes):
                    break
            elif self._counts(cell) and cell.may_change(name, self._namespace):
                self._choose(index)
        if not found and before < len(self._cells) and name in self._namespace:  # a function reads it, bound later
            self._waiting.append((name, len(self._cells), reader))
        elif not found:
            self._refuse(f"{reader} reads {name}, and no cell that was executed here makes it")

    def _check_maker(self, name: str, cell: Effects) -> None:
        if not self._strict:
            return
        if found := OF_OURS.match(cell.executed.source):
            raise SpecError(f"{name} was made by {cell.place}, a %%{found[1]} cell: make it in a cell of its own")
        if cell.executed.failed:
            raise SpecError(f"{name} may have been made by {cell.place}, which failed: run it again")

    def _choose(self, index: int) -> None:
        if index in self._chosen:
            return
        self._chosen.add(index)
        cell = self._cells[index]
        for name in sorted(cell.reads):
            if EARLIER.fullmatch(name):
                self._refuse(f"{cell.place} reads {name}, which a new notebook hasn't: give that value a name")
                continue
            if is_everywhere(name) and name not in self._namespace:
                continue
            if name in self._namespace and not is_everywhere(name):
                if name in cell.late:
                    self._waiting.append((name, len(self._cells), cell.place))
                if name not in cell.writes or self._is_written_before(name, index):
                    self._waiting.append((name, index, cell.place))
            elif self._is_written_before(name, index):
                self._waiting.append((name, index, cell.place))

    def _is_written_before(self, name: str, index: int) -> bool:
        return any(name in cell.writes for cell in self._cells[:index])


def _sets_up(cell: Effects) -> bool:
    """Return whether a cell changes the process or its shell, on which any cell below may depend."""
    source = cell.executed.source
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#")]
    shell = shell_lines(source)
    if lines == shell and all(line.split() == ["%load_ext", "ml_experiment_nb"] for line in shell):
        return False
    return not cell.is_ours and (bool(shell) or _PROCESS.search(source) is not None)
