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
import symtable
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ml_experiment_nb import spaces
from ml_experiment_nb.errors import ParameterError, SpaceError, SpecError, nearest

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
    text, module = _parse(source)
    lead = list(_lead(module.body))
    params: dict[str, Any] = {}
    space: dict[str, spaces.Value] = {}
    for parameter in lead:
        mine, other = (space, params) if parameter.is_space else (params, space)
        mine[parameter.name] = parameter.value
        other.pop(parameter.name, None)
    reads, writes = _reads_and_writes(text, module, lead)
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
    lines = _dedented(cell.source).encode().splitlines(keepends=True)
    for parameter in reversed(list(_lead(body))):  # from the end, so that positions stay true
        if parameter.name in values:
            text = value_text(parameter.name, values[parameter.name])
            _replace(lines, parameter.node, text, body)
    return b"".join(lines).decode()


def parse(source: str) -> ast.Module:
    """Parse a cell, IPython's syntax included.

    ``%%time``, ``%%capture`` and ``%%prun`` are read through, for what stands under them is Python; another
    cell magic is one statement, and what stands under it is its own business.

    Raises:
        SpecError: It isn't Python; carries the line and the offending text.
    """
    return _parse(source)[1]


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
class _Parameter:
    name: str
    value: Any
    is_space: bool
    statement: ast.stmt
    node: ast.expr


def _lead(body: Sequence[ast.stmt]) -> Iterator[_Parameter]:
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
        drawn = _distribution(name, node, foreign) if value is DYNAMIC else None
        if value is DYNAMIC and drawn is None:
            return
        if not name.startswith("_"):
            yield _Parameter(name, value if drawn is None else drawn, drawn is not None, statement, node)


def _foreign_names(statement: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] in OURS:
        return set()
    return set(_imported_names(statement))


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
_OPTIONS = re.compile(r"(?:-\w+(?:\s+\d+)?\s+)*")
_EXPANDED = re.compile(r"\{([^{}]+)\}|\$(\w+)")


def _parse(source: str) -> tuple[str, ast.Module]:
    """Return the source as plain Python, and parsed."""
    text = _unwrapped(_dedented(source))
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


def _dedented(source: str) -> str:
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


def _magic_code(call: ast.Call) -> list[ast.stmt]:
    """Return the Python inside a line of IPython's: all of ``%time f(x)``, the ``{x}`` of ``!ls {x}``."""
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=method),
            args=[ast.Constant(value=str() as first), *others],
        ):
            pass
        case _:
            return []
    line = getattr(others[0], "value", "") if method.endswith("_magic") and others else first
    if method == "run_line_magic" and first in ("time", "timeit", "prun"):
        return _parsed_or_nothing(_OPTIONS.sub("", line, count=1))
    return _parsed_or_nothing("\n".join(code.strip() or name for code, name in _EXPANDED.findall(line)))


def _parsed_or_nothing(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError):
        return []


# ---------------------------------------------------------------------------------------- reads and writes


def _reads_and_writes(
    text: str, module: ast.Module, lead: Sequence[_Parameter]
) -> tuple[frozenset[str], frozenset[str]]:
    flow = _Flow()
    values = {id(parameter.statement): parameter for parameter in lead}
    for statement in module.body:
        if parameter := values.get(id(statement)):
            flow.parameter(parameter)
        else:
            flow.visit(statement)
        flow.certain |= flow.bound
    later, written = _function_globals(text, module)
    reads = flow.reads | (later - flow.certain)
    return frozenset(reads), frozenset(flow.writes | written)


def _function_globals(text: str, module: ast.Module) -> tuple[set[str], set[str]]:
    """Return the globals that functions and lambdas read, and those that they declare and bind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        symbols = list(_function_symbols(symtable.symtable(text, "<cell>", "exec")))
    reads = {symbol.get_name() for symbol in symbols if symbol.is_global() and symbol.is_referenced()}
    declared = [symbol for symbol in symbols if symbol.is_declared_global()]
    writes = {symbol.get_name() for symbol in declared if symbol.is_assigned() or symbol.is_imported()}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            reads |= _global_counters(node)
    return reads, writes


def _function_symbols(table: symtable.SymbolTable, inside: bool = False) -> Iterator[symtable.Symbol]:
    """Yield the symbols of all functions; what runs at once (class bodies, comprehensions) is `_Flow`'s."""
    for child in table.get_children():
        at_once = child.get_type() == "class" or ".0" in child.get_identifiers()
        if inside or not at_once:
            yield from child.get_symbols()
        yield from _function_symbols(child, inside or not at_once)


def _global_counters(function: ast.AST) -> set[str]:
    """Return the names of ``global x; x += 1``, which symtable doesn't call a reference."""
    nodes = list(ast.walk(function))
    declared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    targets = (node.target for node in nodes if isinstance(node, ast.AugAssign))
    return declared & {target.id for target in targets if isinstance(target, ast.Name)}


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    found = (child for child in ast.walk(node) if isinstance(child, ast.Name))
    return {name.id for name in found if isinstance(name.ctx, context)}


