"""What a cell's code takes from outside and what it binds, told from its text.

The top level is followed statement by statement, branches apart; what functions do when they are called is told from
the symbol table.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ml_experiment_nb.function_names import function_globals
from ml_experiment_nb.magic_lines import is_timed, magic_code

HIDDEN: Final = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open", "display"})
"""Names that every kernel has, and that are nobody's values."""


@dataclass(frozen=True)
class Trace:
    """What a cell's code takes from outside and what it binds, and where.

    Attributes:
        reads: The names that it takes from outside, built-ins among them.
        writes: Those that it may bind.
        missing: The names that running it reads where nothing in it can have bound them before, each where it is first.
            Where the code is ready for a name that isn't there (``except NameError``), it doesn't count.
        later: Those of `reads` that only its functions read, when they are called.
        in_functions: All names from outside of them that its functions read, those that it binds itself among them.
    """

    reads: frozenset[str]
    writes: frozenset[str]
    missing: dict[str, ast.Name]
    later: frozenset[str]
    in_functions: frozenset[str] = frozenset()


def reads_and_writes(
    text: str, module: ast.Module, lead: Sequence[tuple[str, ast.stmt]] = ()
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names that a cell takes from outside, built-ins among them, and those that it may bind.

    Args:
        text: The cell as Python.
        module: The same, parsed.
        lead: The parameters, by name, with the statements that give them. They are bound, and not read.
    """
    found = trace(text, module, lead)
    return found.reads, found.writes


def trace(
    text: str, module: ast.Module, lead: Sequence[tuple[str, ast.stmt]] = (), *, postponed: bool = False
) -> Trace:
    """Return what `reads_and_writes` does, and where names are missing.

    Args:
        text: The cell as Python.
        module: The same, parsed.
        lead: The parameters, by name, with the statements that give them.
        postponed: Whether annotations are not evaluated, by ``from __future__ import annotations`` in a cell above.
    """
    later, written = function_globals(text, module)
    flow = _Flow(set(written), postponed)
    parameters = {id(statement): name for name, statement in lead}
    for statement in module.body:
        if name := parameters.get(id(statement)):
            flow.parameter(name, statement)
        else:
            flow.visit(statement)
        flow.certain |= flow.bound
    reads = flow.reads | (later - flow.certain)
    writes = flow.writes | written
    return Trace(frozenset(reads), frozenset(writes), flow.missing, frozenset(reads - flow.reads), frozenset(later))


def is_everywhere(name: str) -> bool:
    """Return whether every notebook has a name: a built-in, or one of IPython's."""
    return name in HIDDEN or hasattr(builtins, name) or (name.startswith("__") and name.endswith("__"))


def imported_names(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the names that an import binds, but for those of ``*``."""
    for alias in statement.names:
        if alias.name != "*":
            yield alias.asname or alias.name.split(".")[0]


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    found = (child for child in ast.walk(node) if isinstance(child, ast.Name))
    return {name.id for name in found if isinstance(name.ctx, context)}


class _Flow(ast.NodeVisitor):
    """Walks what runs when the cell runs, in order: the top level, class bodies and comprehensions.

    Attributes:
        bound: The names that are bound here on every way that leads here.
        certain: The names that were bound so at any point of the top level.
        reads: The names that were read while not `bound`.
        writes: The names that the top level may bind.
        missing: Where a name was first read that nothing here may have bound by then.
    """

    def __init__(self, possible: set[str] | None = None, postponed: bool = False) -> None:
        self.bound: set[str] = set()
        self.certain: set[str] = set()
        self.reads: set[str] = set()
        self.writes: set[str] = set()
        self.missing: dict[str, ast.Name] = {}
        self._possible = set() if possible is None else possible  # what may have been bound by now, on some way
        self._postponed = postponed or sys.version_info >= (3, 14)
        self._ready = 0  # how many constructs around this are ready for a name that isn't there
        self._probing = False
        self._falls_through = True
        self._around_class: set[str] | None = None  # what comprehensions see, from inside a class body

    def parameter(self, name: str, statement: ast.stmt) -> None:
        """Bind a parameter; what its statement calls, a distribution, is grammar and isn't read."""
        if isinstance(statement, ast.AnnAssign):
            self.visit(statement.annotation)
        self._bind(name)

    # names

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._bind(node.id)
            return
        self._read(node.id, node)
        if isinstance(node.ctx, ast.Del):
            self.bound.discard(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._visit_all([node.value, *node.targets])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id, node.target)
        self._visit_all([node.value, node.target])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._visit_all([node.value, node.target])

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation is not None:
            self._annotation(node.annotation)

    def _annotation(self, node: ast.expr) -> None:
        with self._being_ready(self._postponed):
            self.visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        self._bind(*imported_names(node))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._postponed |= node.module == "__future__" and any(one.name == "annotations" for one in node.names)
        self.visit_Import(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        with self._being_ready(not is_timed(node)):  # IPython leaves a name in a line as it is where there is none
            self._visit_all(magic_code(node))

    # scopes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._with_type_params(node, [node.args])
        with self._being_ready(self._postponed):
            self._with_type_params(node, [node.returns] if node.returns else [])
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
        before = set(self._possible)
        self._with_type_params(node, node.body)
        self._possible = before | (self._possible & self._declared_global(node))
        self.bound, self.writes, self._around_class = outside
        self._bind(node.name)

    def _declared_global(self, node: ast.ClassDef) -> set[str]:
        return {name for one in node.body if isinstance(one, ast.Global) for name in one.names}

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
        with self._being_ready(any(map(_looks_whether_it_is_there, node.values))):
            self._way(node.values[1:])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        with self._being_ready(_looks_whether_it_is_there(node.test)):
            self._join([self._way([node.body]), self._way([node.orelse])])

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        with self._being_ready(_looks_whether_it_is_there(node.test)):
            self._join([self._way(node.body), self._way(node.orelse)])

    def visit_While(self, node: ast.While) -> None:
        self._foresee([node])
        self.visit(node.test)
        self.bound -= _deleted(node.body)
        self._way(node.body)
        self._way(node.orelse)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._foresee([node.target, *node.body])
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
        with self._being_ready(any(_suppresses(item) for item in node.items)):
            self._visit_all(node.body)
        if not self._falls_through or any(_suppresses(item) for item in node.items):
            self.bound &= before
            self._falls_through = True

    visit_AsyncWith = visit_With

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        with self._being_ready(any(map(handles_name_error, node.handlers))):
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

    def _foresee(self, nodes: Sequence[ast.AST]) -> None:
        """Note what a loop may bind: what stands at its end comes before its beginning."""
        if self._probing:
            return
        probe = _Flow()
        probe._probing = True
        probe._visit_all(nodes)
        self._possible |= probe.writes

    @contextmanager
    def _being_ready(self, ready: bool) -> Iterator[None]:
        self._ready += ready
        try:
            yield
        finally:
            self._ready -= ready

    def _bind(self, *names: str) -> None:
        self.bound.update(names)
        self.writes.update(names)
        self._possible.update(names)

    def _read(self, name: str, node: ast.Name) -> None:
        if name not in self.bound:
            self.reads.add(name)
            if not self._ready and name not in self._possible:
                self.missing.setdefault(name, node)


def _deleted(statements: Iterable[ast.stmt]) -> set[str]:
    return {name for statement in statements for name in _names(statement, ast.Del)}


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "suppress"


def handles_name_error(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler takes a ``NameError``."""
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind).split(".")[-1] in ("NameError", "Exception", "BaseException") for kind in kinds)


def _looks_whether_it_is_there(test: ast.expr) -> bool:
    """Return whether a condition asks what names there are, or can't be met when the code runs."""
    if isinstance(test, ast.Constant):
        return not test.value
    return any(
        isinstance(node, ast.Name) and node.id in ("globals", "locals", "vars", "dir", "TYPE_CHECKING")
        for node in ast.walk(test)
    )


def _takes_anything(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
