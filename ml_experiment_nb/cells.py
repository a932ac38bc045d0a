"""A cell's source read as data: its parameters, its space, what it reads and what it writes.

The *lead* of a cell is its first statements: assignments of literals (the parameters) and of distributions
(the space), among which imports, strings and ``pass`` may stand. The first other statement ends it. Nothing
here runs a cell: its text is parsed, and given back with other values.
"""

from __future__ import annotations

import ast
import cmath
import enum
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ml_experiment_nb import secrecy, spaces
from ml_experiment_nb.errors import ParameterError, SpaceError, SpecError, nearest
from ml_experiment_nb.flow import imported_names, reads_and_writes

SHELL_MAGICS: Final = ("%load_ext ", "%matplotlib ", "%config ", "%autoreload ")
"""The magics that set up a shell, as a line begins with them."""

OURS: Final = frozenset({"ml_experiment", "ml_experiment_nb"})
"""The import names under which this package is known; the first is the paper's."""


class _Dynamic(enum.Enum):
    DYNAMIC = "DYNAMIC"

    def __repr__(self) -> str:
        return self.value


DYNAMIC: Final = _Dynamic.DYNAMIC
"""Stands for a value that only running the code would tell."""


@dataclass(frozen=True)
class CellSource:
    """A cell's source, and what can be said of it without running it.

    Attributes:
        source: The text, as it was given.
        params: The lead's literals, by name.
        space: The lead's distributions, by name.
        reads: The names that the cell takes from outside. Built-ins are among them.
        writes: The names that the cell may bind in the notebook's namespace.
    """

    source: str
    params: dict[str, Any]
    space: dict[str, spaces.Value]
    reads: frozenset[str]
    writes: frozenset[str]


def read_cell(source: str) -> CellSource:
    """Read a cell's parameters, space, reads and writes from its source.

    Args:
        source: Python, with IPython's own syntax (``%time x``, ``!ls``) where the user likes it.

    Raises:
        SpecError: It isn't Python; carries the line.
        SpaceError: A distribution in the lead is wrong; carries the line and the name.
    """
    text, module = text_and_tree(source)
    parameters = list(lead(module.body))
    params: dict[str, Any] = {}
    space: dict[str, spaces.Value] = {}
    for parameter in parameters:
        mine, other = (space, params) if parameter.is_space else (params, space)
        mine[parameter.name] = parameter.value
        other.pop(parameter.name, None)
    reads, writes = reads_and_writes(text, module, [(each.name, each.statement) for each in parameters])
    if "get_ipython" not in source:
        reads -= {"get_ipython"}  # that was IPython's syntax, not the user's reading
    return CellSource(source, params, space, reads, writes)


def with_values(cell: CellSource, values: Mapping[str, Any]) -> str:
    """Return the cell's source with the values of some of its parameters replaced.

    Every line keeps its number, so that a traceback still points at what the user wrote: a value of several
    lines becomes one line, and blank lines after its statement make up for the rest.

    Args:
        cell: The cell.
        values: New values for names in ``cell.params`` or ``cell.space``; names that aren't given stay.

    Raises:
        ParameterError: The cell has no such parameter, or a value can't be written as a literal.
    """
    known = [*cell.params, *cell.space]
    for name in values:
        if name not in known:
            raise unknown_parameter("the cell", name, known)
    body = parse(cell.source).body
    lines = dedented(cell.source).encode().splitlines(keepends=True)
    for parameter in reversed(list(lead(body))):  # from the end, so that positions stay true
        if parameter.name in values:
            text = value_text(parameter.name, values[parameter.name])
            _replace(lines, parameter.node, text, body)
    return b"".join(lines).decode()


def without_lead(source: str) -> str:
    """Return a cell's code without its lead's parameters, formatted one way: the same for cells that do the same.

    Raises:
        SpecError: It isn't Python.
    """
    body = parse(source).body
    own = {id(parameter.statement) for parameter in lead(body)}
    return "\n".join(ast.unparse(statement) for statement in body if id(statement) not in own)


def shell_lines(source: str) -> list[str]:
    """Return a cell's lines that set up the shell it runs in: ``%load_ext``, ``%matplotlib``, ``%config``."""
    return [line for line in source.splitlines() if line.startswith(SHELL_MAGICS)]


def parse(source: str) -> ast.Module:
    """Parse a cell, IPython's syntax included.

    ``%%time``, ``%%capture`` and ``%%prun`` are read through, for what stands under them is Python; another
    cell magic is one statement, and what stands under it is its own business.

    Raises:
        SpecError: It isn't Python; carries the line and the offending text.
    """
    return text_and_tree(source)[1]


def literal(node: ast.expr) -> Any:
    """Return the value of a literal, as `ast.literal_eval` takes them, or `DYNAMIC` for other code."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return DYNAMIC


def assignment(statement: ast.stmt) -> tuple[str, ast.expr] | None:
    """Return the name and the value of ``name = value`` or ``name: type = value``, else None."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value, simple=1):
            return name, value
    return None


def unknown_parameter(owner: str, name: str, known: Iterable[str], *, where: str | None = None) -> ParameterError:
    """Return the error for a parameter that `owner` doesn't have: the nearest is named, or else all are listed.

    Args:
        owner: Whose parameters they are, as a sentence's subject: ``the cell``.
        name: The unknown name.
        known: The names that `owner` has.
        where: Where the name was given: a file, usually.
    """
    names = list(known)
    hint = nearest(name, names) or f"; it takes {', '.join(names) or 'none'}"
    return ParameterError(f"{owner} has no such parameter{hint}", file=where, key=name)


# ---------------------------------------------------------------------------------------------- the lead


@dataclass(frozen=True)
class Parameter:
    """A parameter in a cell's lead: its value or distribution, its statement, and where in it that value stands."""

    name: str
    value: Any
    is_space: bool
    statement: ast.stmt
    node: ast.expr


