"""A job that was called where it is defined, in a script or in a notebook, as a program that calls it once.

What is taken is the code that the run has kept. In a notebook that is the slice of its session, whose last cell has the
call in it: the call becomes one that takes its parameters from a cell of their own, and is part of the notebook's run.
"""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb import notebooks, secrecy
from ml_experiment_nb.cells import DYNAMIC, literal, parse, text_and_tree
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.forms import asked_spec
from ml_experiment_nb.inplace import SCRIPT
from ml_experiment_nb.plans import Spec
from ml_experiment_nb.programs import Kept, assignments
from ml_experiment_nb.records import Record
from ml_experiment_nb.session import SLICE
from ml_experiment_nb.spec_files import parse_mapping

_CALL: Final = """from ml_experiment_nb import reports

reports.assigned = {assigned}  # the call takes them, and is part of this notebook's run
result = {call}"""


@dataclass(frozen=True)
class InScript:
    """A script that called a job of its own.

    Attributes:
        path: Its path, relative to the folder that it ran in.
        source: Its text.
        params: What the job was given.
    """

    path: str
    source: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class InNotebook:
    """A notebook that calls a job of its own.

    Attributes:
        text: The notebook, which takes the job's parameters.
        spec: What was asked besides, with a script's name in the job's place.
    """

    text: str
    spec: Spec


def in_script(record: Record, text: str | None, kept: Kept) -> InScript | None:
    """Return the script that called a job of its own; None of any other run.

    Args:
        record: The run.
        text: The spec that is kept with it; None where there is none.
        kept: Gives what is kept with the run.

    Raises:
        SpecError: It was given words, which no spec has.
    """
    data = parse_mapping(text) if text is not None else {}
    name = _own_function(data)
    path, *words = json.loads(record.tags.get(SCRIPT, '[""]'))
    source = kept(f"script/{Path(path).name}") if path else None
    if name is None or source is None or record.kind == "trial":
        return None
    if words:
        raise SpecError(f"{path}, which called {name}, was given {shlex.join(words)}: make an image of its file")
    return InScript(path, source, data.get("params") or {})


def in_notebook(record: Record, text: str | None, kept: Kept) -> InNotebook | None:
    """Return a notebook that calls a job as a run's did, or as a group's did for a trial; None of any other run.

    Its metrics are those of its own run when it is run headless, and it takes the job's parameters.

    Args:
        record: The run.
        text: The spec that is kept with it; None where there is none.
        kept: Gives what is kept with the run, or the group that it belongs to.

    Raises:
        SpecError: It is a group, or the call can't be found in the cell that did it.
        ParameterError: A parameter can't be written in a cell.
    """
    data = parse_mapping(text) if text is not None else {}
    name, session = _own_function(data), kept(SLICE)
    if name is None or session is None:
        return None
    if record.kind == "group":
        raise SpecError(f"{record.name} is a group: make an image of one of its trials")
    spec = asked_spec({**data, "run": [f"{name}.py"]}, record)
    nb = notebooks.parse_notebook(session, file="the run's notebook")
    *before, (index, last) = notebooks.code_cells(nb)
    sources = [str(cell.source) for _, cell in (*before, (index, last))]
    above, found = _parted(sources[-1], name, spec.params, is_trial=record.kind == "trial")
    if found is None:
        raise SpecError(
            f"the cell doesn't call {name} by that name: call it as {name}(…) in a cell of its own, and make an image "
            "of that run"
        )
    values, given = _given(found, spec.params, _defaults(sources, name))
    from nbformat import v4

    tagged = {"tags": [notebooks.PARAMETERS_TAG]}
    call = f"{name}({', '.join(f'{one}={text}' for one, text in given.items())})"
    assigned = f"{{{', '.join(f'{one!r}: {one}' for one in values)}}}"
    made = [v4.new_code_cell(above, id="above")] if above.strip() else []
    made += [v4.new_code_cell(assignments(values), id="parameters", metadata=tagged)] if values else []
    made += [v4.new_code_cell(_CALL.format(assigned=assigned, call=call), id="call")]
    nb.cells[index:] = made
    for _, cell in notebooks.code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    return InNotebook(json.dumps(nb, indent=1, ensure_ascii=False), spec)


