"""Code read for the rules: each cell of a notebook, a script or a cell, with what it reads and binds."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb import ipynb, scripts
from ml_experiment_nb.cells import Parameter, assignment, lead, text_and_tree
from ml_experiment_nb.effects import bound_for_certain
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.flow import Trace, trace
from ml_experiment_nb.magic_lines import OF_OURS, RUNS_NOTHING, bound_by_line, code_in_line, names_in_line
from ml_experiment_nb.preflight import namespaces
from ml_experiment_nb.preflight.namespaces import BINDS_NOTHING, magic_calls, names_bound_by

PARAMETERS: Final = "parameters"
INJECTED: Final = "injected-parameters"
_SKIPPED, _RAISES = "skip-execution", "raises-exception"
_NOTHING: Final = Trace(frozenset(), frozenset(), {}, frozenset())
_PYTHON: Final = frozenset({"python", "python2", "python3", "ipython"})
_CELL_MAGIC = re.compile(r"\s*%%(\w+)([^\n]*)")
_AUTOMATIC = re.compile(r"(?:pip|conda|mamba|uv|cd|ls|ll|cat|mkdir|rm|cp|mv|time|timeit|run|load_ext|env|man)\b")
_OUTPUTS = re.compile(r"--(?:out|err|proc)[ =](\w+)")
_IN_QUERY = re.compile(r"@([^\W\d]\w*)")
_WORD = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class CheckedCell:
    """A cell, or a whole script, as the rules see it.

    Attributes:
        source: Its text.
        number: Its number among all cells of the notebook, counted from 1.
        id: Its id.
        magic: ``experiment`` or ``group`` for one of ours, the name of another cell magic whose cell is no Python.
        line: What stands behind that magic.
        above: How many lines of the cell stand above `body`.
        body: Its code.
        lead: The parameters that one of ours begins with.
        trace: What it reads and binds.
        certain: The names that it binds in the notebook in any case.
        deleted: The names that are gone after it.
        binds_anything: Whether it may bind any name: by ``import *``, ``exec`` or an unknown magic.
        reads_anything: Whether it may read any name: by ``eval`` or ``locals()``.
        mentions: Names that its magics, and texts in it, mention.
        may_fail: Whether it is tagged as one that raises.
        is_injected: Whether papermill has put it there, with values that were given.
        problem: Why it can't be read, and the line.
    """

    source: str
    number: int | None = None
    id: str | None = None
    magic: str = ""
    line: str = ""
    above: int = 0
    body: ast.Module = field(default_factory=lambda: ast.Module([], []))
    lead: tuple[Parameter, ...] = ()
    trace: Trace = _NOTHING
    certain: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    binds_anything: bool = False
    reads_anything: bool = False
    mentions: frozenset[str] = frozenset()
    may_fail: bool = False
    is_injected: bool = False
    problem: tuple[str, int] | None = None

    @property
    def writes(self) -> frozenset[str]:
        """The names that it may bind in the notebook: the trials of a group bind none there."""
        mine = frozenset() if self.magic == "group" else self.trace.writes
        return mine | bound_by_line(self.line)

    @property
    def reads(self) -> frozenset[str]:
        """The names that it takes from other cells, or mentions."""
        return self.trace.reads | self.mentions

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of its code."""
        return list(ast.walk(self.body))

    def line_of(self, node: ast.AST) -> int:
        """Return the line of a node in the cell."""
        return int(getattr(node, "lineno", 1)) + self.above

    def last_line_of(self, node: ast.AST) -> int:
        """Return the line in the cell in which a node ends."""
        last: int | None = getattr(node, "end_lineno", None)
        return (last or int(getattr(node, "lineno", 1))) + self.above

    def binding_line(self, name: str) -> int | None:
        """Return the line that binds a name first."""
        found = [node for node in self.nodes if name in names_bound_by(node)]
        return min(map(self.line_of, found), default=1 if name in bound_by_line(self.line) else None)


