"""Whether parameters do something: a value that is given reaches the code that is meant."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from ml_experiment_nb.cells import assignment
from ml_experiment_nb.preflight.findings import Finding
from ml_experiment_nb.preflight.reading import CheckedCell, Source

_LATER = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_NAMESPACES = ("locals", "vars", "eval", "exec", "globals")


def check(source: Source) -> Iterator[Finding]:
    """Yield the parameters that nothing reads, that are overwritten first, or that are read too early."""
    if source.parameters is not None:
        yield from _of_notebook(source, source.parameters)
    for index, cell in enumerate(source.cells):
        if cell.magic in ("experiment", "group"):
            yield from _of_cell(source, index)
    for cell, function, _ in source.jobs:
        yield from _of_job(source, cell, function)


# --- a notebook's, of the cell that is tagged ---


def _of_notebook(source: Source, index: int) -> Iterator[Finding]:
    cell = source.cells[index]
    for name, statement in source.defaults.items():
        place = source.place(cell, statement)
        if _is_read_by_function(source, name) or cell.reads_anything or name in _loads(cell.body.body, deep=True):
            continue
        by = _first_use(source.cells[index + 1 :], name)
        if by is None:
            yield _unused(name, "no cell reads it", place)
        elif by is not _READ:
            line = by.binding_line(name)
            yield Finding(
                "overwritten-parameter",
                f"the parameter {name} of cell {cell.number} gets another value here before any cell reads it",
                f"take this assignment of {name} out, or another name for it: the value that is given has no effect",
                source.file, by.number, by.id, line, line or 0,
            )  # fmt: skip
    yield from _stale(source, index)


_READ = CheckedCell("")  # stands for: some cell reads it, or may have got another value, before one overwrites it


def _first_use(cells: Sequence[CheckedCell], name: str) -> CheckedCell | None:
    """Return the cell that overwrites a name before any other reads it, `_READ`, or None where it is never used."""
    for cell in (one for one in cells if not one.is_injected):
        if cell.reads_anything or cell.binds_anything or name in cell.reads:
            return _READ
        if name in cell.certain:
            return cell
        if name in cell.writes or name in cell.deleted:
            return _READ
    return None


def _is_read_by_function(source: Source, name: str) -> bool:
    return any(name in cell.trace.in_functions for cell in source.cells)


def _stale(source: Source, index: int) -> Iterator[Finding]:
    """Yield what is computed of parameters above the place where a given value arrives, below their cell."""
    parameters = source.defaults.keys()
    made: set[str] = set()
    for cell in source.cells[:index]:
        if cell.magic:
            continue
        at_once = (cell.trace.reads - cell.trace.later) & parameters & made
        for statement in cell.body.body:
            assigned = assignment(statement)
            for name in sorted(at_once & _loads([statement])) if _computes(statement) else ():
                yield _stale_finding(source, cell, statement, name)
                at_once -= {name}
            if assigned is not None and assigned[0] in parameters:
                at_once |= {assigned[0]}
        made |= cell.writes
    cell = source.cells[index]
    for statement in cell.body.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for name in sorted(parameters & _loads([statement])):
                yield _stale_finding(source, cell, statement, name)


def _computes(statement: ast.stmt) -> bool:
    """Return whether a statement may leave something for the cells below; what it shows is no harm."""
    return not isinstance(statement, ast.Expr | ast.Assert | ast.Delete | _LATER | ast.ClassDef)


def _stale_finding(source: Source, cell: CheckedCell, statement: ast.stmt, name: str) -> Finding:
    home = source.cells[source.parameters or 0].number
    where = "in the parameters cell itself" if cell.number == home else f"above the parameters (cell {home})"
    return Finding(
        "stale-parameter",
        f"computes from {name} {where}: a value that is given for {name} comes below, and isn't in it",
        f"move this below cell {home}",
        *source.place(cell, statement),
    )  # fmt: skip


# --- a tracked cell's, and a job's ---


def _of_cell(source: Source, index: int) -> Iterator[Finding]:
    cell = source.cells[index]
    if cell.reads_anything:
        return
    own = {id(one.statement) for one in cell.lead}
    last = {one.name: one.statement for one in cell.lead}
    body = [one for one in cell.body.body if id(one) not in own]
    for name, statement in last.items():
        place = source.place(cell, statement)
        if name in cell.mentions:
            continue
        first = _first_mention(body, name)
        if first is not None:
            if (found := _overwritten(source, cell, first, name)) is not None:
                yield found
            continue
        others = [one for one in source.cells if one is not cell]
        if any(name in one.trace.in_functions or one.reads_anything for one in others):
            continue
        below = source.cells[index + 1 :] if cell.magic == "experiment" else ()
        if not any(name in one.reads or one.binds_anything for one in below):
            yield _unused(name, "the cell doesn't read it", place)


def _of_job(source: Source, cell: CheckedCell, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Finding]:
    if _is_bare(function.body) or any(map(_is_namespace, ast.walk(function))):
        return
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    for one in given:
        if one.arg.startswith("_") or one.arg in ("self", "cls"):
            continue
        place = source.place(cell, one)
        first = _first_mention(function.body, one.arg)
        if first is None:
            yield _unused(one.arg, f"{function.name}() doesn't read it", place)
        elif (found := _overwritten(source, cell, first, one.arg)) is not None:
            yield found


def _unused(name: str, why: str, place: tuple[str | None, int | None, str | None, int, int]) -> Finding:
    advice = f"use {name}, or take it out: runs that differ by it alone do the same"
    return Finding("unused-parameter", f"the parameter {name} has no effect: {why}", advice, *place)


def _overwritten(source: Source, cell: CheckedCell, statement: ast.stmt, name: str) -> Finding | None:
    """Return what is wrong where the first that is done with a parameter is to give it another value."""
    assigned = assignment(statement)
    if assigned is None or assigned[0] != name or name in _loads([statement], deep=True):
        return None
    return Finding(
        "overwritten-parameter",
        f"the parameter {name} gets another value here before anything reads it",
        f"take this assignment out, or another name for it: the value that is given for {name} has no effect",
        *source.place(cell, statement),
    )  # fmt: skip


def _first_mention(body: Sequence[ast.stmt], name: str) -> ast.stmt | None:
    for statement in body:
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=found) | ast.Global(names=[found]) | ast.Nonlocal(names=[found]) if found == name:
                    return statement
                case ast.Constant(value=str(text)) if f"@{name}" in text:
                    return statement
    return None


def _is_bare(body: Sequence[ast.stmt]) -> bool:
    """Return whether a function is a stub."""
    return all(
        isinstance(one, ast.Pass | ast.Raise) or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in body
    )


def _is_namespace(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in _NAMESPACES


def _loads(statements: Sequence[ast.AST], *, deep: bool = False) -> set[str]:
    """Return the names that statements read as they run; `deep`: also those that their functions read."""
    found: set[str] = set()
    waiting = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        if deep or not isinstance(node, _LATER):
            waiting += ast.iter_child_nodes(node)
    return found
