"""Which of a notebook's executed cells a cell stands on, told from their text and from what is in the notebook now.

A cell that binds a name which is needed is taken, and so is one that may have changed its value since: by a method,
an assignment into it, or a call for its effect. What is changed through a second name for it is not seen.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from ml_experiment_nb.cells import parse, read_cell
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.flow import is_everywhere
from ml_experiment_nb.notebooks import shell_lines

_OF_OURS = re.compile(r"\s*%%(experiment|group)\b")
_RUNS_NOTHING = re.compile(r"\s--(save|plan)\b")
_INTO = re.compile(r"--into[ =](\w+)")
_EARLIER = re.compile(r"_+|_\d+|_i+|_i\d+|_[do]h|In|Out")
_PROCESS = re.compile(r"^[%!]?%?(cd|env|set_env)\b|\bos\.(environ|putenv|chdir)\b|\bsys\.path\b", re.MULTILINE)
_RANDOM = re.compile(
    r"\b(np|numpy)\.random\.(?!default_rng|Generator|RandomState|SeedSequence|PCG64)\w"
    r"|\brandom\.(seed|random|randint|randrange|choices?|shuffle|sample|uniform|gauss)\b"
    r"|\b(torch|tf\.random)\.(manual_seed|set_seed|rand\w*)|\b(set_seed|seed_everything|set_random_seed)\("
)
_SHOWS = frozenset({"print", "display", "len", "help", "type", "repr", "plt", "sns", "matplotlib"})
_LOOKS = frozenset(
    {
        "all", "any", "argmax", "argmin", "astype", "copy", "corr", "count", "describe", "endswith", "exists",
        "format", "get", "groupby", "head", "hist", "index", "info", "isna", "isnull", "item", "items", "join",
        "keys", "lower", "max", "mean", "min", "nunique", "plot", "predict", "predict_proba", "reshape", "score",
        "show", "split", "startswith", "state_dict", "std", "strip", "sum", "tail", "to_numpy", "tolist",
        "transform", "unique", "upper", "value_counts", "values"
    }
)  # fmt: skip
"""Methods that leave what they are called on as it is."""


@dataclass(frozen=True)
class Executed:
    """A cell that was executed: its number in ``In``, its text, and whether it failed."""

    number: int
    source: str
    failed: bool = False


def needed_cells(reads: Iterable[str], history: Sequence[Executed], namespace: Mapping[str, Any]) -> list[Executed]:
    """Return the executed cells by which the names that a cell reads came about, in their order.

    Args:
        reads: The names that the cell takes from outside. Those that `namespace` hasn't are left out.
        history: The cells that were executed before it.
        namespace: The notebook's variables as they are now.

    Raises:
        SpecError: A name can't be traced: no executed cell binds it, or one does whose effect is not known.
    """
    return _Slice([_read(one) for one in history], namespace).of(reads)


@dataclass(frozen=True)
class _Cell:
    """What an executed cell reads, and what it does to names.

    Attributes:
        executed: The cell.
        reads: The names that it takes from outside.
        writes: The names that it may bind.
        certain: Those that it binds in any case.
        late: Whether it has functions, which read names when they are called.
        stores: The names into whose values it assigns.
        calls: The names of which it calls a method that may change them.
        effects: The names that it calls for an effect alone, or gives to such a call.
        given: The names that it gives to other calls, by the name that is called.
    """

    executed: Executed
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    certain: frozenset[str] = frozenset()
    late: bool = False
    stores: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    effects: frozenset[str] = frozenset()
    given: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return _OF_OURS.match(self.executed.source) is not None

    @property
    def place(self) -> str:
        return f"In [{self.executed.number}]"

    def may_change(self, name: str, namespace: Mapping[str, Any]) -> bool:
        """Return whether what `name` stands for may be another afterwards, though the name isn't bound again."""
        value = namespace.get(name)
        if name in self.stores:
            return True
        if isinstance(value, ModuleType):
            return name in self.effects and name not in _SHOWS
        if value is None or isinstance(value, _UNCHANGING):
            return False
        made_here = (called for called, names in self.given.items() if name in names and _is_users(namespace, called))
        return name in self.calls or name in self.effects or any(made_here)