@dataclass(frozen=True)
class Source:
    """A notebook, a script or a cell, read.

    Attributes:
        cells: Its code cells that are run, in their order.
        file: Its file, as it was named.
        given: Names that are there from elsewhere: from the notebook, or from what a spec gives.
        parameters: The index in `cells` of the one tagged ``parameters``.
        seeded: Whether what is asked seeds the generators.
        skipped: Code cells that are not run.
        is_script: Whether it is a script.
    """

    cells: tuple[CheckedCell, ...]
    file: str | None = None
    given: frozenset[str] = frozenset()
    parameters: int | None = None
    seeded: bool = False
    skipped: tuple[CheckedCell, ...] = ()
    is_script: bool = False

    def place(self, cell: CheckedCell, node: ast.AST) -> tuple[str | None, int | None, str | None, int, int]:
        """Return where a node of a cell is, as a finding has it: file, cell, its id, and the lines from and to."""
        return self.file, cell.number, cell.id, cell.line_of(node), cell.last_line_of(node)

    @cached_property
    def defaults(self) -> dict[str, ast.stmt]:
        """The notebook's parameters, by name, with the statements that give their defaults."""
        if self.parameters is None:
            return {}
        found = [(one, assignment(one)) for one in self.cells[self.parameters].body.body]
        return {pair[0]: statement for statement, pair in found if pair is not None and not pair[0].startswith("_")}

    @cached_property
    def jobs(self) -> list[tuple[CheckedCell, ast.FunctionDef | ast.AsyncFunctionDef, ast.expr]]:
        """The ``@job`` functions, each with its cell and its decorator."""
        found = scripts.job_functions([one for cell in self.cells for one in cell.body.body])
        homes = {id(node): cell for cell in self.cells for node in cell.nodes}
        return [(homes[id(function)], function, decorator) for function, decorator in found]


def read_notebook(
    path: str | Path, *, file: str | None = None, given: Collection[str] = (), seeded: bool = False,
    left_out: Collection[str] = (),
) -> Source:  # fmt: skip
    """Read a notebook's file.

    Args:
        path: The file.
        file: What to call it; by default its path.
        given: The names of the parameters that a spec gives.
        seeded: Whether a spec seeds the generators.
        left_out: The ids of cells that are not run.

    Raises:
        SpecError: There is no such notebook, or it can't be read.
    """
    raw, language = _raw_cells(Path(path))
    name = file if file is not None else str(path)
    if language not in _PYTHON:
        raise SpecError(f"is in {language}, and only Python can be looked at", file=name)
    cells: list[CheckedCell] = []
    skipped: list[CheckedCell] = []
    parameters = None
    postponed = False
    for one in raw:
        cell = read_cell(one.source, number=one.number, id=one.id, postponed=postponed)
        if one.tags:
            cell = replace(cell, may_fail=_RAISES in one.tags, is_injected=INJECTED in one.tags)
        postponed |= "annotations" in cell.trace.writes and "__future__" in one.source
        if _SKIPPED in one.tags or one.id in left_out:
            skipped.append(cell)
            continue
        if PARAMETERS in one.tags and parameters is None:
            parameters = len(cells)
        cells.append(cell)
    return Source(tuple(cells), name, frozenset(given), parameters, seeded, tuple(skipped))


def language_of(path: str | Path) -> str | None:
    """Return the language of a notebook that isn't in Python, else None."""
    language = _raw_cells(Path(path))[1]
    return None if language in _PYTHON else language


def read_script(path: str | Path, *, file: str | None = None, seeded: bool = False) -> Source:
    """Read a script's file.

    Raises:
        SpecError: It can't be read, or isn't Python.
    """
    cell = read_cell(scripts.read_script(path).source, as_it_is=True)
    return Source((cell,), file if file is not None else str(path), seeded=seeded, is_script=True)


def read_cell(
    source: str, *, number: int | None = None, id: str | None = None, postponed: bool = False, as_it_is: bool = False
) -> CheckedCell:
    """Read a cell. One that is no Python, or that can't be read, says so by `CheckedCell.problem` or binds anything.

    Args:
        source: Its text, with its magic.
        number: Its number.
        id: Its id.
        postponed: Whether a cell above it has postponed the evaluation of annotations.
        as_it_is: Whether it is a script, in which there is no magic.
    """
    cell = CheckedCell(source, number, id)
    text, above = source, 0
    while not as_it_is and (found := _CELL_MAGIC.match(text)):
        magic, line = found[1], found[2]
        if magic in ("time", "capture", "prun"):
            cell = replace(cell, line=f"{cell.line} %%{magic}{line}")
            above += text[: found.end()].count("\n") + 1
            text = text[found.end() + 1 :]
            continue
        if not OF_OURS.match(text):
            return _foreign(cell, magic, text)
        above += text[: found.end()].count("\n") + 1
        text = text[found.end() + 1 :]
        cell = replace(cell, magic=magic, line=f"{cell.line}{line}")
        break
    cell = replace(cell, above=above)
    if cell.magic and RUNS_NOTHING.search(cell.line):
        return replace(cell, magic="plan", line="")
    return _with_code(cell, text, postponed)