def lead(body: Sequence[ast.stmt]) -> Iterator[Parameter]:
    """Yield the parameters with which a cell begins.

    Raises:
        SpaceError: A distribution is wrong; carries the line and the name.
    """
    foreign: set[str] = set()  # imported from elsewhere: a call of such a name isn't a distribution
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            foreign |= _foreign_names(statement)
            continue
        if isinstance(statement, ast.Pass) or _is_string(statement):
            continue
        assigned = assignment(statement)
        if assigned is None:
            return
        name, node = assigned
        value = literal(node)
        if value is DYNAMIC and "secret" not in foreign:
            with suppress(ValueError, TypeError, SyntaxError, RecursionError):
                value = secrecy.from_node(node)
        drawn = _distribution(name, node, foreign) if value is DYNAMIC else None
        if value is DYNAMIC and drawn is None:
            return
        if not name.startswith("_"):
            yield Parameter(name, value if drawn is None else drawn, drawn is not None, statement, node)


def _foreign_names(statement: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] in OURS:
        return set()
    return set(imported_names(statement))


def _is_string(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def _distribution(name: str, node: ast.expr, foreign: set[str]) -> spaces.Value | None:
    called = {call.func.id for call in _calls(node) if isinstance(call.func, ast.Name)}
    if called & foreign:
        return None
    try:
        return spaces.from_ast(node)
    except SpaceError as error:
        if called == {"range"} and any(literal(arg) is DYNAMIC for call in _calls(node) for arg in call.args):
            return None  # Python's own range, over something computed
        raise SpaceError(error.problem, error.file, node.lineno, name) from None


def _calls(node: ast.expr) -> list[ast.Call]:
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    return [item for item in items if isinstance(item, ast.Call)]


# ------------------------------------------------------------------------------------------- new values


def value_text(name: str, value: Any) -> str:
    """Return a parameter's value as it is written in a cell.

    Raises:
        ParameterError: It can't be written as a literal.
    """
    try:
        return _literal_text(value)
    except TypeError:
        kind = type(value).__name__
        problem = f"a value of type {kind} can't be written in a cell: give a number, a string, or a list of them"
        raise ParameterError(problem, key=name) from None


def _literal_text(value: Any) -> str:
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()  # numpy's scalars, and their like
    kind = type(value)
    if value is ...:
        return "..."
    if value is None or kind in (bool, int, str, bytes):
        return repr(value)
    if kind is float:
        return repr(value) if cmath.isfinite(value) else f"float('{value}')"
    if kind is complex and cmath.isfinite(value):
        return repr(value)
    if kind is secrecy.Secret:
        return secrecy.code_text(value)
    if kind is dict:
        items = (f"{_literal_text(key)}: {_literal_text(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if kind not in (list, tuple, set):
        raise TypeError(kind)
    return _items_text(kind, [_literal_text(item) for item in value])


def _items_text(kind: type, texts: list[str]) -> str:
    if kind is list:
        return f"[{', '.join(texts)}]"
    if kind is set:
        return f"{{{', '.join(sorted(texts))}}}" if texts else "set()"
    return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"


def _replace(lines: list[bytes], node: ast.expr, text: str, body: Sequence[ast.stmt]) -> None:
    """Put `text` in the place of `node`; the number of `lines` stays. Columns of an ast count bytes."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
    end = last
    for statement in body:  # a statement after a semicolon may go on: blank lines come after it
        if statement.lineno - 1 <= end:
            end = max(end, (statement.end_lineno or statement.lineno) - 1)
    blank = [b"\n"] * (last - first)
    lines[first : end + 1] = [head + text.encode() + tail, *lines[last + 1 : end + 1], *blank]


# --------------------------------------------------------------------------------------- IPython's syntax

_INDENTED = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*([ \t]+)[^\s#]")
_BLANK_LINES = re.compile(r"(?:[ \t]*\r?\n)*")
_WRAPPER = re.compile(r"%%(?:time|capture|prun)\b")  # cell magics that run what stands under them, here


def text_and_tree(source: str) -> tuple[str, ast.Module]:
    """Return a cell as plain Python, and parsed, as `parse` does."""
    text = _unwrapped(dedented(source))
    try:
        return text, _compiled(text)
    except (SyntaxError, ValueError):
        pass  # perhaps it is IPython's
    try:
        text = _as_python(text)
        return text, _compiled(text)
    except (SyntaxError, ValueError) as error:
        raise _not_python(source, error) from None


def _compiled(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a doubtful escape is told when the cell runs
        module = ast.parse(text)
        # Finds what parsing alone doesn't: `return` outside a function, an argument named twice.
        compile(module, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return module


def _not_python(source: str, error: SyntaxError | ValueError) -> SpecError:
    if not isinstance(error, SyntaxError):
        return SpecError(f"this isn't Python: {error}")
    lines = source.splitlines()
    own = lines[error.lineno - 1] if error.lineno and error.lineno <= len(lines) else ""
    text = (error.text or own).strip()
    return SpecError(f"{error.msg}: {text}" if text else error.msg, line=error.lineno)


def dedented(source: str) -> str:
    """Return the source without the indent of its first line of code, as IPython takes it."""
    found = _INDENTED.match(source)
    return re.sub(f"(?m)^{found[1]}", "", source) if found else source


def _unwrapped(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if _WRAPPER.match(line):
            lines[index] = "\n"
        elif line.strip():
            break
    return "".join(lines)


def _as_python(text: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager

    blank = _BLANK_LINES.match(text)
    start = blank.end() if blank else 0  # IPython drops them, and the lines' numbers with them
    manager = TransformerManager()
    return text[:start] + manager.transform_cell(text[start:])