def _imported_names(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    for alias in statement.names:
        if alias.name != "*":
            yield alias.asname or alias.name.split(".")[0]


class _Flow(ast.NodeVisitor):
    """Walks what runs when the cell runs, in order: the top level, class bodies and comprehensions.

    Attributes:
        bound: The names that are bound here on every way that leads here.
        certain: The names that were bound so at any point of the top level.
        reads: The names that were read while not `bound`.
        writes: The names that the top level may bind.
    """

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.certain: set[str] = set()
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self._falls_through = True
        self._around_class: set[str] | None = None  # what comprehensions see, from inside a class body

    def parameter(self, parameter: _Parameter) -> None:
        """Bind a parameter of the lead; a distribution's name is grammar, and isn't read."""
        if isinstance(parameter.statement, ast.AnnAssign):
            self.visit(parameter.statement.annotation)
        self._bind(parameter.name)

    # names

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id)
            return
        self._read(node.id)
        if isinstance(node.ctx, ast.Del):
            self.bound.discard(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_all([node.value, *node.targets])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id)
        self._visit_all([node.value, node.target])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._visit_all([node.value, node.target])

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self._bind(*_imported_names(node))

    visit_ImportFrom = visit_Import

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        self._visit_all(_magic_code(node))

    # scopes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._with_type_params(node, [node.args, *([node.returns] if node.returns else [])])
        self._bind(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)  # the defaults; the body runs when it is called

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.decorator_list)
        self._with_type_params(node, [*node.bases, *node.keywords])
        outside = self.bound, self.writes, self._around_class
        self._around_class = self._seen_inside()
        self.bound, self.writes = self._around_class | {"__module__", "__qualname__"}, set()
        self._with_type_params(node, node.body)
        self.bound, self.writes, self._around_class = outside
        self._bind(node.name)

    def visit_TypeAlias(self, node: Any) -> None:  # ast.TypeAlias, from Python 3.12 on
        self._with_type_params(node, [node.value])
        self.visit(node.name)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._comprehension(node.generators, [node.elt])

    visit_SetComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, [node.key, node.value])

    def _comprehension(self, generators: list[ast.comprehension], elements: list[ast.expr]) -> None:
        self.visit(generators[0].iter)  # alone, it is evaluated outside
        outside = self.bound, self._around_class
        self.bound = set(self._seen_inside())
        self._around_class = None
        for index, generator in enumerate(generators):
            if index:
                self.visit(generator.iter)
            self.bound |= _names(generator.target, ast.Store)
            self._visit_all(generator.ifs)
        self._visit_all(elements)
        self.bound, self._around_class = outside

    def _seen_inside(self) -> set[str]:
        """Return what is bound for a scope opened here: a class body's own names can't be seen from it."""
        return self.bound if self._around_class is None else self._around_class

    def _with_type_params(self, node: ast.AST, parts: Sequence[ast.AST]) -> None:
        names = {param.name for param in getattr(node, "type_params", ())} - self.bound
        self.bound |= names
        self._visit_all(parts)
        self.bound -= names

    # ways

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self._way(node.values[1:])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self._join([self._way([node.body]), self._way([node.orelse])])

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._join([self._way(node.body), self._way(node.orelse)])

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.bound -= _deleted(node.body)
        self._way(node.body)
        self._way(node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.bound -= _deleted(node.body)
        self._way([node.target, *node.body])
        self._way(node.orelse)

    visit_AsyncFor = visit_For

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.visit(item.optional_vars)
        before = set(self.bound)
        self._visit_all(node.body)
        if not self._falls_through or any(_suppresses(item) for item in node.items):
            self.bound &= before
            self._falls_through = True

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        ends = [self._way([*node.body, *node.orelse])]
        self.bound -= _deleted(node.body)  # a handler may begin after any statement of the body
        ends += [self._way([handler]) for handler in node.handlers]
        self._way(node.finalbody)  # as after an error that no handler takes
        self._join(ends)
        self._visit_all(node.finalbody)

    visit_TryStar = visit_Try

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            self.visit(node.type)
        name = {node.name} if node.name else set()
        self.bound |= name
        self._visit_all(node.body)
        self.bound -= name  # Python deletes it

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        ends = [self._way([case]) for case in node.cases]
        if not _takes_anything(node.cases[-1]):
            ends.append(set(self.bound))
        self._join(ends)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        self.generic_visit(node)
        if node.name is not None:
            self._bind(node.name)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest is not None:
            self._bind(node.rest)

    def visit_Raise(self, node: ast.Raise | ast.Break | ast.Continue) -> None:
        self.generic_visit(node)
        self._falls_through = False

    visit_Break = visit_Raise
    visit_Continue = visit_Raise

    def _way(self, nodes: Sequence[ast.AST]) -> set[str] | None:
        """Walk one way from here and come back; return what it binds, or None where it never arrives."""
        here = set(self.bound)
        self._visit_all(nodes)
        end = self.bound if self._falls_through else None
        self.bound, self._falls_through = here, True
        return end

    def _join(self, ends: Sequence[set[str] | None]) -> None:
        arriving = [end for end in ends if end is not None]
        if arriving:
            self.bound = set.intersection(*arriving)
        self._falls_through = bool(arriving)

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _bind(self, *names: str) -> None:
        self.bound.update(names)
        self.writes.update(names)

    def _read(self, name: str) -> None:
        if name not in self.bound:
            self.reads.add(name)


def _deleted(statements: Iterable[ast.stmt]) -> set[str]:
    return {name for statement in statements for name in _names(statement, ast.Del)}


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "suppress"


def _takes_anything(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