def _own_function(data: Mapping[str, Any]) -> str | None:
    """Return the name of the function that a spec runs and that no module has."""
    named = [str(one["function"]) for one in data.get("run", ()) if isinstance(one, dict) and "function" in one]
    return next((one.partition(":")[2] for one in named if one.startswith("__main__:")), None)


# --- the cell that has the call in it ---


@dataclass(frozen=True)
class _Found:
    """A call.

    Attributes:
        call: What it is.
        bound: The names that its own statement binds, such as those of a loop.
    """

    call: ast.Call
    bound: frozenset[str]


def _parted(
    source: str, name: str, params: Mapping[str, Any], *, is_trial: bool
) -> tuple[str, _Found | None]:  # fmt: skip
    """Return what a cell does before it calls a job with these parameters, without other calls, and the call."""
    text, module = text_and_tree(source)
    found = [(one, call) for one in module.body for call in _calls(one, name, is_trial=is_trial)]
    if not found:
        return source, None
    statement, call = next(((one, call) for one, call in found if _fits(call, params)), found[0])
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    others = [one for one in module.body[: module.body.index(statement)] if _names(one, name)]
    lines[statement.lineno - 1 :] = [lines[statement.lineno - 1][: statement.col_offset].rstrip(b"; \t")]
    for one in reversed(others):
        first, last = one.lineno - 1, (one.end_lineno or one.lineno) - 1
        tail = lines[last][one.end_col_offset :] if last < len(lines) else b""
        left = lines[first][: one.col_offset] + b"pass" + tail
        lines[first : last + 1] = [left] if left.strip(b"pas; \t\n") else []
    bound = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return b"".join(lines).decode().strip("\n"), _Found(call, frozenset(bound))


def _calls(statement: ast.stmt, name: str, *, is_trial: bool) -> Iterator[ast.Call]:
    """Yield the calls of a job that a statement itself does, or of its search."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Name(id=found)) if found == name and not is_trial:
                yield node
            case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr="group")) if found == name and is_trial:
                yield ast.Call(func=node.func, args=[], keywords=[])


def _names(statement: ast.stmt, name: str) -> bool:
    """Whether a statement uses a job, and doesn't only define what may."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    used = (one for one in ast.walk(statement) if isinstance(one, ast.Name) and one.id == name)
    return any(isinstance(one.ctx, ast.Load) for one in used)


def _fits(call: ast.Call, params: Mapping[str, Any]) -> bool:
    """Whether the literals that a call gives are these parameters."""
    said = {name: literal(value) for name, value in _said(call, params).items()}
    return all(value is DYNAMIC or params.get(name) == value for name, value in said.items())


def _said(call: ast.Call, params: Mapping[str, Any]) -> dict[str, ast.expr]:
    """Return what a call itself says of its parameters, which are recorded in the order of the function's own."""
    if any(isinstance(one, ast.Starred) for one in call.args):
        return {one.arg: one.value for one in call.keywords if one.arg is not None}
    return {
        **dict(zip(params, call.args, strict=False)),
        **{one.arg: one.value for one in call.keywords if one.arg is not None},
    }


def _given(
    found: _Found, params: Mapping[str, Any], defaults: Mapping[str, ast.expr]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the parameters whose values are known, and the code that gives the others.

    Of what is neither a number nor a literal in the call, such as a table, the record has a text that looks like it.
    """
    said = {**defaults, **_said(found.call, params)}
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for name, value in params.items():
        code = said.get(name)
        if _is_known(value, code, found.bound) or any(secrecy.names_in({name: value})):
            values[name] = value
        elif code is not defaults.get(name) and code is not None:
            given[name] = ast.unparse(code)
    return values, given


def _is_known(value: Any, code: ast.expr | None, bound: frozenset[str]) -> bool:
    if value is None or isinstance(value, bool | int | float) or code is None:
        return True
    names = {one.id for one in ast.walk(code) if isinstance(one, ast.Name)}
    return literal(code) is not DYNAMIC or not names.isdisjoint(bound)


def _defaults(sources: Sequence[str], name: str) -> dict[str, ast.expr]:
    """Return the defaults of a function's parameters, as the cell that defined it last has them."""
    found: dict[str, ast.expr] = {}
    for source in sources:
        for node in ast.walk(parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                positional = [*node.args.posonlyargs, *node.args.args]
                pairs = zip(reversed(positional), reversed(node.args.defaults), strict=False)
                named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                found = {one.arg: value for one, value in (*pairs, *named) if value is not None}
    return found
