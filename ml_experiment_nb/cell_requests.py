"""What the line and the cell of ``%%experiment`` and ``%%group`` ask for, read into a spec."""

from __future__ import annotations

import ast
import os
from argparse import Namespace
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment_nb.capture.notebook import this_notebook
from ml_experiment_nb.cells import CellSource, assignment, parse, read_cell
from ml_experiment_nb.datasets import asked_for
from ml_experiment_nb.errors import SpaceError, SpecError, nearest
from ml_experiment_nb.flow import HIDDEN, is_everywhere
from ml_experiment_nb.notify import read_words
from ml_experiment_nb.planning import make_plan, with_params
from ml_experiment_nb.plans import Spec
from ml_experiment_nb.rows import SUFFIXES, Row, read_rows, read_table
from ml_experiment_nb.spaces import NAMES
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell
from ml_experiment_nb.words import autolog_keys, read_assignments, search_keys


@dataclass(frozen=True)
class CellRequest:
    """What a magic's line and cell ask for."""

    spec: Spec
    cell: CellSource
    into: str | None
    plan: bool
    save: str | None


def parse_cell(
    options: Namespace, source: str, *, kind: str, rows: Sequence[Row] | None = None, known: Container[str] = (),
    above: int = 0,
) -> CellRequest:  # fmt: skip
    """Turn a magic's options and cell into a spec; it needs no IPython and starts nothing.

    Args:
        options: The line's options.
        source: The cell.
        kind: ``experiment`` or ``group``.
        rows: The points of a group that has a run for each; what they leave out is as the cell has it.
        known: The names of the notebook's variables.
        above: How many lines stand above it in the notebook's cell, which an error's line counts.

    Raises:
        SpecError: The cell is no Python, or an option is wrong.
        ParameterError: ``-p`` names no parameter of the cell.
    """
    if options.into is not None and not options.into.isidentifier():
        raise SpecError(f"--into {options.into}: not a variable's name")
    if options.save is not None and options.plan:
        raise SpecError("--save writes and --plan shows: give one of them")
    cell = _read(source, kind, known, above)
    given = read_assignments(options.param or [])
    unset = [name for name in cell.space if name not in given]
    if kind == "experiment" and unset:
        raise SpecError(f"{unset[0]} is a distribution: search it with %%group, or fix it with -p {unset[0]}=VALUE")
    asked: dict[str, Any] = {
        "kind": kind,
        "name": options.name or _notebook_name(),
        "run": [Cell(source=source, parameters=(*cell.params, *cell.space)).below(above)],
        "params": cell.params,
        "tags": _tags(options.tag or []),
        **({"seed": options.seed} if options.seed is not None else {}),
        **({"data": asked_for(options.data, known)} if options.data else {}),
        "notify": read_words(options.notify or []),
        **autolog_keys(options.autolog, options.no_autolog),
    }
    if rows is not None:
        asked |= {"params": {n: v for n, v in cell.params.items() if not any(n in row for row in rows)}}
        asked |= {"each": _completed(rows, cell, given)}
    if kind == "group":
        asked |= _group_keys(options, cell)
    spec = with_params(spec_from_mapping(asked), given)
    make_plan(spec)  # checks the parameters
    return CellRequest(spec, cell, options.into, options.plan, options.save)


def _read(source: str, kind: str, known: Container[str], above: int) -> CellSource:
    """Return a cell as data; an error's line is the one that the editor shows."""
    try:
        cell = read_cell(source)
        _refuse_await(source)
        if kind == "group":
            _refuse_misspelt(source, cell, known)
    except SpecError as error:
        if error.line is None:
            raise
        raise type(error)(error.problem, error.file, error.line + above, error.key) from None
    return cell


def given_rows(name: str, namespace: Mapping[str, Any]) -> Sequence[Row]:
    """Return the rows that ``--each`` names: a variable of the notebook, or a table's file.

    Raises:
        SpecError: There is neither, or it holds no rows.
    """
    if name in namespace:
        return read_rows(namespace[name])
    if name.lower().endswith(SUFFIXES):
        return read_table(name).rows
    hint = nearest(name, [one for one in namespace if not one.startswith("_")])
    raise SpecError(f"--each {name}: there is no such variable, and it is no table's file{hint}")


def _completed(rows: Sequence[Row], cell: CellSource, given: Mapping[str, Any]) -> list[Row]:
    """Return rows that give what any of them gives: a row that leaves a parameter out takes what the cell has."""
    names = {name for row in rows for name in row}
    for name in cell.space:
        if name not in given and not all(name in row for row in rows):
            raise SpecError(f"{name} is a distribution: give it in every row, or fix it with -p {name}=VALUE")
    defaults = {name: value for name, value in cell.params.items() if name in names}
    return [{**defaults, **row} for row in rows]


def _refuse_await(source: str) -> None:
    """Say at once what IPython can't do within a cell magic."""
    waiting: list[ast.AST] = [parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            raise SpecError(
                "a tracked cell can't await at its top level: await in a cell above, or in a thread of its own",
                line=node.lineno,
            )
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _refuse_misspelt(source: str, cell: CellSource, known: Container[str]) -> None:
    """Say which distribution is meant by one that there isn't: each trial would fail with its name."""
    for statement in parse(source).body:
        match assignment(statement):
            case (name, ast.Call(func=ast.Name(id=called))) if called in cell.reads - set(NAMES):
                hint = "" if called in known or is_everywhere(called) else nearest(called, NAMES)
                if hint:
                    raise SpaceError(f"{called} is no distribution{hint}", line=statement.lineno, key=name)


def captured(cell: CellSource, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a cell reads from a notebook's namespace."""
    return {
        name: namespace[name]
        for name in sorted(cell.reads)
        if name in namespace and name not in HIDDEN and not name.startswith("__")
    }


def _group_keys(options: Namespace, cell: CellSource) -> dict[str, Any]:
    if not cell.space and options.each is None and not options.define_by_run:
        raise SpecError(
            "the cell has no distribution to search: begin it with one, such as C = loguniform(0.01, 1000); or give "
            "--define-by-run if it draws by itself, with Trial.get_current()"
        )
    keys = {
        "param_space": cell.space if options.each is None else None,
        "slots": options.slots,
        "timeout": options.timeout,
        "memory": options.memory,
        "executor": options.executor,
        "docker_config": {"image": options.image} if options.image is not None else None,
    }
    return {name: value for name, value in keys.items() if value is not None} | search_keys(vars(options))


def _tags(words: Sequence[str]) -> dict[str, str]:
    tags = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise SpecError(f"--tag {word}: write it as NAME=VALUE, such as team=vision")
        tags[name] = value
    return tags


def _notebook_name() -> str:
    """Return the notebook's name where somebody tells it, and ``cell`` where nobody does."""
    return Path(this_notebook() or os.environ.get("JPY_SESSION_NAME") or "cell").stem
