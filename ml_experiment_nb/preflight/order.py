"""Whether cells run from top to bottom: each name that is read is made above."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ml_experiment_nb.errors import nearest
from ml_experiment_nb.flow import handles_name_error, is_everywhere
from ml_experiment_nb.lineage import EARLIER
from ml_experiment_nb.preflight.findings import Finding
from ml_experiment_nb.preflight.reading import CheckedCell, Source

_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def check(source: Source) -> Iterator[Finding]:
    """Yield the cells that can't be read, and those that read what isn't there yet, or never."""
    yield from _unreadable(source)
    bound = set(source.given)
    deleted: dict[str, CheckedCell] = {}
    unknown = False
    for index, cell in enumerate(source.cells):
        unknown |= cell.binds_anything
        if not unknown and not cell.may_fail:
            for name, node in cell.trace.missing.items():
                if name not in bound and not _is_there(name):
                    yield _missing(source, index, name, node, deleted.get(name))
        bound |= cell.writes
        bound -= cell.deleted
        deleted = {name: one for name, one in deleted.items() if name not in cell.writes}
        deleted |= dict.fromkeys(cell.deleted, cell)
    if not unknown:
        yield from _read_later(source)


def _unreadable(source: Source) -> Iterator[Finding]:
    for cell in source.cells:
        if cell.problem is not None and not cell.may_fail:
            text, line = cell.problem
            advice = "correct it, or tag the cell `skip-execution` if it is not to be run"
            yield Finding("syntax", text, advice, source.file, cell.number, cell.id, line)


def _is_there(name: str) -> bool:
    return is_everywhere(name) or EARLIER.fullmatch(name) is not None or name in ("_exit_code", "_sh", "WindowsError")


def _missing(source: Source, index: int, name: str, node: ast.Name, deleted: CheckedCell | None) -> Finding:
    cell = source.cells[index]
    place = source.place(cell, node)
    after = next((one for one in source.cells[index + 1 :] if name in one.writes), None)
    skipped = next((one for one in source.skipped if name in one.writes), None)
    own = cell.binding_line(name) if name in cell.writes else None
    if deleted is not None:
        text = f"reads {name}, which cell {deleted.number} deletes"
        return Finding("order", text, f"delete {name} below its last use", *place)
    if own is not None:
        text = f"reads {name} above line {own}, which is the first to make it"
        return Finding("order", text, f"make {name} above this line", *place)
    if after is not None:
        text = f"reads {name}, which only cell {after.number}, further down, makes"
        return Finding("order", text, f"move what makes {name} above this cell, or this cell below it", *place)
    if skipped is not None:
        text = f"reads {name}, which only cell {skipped.number} makes, and that is not run"
        return Finding("order", text, f"run cell {skipped.number} too, or make {name} in a cell that is run", *place)
    return Finding("undefined", f"reads {name}, {_nobody(source)}", _advice(source, name), *place)


def _read_later(source: Source) -> Iterator[Finding]:
    """Yield the names that functions read, and that nothing makes, whenever they are called."""
    made = source.given.union(*(one.trace.writes | one.writes for one in source.cells))
    for cell in source.cells:
        for name in sorted(cell.trace.later - made):
            if _is_there(name) or cell.may_fail or (node := _place_of(cell, name)) is None:
                continue
            place = source.place(cell, node)
            text = f"a function reads {name} when it is called, {_nobody(source, 'and ')}"
            yield Finding("undefined", text, _advice(source, name), *place)


def _nobody(source: Source, word: str = "which ") -> str:
    if word == "and ":
        return "and nothing makes it" if source.is_script else "and no cell makes it"
    return "which nothing makes" if source.is_script else "which no cell makes"


def _advice(source: Source, name: str) -> str:
    known = sorted(source.given.union(*(one.writes for one in source.cells)))
    hint = nearest(name, known).removeprefix("; ")
    return hint or f"make {name} above, or import it; a new kernel has only what the code above makes"


def _place_of(cell: CheckedCell, name: str) -> ast.Name | None:
    """Return where a function reads a name, unless it is ready for that not being there."""
    ready = {
        id(inner)
        for node in cell.nodes
        if isinstance(node, ast.Try | ast.TryStar) and any(map(handles_name_error, node.handlers))
        for statement in node.body
        for inner in ast.walk(statement)
    }
    ready |= {id(inner) for node in cell.nodes for one in _annotations(node) for inner in ast.walk(one)}
    found = [
        inner
        for node in cell.nodes
        if isinstance(node, _FUNCTIONS)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and inner.id == name and isinstance(inner.ctx, ast.Load)
    ]
    if not found or any(id(node) in ready for node in found):
        return None
    return min(found, key=lambda node: (node.lineno, node.col_offset))


def _annotations(node: ast.AST) -> list[ast.expr]:
    """Return the annotations of a node, which may never be evaluated."""
    match node:
        case ast.arg(annotation=ast.expr() as one) | ast.AnnAssign(annotation=one):
            return [one]
        case ast.FunctionDef(returns=ast.expr() as one) | ast.AsyncFunctionDef(returns=ast.expr() as one):
            return [one]
    return []