_UNCHANGING = (str, bytes, int, float, complex, bool, type, FunctionType, BuiltinFunctionType, frozenset, range)


class _Slice:
    def __init__(self, cells: Sequence[_Cell], namespace: Mapping[str, Any]) -> None:
        self._cells = cells
        self._namespace = namespace
        self._chosen: set[int] = set()
        self._waiting: list[tuple[str, int, str]] = []
        self._seen: set[tuple[str, int]] = set()

    def of(self, reads: Iterable[str]) -> list[Executed]:
        end = len(self._cells)
        self._waiting = [(name, end, "the cell") for name in sorted(reads) if self._is_traced(name)]
        for index, cell in enumerate(self._cells):
            if _sets_up(cell) and not cell.executed.failed:
                self._choose(index)
        self._follow()
        drawing = [k for k, one in enumerate(self._cells) if _RANDOM.search(one.executed.source) and not one.is_ours]
        if last := max(self._chosen & set(drawing), default=0):  # its numbers depend on what was drawn before
            for index in drawing:
                if index < last and not self._cells[index].executed.failed:
                    self._choose(index)
            self._follow()
        return [self._cells[index].executed for index in sorted(self._chosen)]

    def _is_traced(self, name: str) -> bool:
        if _EARLIER.fullmatch(name):
            raise SpecError(f"the cell reads {name}, which a new notebook hasn't: give that value a name of its own")
        return name in self._namespace and not is_everywhere(name)

    def _follow(self) -> None:
        while self._waiting:
            name, before, reader = self._waiting.pop()
            if (name, before) not in self._seen:
                self._seen.add((name, before))
                self._trace(name, before, reader)

    def _trace(self, name: str, before: int, reader: str) -> None:
        found = False
        for index in reversed(range(before)):
            cell = self._cells[index]
            if name in cell.writes or _imports_by_star(cell, name):
                self._check_maker(name, cell)
                self._choose(index)
                found = True
                if name in cell.certain or name not in cell.writes:
                    break
            elif not cell.executed.failed and not cell.is_ours and cell.may_change(name, self._namespace):
                self._choose(index)
        if not found and before < len(self._cells) and name in self._namespace:  # a function reads it, bound later
            self._waiting.append((name, len(self._cells), reader))
        elif not found:
            raise SpecError(f"{reader} reads {name}, and no cell that was executed here makes it")

    def _check_maker(self, name: str, cell: _Cell) -> None:
        if cell.is_ours:
            magic = cell.executed.source.split(maxsplit=1)[0]
            raise SpecError(f"{name} was made by {cell.place}, a {magic} cell: make it in a cell of its own")
        if cell.executed.failed:
            raise SpecError(f"{name} may have been made by {cell.place}, which failed: run it again")

    def _choose(self, index: int) -> None:
        if index in self._chosen:
            return
        self._chosen.add(index)
        cell = self._cells[index]
        for name in sorted(cell.reads):
            if _EARLIER.fullmatch(name):
                raise SpecError(f"{cell.place} reads {name}, which a new notebook hasn't: give that value a name")
            if is_everywhere(name) and name not in self._namespace:
                continue
            if name in self._namespace and not is_everywhere(name):
                if cell.late:
                    self._waiting.append((name, len(self._cells), cell.place))
                if name not in cell.writes or self._is_written_before(name, index):
                    self._waiting.append((name, index, cell.place))
            elif self._is_written_before(name, index):
                self._waiting.append((name, index, cell.place))

    def _is_written_before(self, name: str, index: int) -> bool:
        return any(name in cell.writes for cell in self._cells[:index])


def _is_users(namespace: Mapping[str, Any], called: str) -> bool:
    return getattr(namespace.get(called), "__module__", None) == "__main__"