def _with_code(cell: CheckedCell, source: str, postponed: bool) -> CheckedCell:
    try:
        text, body = text_and_tree(source)
        parameters = tuple(lead(body.body)) if cell.magic else ()
    except (SpecError, RecursionError, MemoryError) as error:
        return _unreadable(cell, error)
    found = trace(text, body, [(one.name, one.statement) for one in parameters], postponed=postponed)
    cell = replace(cell, body=body, lead=parameters, trace=found)
    calls = list(magic_calls(cell.nodes))
    capturing = frozenset(name for call in calls for name in bound_by_line(f"%%{call[0]} {call[1]}"))
    strange = any(name not in BINDS_NOTHING for name, _ in calls)
    by_line = bound_by_line(cell.line)
    certain = by_line if cell.magic == "group" else by_line | frozenset(bound_for_certain(body.body))
    made = replace(
        cell,
        trace=replace(found, writes=found.writes | capturing, missing=_not_automatic(found, body)),
        certain=certain,
        deleted=frozenset() if cell.magic == "group" else _deleted(body),
        binds_anything=strange or any(map(namespaces.binds_anything, cell.nodes)),
        reads_anything=any(map(namespaces.reads_anything, cell.nodes)),
        mentions=names_in_line(cell.line) | frozenset(_mentioned(cell)),
    )
    vars(made)["nodes"] = cell.nodes  # walked once
    return made


def _unreadable(cell: CheckedCell, error: BaseException) -> CheckedCell:
    if not isinstance(error, SpecError):
        return replace(cell, binds_anything=True, reads_anything=True)  # nested deeper than can be followed
    number = (error.line or 1) + cell.above
    lines = cell.source.splitlines()
    if number <= len(lines) and _AUTOMATIC.match(lines[number - 1].strip()):
        return replace(cell, binds_anything=True, reads_anything=True)  # IPython takes it for a magic
    return replace(cell, binds_anything=True, reads_anything=True, problem=(error.problem, number))


def _foreign(cell: CheckedCell, magic: str, text: str) -> CheckedCell:
    """Return a cell whose text is its magic's business."""
    line = text.partition("\n")[0]
    known = magic in BINDS_NOTHING
    mentions = frozenset(_WORD.findall(line if known and magic != "timeit" else text))
    bound = frozenset(_OUTPUTS.findall(line))
    return replace(
        cell, magic=magic, line="", binds_anything=not known, mentions=mentions, certain=bound,
        trace=replace(_NOTHING, writes=bound),
    )  # fmt: skip


def _not_automatic(found: Trace, body: ast.Module) -> dict[str, ast.Name]:
    """Return what is missing, but for ``ls`` on a line of its own, which IPython takes for a magic."""
    alone = {id(one.value) for one in body.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Name)}
    return {name: node for name, node in found.missing.items() if not (id(node) in alone and name in BINDS_NOTHING)}


def _deleted(body: ast.Module) -> frozenset[str]:
    gone: set[str] = set()
    for statement in body.body:
        if isinstance(statement, ast.Delete):
            gone |= {one.id for one in statement.targets if isinstance(one, ast.Name)}
        elif gone:
            gone -= {name for node in ast.walk(statement) for name in names_bound_by(node)}
    return frozenset(gone)


def _mentioned(cell: CheckedCell) -> Iterator[str]:
    """Yield the names that texts mention: pandas' ``df.query("x > @C")``, and the lines of magics."""
    for statement in code_in_line(cell.line):
        yield from (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
    for node in cell.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "@" in node.value:
            yield from _IN_QUERY.findall(node.value)
    for _, line in magic_calls(cell.nodes):
        yield from _WORD.findall(line)


# --- files ---


@dataclass(frozen=True)
class _Raw:
    source: str
    number: int
    id: str
    tags: tuple[str, ...]


def _raw_cells(path: Path) -> tuple[list[_Raw], str]:
    """Return a notebook's code cells, and its language.

    nbformat, which takes a second to import, is asked where the file isn't plainly of its present version.
    """
    data = _plain_json(path)
    if data is None:
        from ml_experiment_nb import notebooks

        data = notebooks.read_notebook(path)
    found = [
        _Raw(ipynb.joined(one["source"]), k, one["id"], tuple(one["metadata"].get("tags") or ()))
        for k, one in enumerate(data["cells"], start=1)
        if one["cell_type"] == "code"
    ]
    return found, ipynb.language(data["metadata"])


def _plain_json(path: Path) -> Mapping[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        cells = data["cells"]
        ids = [one["id"] for one in cells]
        texts = [isinstance(one["source"], str | list) and one["metadata"] is not None for one in cells]
        if data["nbformat"] == 4 and all(texts) and len(set(ids)) == len(ids) and data["metadata"] is not None:
            found: Mapping[str, Any] = data
            return found
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None