def _sets_up(cell: _Cell) -> bool:
    """Return whether a cell changes the process or its shell, on which any cell below may depend."""
    source = cell.executed.source
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#")]
    shell = shell_lines(source)
    if lines == shell and all(line.split() == ["%load_ext", "ml_experiment_nb"] for line in shell):
        return False
    return not cell.is_ours and (bool(shell) or _PROCESS.search(source) is not None)


def _imports_by_star(cell: _Cell, name: str) -> bool:
    """Return whether a cell has a ``from m import *`` that binds a name, by the modules that are loaded."""
    if "*" not in cell.executed.source or cell.is_ours:
        return False
    for module in re.findall(r"^\s*from\s+([\w.]+)\s+import\s+\*", cell.executed.source, re.MULTILINE):
        found = sys.modules.get(module)
        public = getattr(found, "__all__", None) or [one for one in vars(found or object) if not one.startswith("_")]
        if name in public:
            return True
    return False


def _read(executed: Executed) -> _Cell:
    if found := _OF_OURS.match(executed.source):
        line, _, body = executed.source.lstrip().partition("\n")
        if _RUNS_NOTHING.search(line):
            return _Cell(executed)
        bound = frozenset(_INTO.findall(line))
        if found[1] == "group" or executed.failed:
            return _Cell(executed, writes=bound, certain=bound)
        try:
            return _Cell(executed, writes=bound | read_cell(body).writes)
        except SpecError:
            return _Cell(executed, writes=bound)
    try:
        cell, module = read_cell(executed.source), parse(executed.source)
    except SpecError:
        return _Cell(executed)  # it can't have run
    # A lead's parameters are statements like any other here: what they read is in `reads` but for distributions.
    stores, calls, effects, given = _changes(module)
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return _Cell(
        executed,
        cell.reads | _called_distributions(cell.space, module),
        cell.writes,
        frozenset(_bound_for_certain(module.body)),
        any(isinstance(node, functions) for node in ast.walk(module)),
        stores,
        calls,
        effects,
        given,
    )


def _called_distributions(space: Mapping[str, Any], module: ast.Module) -> frozenset[str]:
    """Return the names of distributions that a cell calls for values of its own: ``space = {"C": uniform(0, 1)}``."""
    if not space:
        return frozenset()
    names = {node.func for node in ast.walk(module) if isinstance(node, ast.Call)}
    return frozenset(func.id for func in names if isinstance(func, ast.Name) and not hasattr(builtins, func.id))


def _bound_for_certain(body: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.Assign(targets=targets):
                for node in (node for target in targets for node in ast.walk(target)):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        yield node.id
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                yield name
            case ast.AugAssign(target=ast.Name(id=name)):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name.split(".")[0] for alias in names)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.With(body=inner):
                yield from _bound_for_certain(inner)


def _root(node: ast.expr) -> str:
    """Return the name that an expression begins with: ``a`` of ``a.b[0].c``."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
                node = inner
            case _:
                return ""
    return node.id


def _changes(
    module: ast.Module,
) -> tuple[frozenset[str], frozenset[str], frozenset[str], dict[str, frozenset[str]]]:
    stores, calls, effects = set(), set(), set()
    given: dict[str, frozenset[str]] = {}
    for node in ast.walk(module):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                stores.add(_root(node))
            case ast.Expr(value=ast.Call() as call) if _root(call.func) not in _SHOWS and not _only_looks(call):
                effects |= {_root(call.func), *_given(call)}
            case ast.Call(func=ast.Attribute() as func) if not _only_looks(node):
                calls.add(_root(func))
        if isinstance(node, ast.Call) and (called := _root(node.func)):
            given[called] = given.get(called, frozenset()) | _given(node)
    return frozenset(stores), frozenset(calls), frozenset(effects), given


def _given(call: ast.Call) -> frozenset[str]:
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return frozenset(node.id for value in values for node in ast.walk(value) if isinstance(node, ast.Name))


def _only_looks(call: ast.Call) -> bool:
    in_place = any(keyword.arg in ("inplace", "out") for keyword in call.keywords)
    words = [node.attr for node in ast.walk(call.func) if isinstance(node, ast.Attribute)]
    return bool(words) and not in_place and (words[0] in _LOOKS or "plot" in words)
