"""What an executed cell reads, and what it does to names, told from its text."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from ml_experiment_nb.cells import parse, read_cell
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.ipynb import code_cells, joined
from ml_experiment_nb.magic_lines import OF_OURS, RUNS_NOTHING, bound_by_line, captured_by, names_in_line

_RUN = re.compile(r"^\s*%run\s+(?:-\w+\s+)*(\S+\.(?:py|ipynb))\b", re.MULTILINE)


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


_UNCHANGING = (str, bytes, int, float, complex, bool, type, FunctionType, BuiltinFunctionType, frozenset, range)


@dataclass(frozen=True)
class Executed:
    """A cell that was executed: its number in ``In``, its text, and whether it failed."""

    number: int
    source: str
    failed: bool = False


@dataclass(frozen=True)
class Effects:
    """What an executed cell reads, and what it does to names.

    Attributes:
        executed: The cell.
        reads: The names that it takes from outside.
        writes: The names that it may bind.
        certain: Those that it binds in any case.
        late: Those of `reads` that functions of it read, when they are called.
        stores: The names into whose values it assigns.
        calls: The names of which it calls a method that may change them.
        effects: The names that it calls for an effect alone, or gives to such a call.
        given: The names that it gives to other calls, by the name that is called.
    """

    executed: Executed
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    certain: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    effects: frozenset[str] = frozenset()
    given: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether it is a cell of a magic of ours."""
        return OF_OURS.match(self.executed.source) is not None

    @property
    def place(self) -> str:
        """The cell as a sentence names it."""
        return f"In [{self.executed.number}]"

    def concerns(self) -> set[str]:
        """Return the names that it may bind, or whose values it may change."""
        given = (one for names in self.given.values() for one in names)
        return {*self.writes, *names_by_star(self), *self.stores, *self.calls, *self.effects, *given}

    def may_change(self, name: str, namespace: Mapping[str, Any]) -> bool:
        """Return whether what `name` stands for may be another afterwards, though the name isn't bound again."""
        value = namespace.get(name)
        if type(value).__module__.partition(".")[0] == "ml_experiment_nb":  # calling a job doesn't change it
            return False
        if name in self.stores:
            return True
        if isinstance(value, ModuleType):
            return name in self.effects and name not in _SHOWS
        if value is None or isinstance(value, _UNCHANGING):
            return False
        made_here = (called for called, names in self.given.items() if name in names and _is_users(namespace, called))
        return name in self.calls or name in self.effects or any(made_here)


def read_effects(executed: Executed, whole: bool = False) -> Effects:
    """Return what a cell does; `whole`: what a cell of ours does as well, in full."""
    cell = _read_whole(executed) if whole and OF_OURS.match(executed.source) else _read_text(executed)
    made = captured_by(executed.source) | _run_writes(executed.source)
    return replace(cell, writes=cell.writes | made, certain=cell.certain | made) if made else cell


def _run_writes(source: str) -> frozenset[str]:
    """Return the names that the files bind which a cell runs with ``%run``, as the files are now."""
    found: frozenset[str] = frozenset()
    for name in _RUN.findall(source):
        try:
            text = Path(name).expanduser().read_text(encoding="utf-8")
            if name.endswith(".ipynb"):
                text = "\n".join(joined(one["source"]) for one in code_cells(text))
            found |= read_cell(text).writes
        except (OSError, ValueError, KeyError, SpecError):
            continue
    return found


def _magic(source: str) -> tuple[str, str, str]:
    """Return a cell of ours as its magic's name, what stands behind that, and the code below."""
    found = OF_OURS.match(source)
    assert found is not None
    line, _, body = source[found.end() :].partition("\n")
    return found[1], line, body


@lru_cache(maxsize=4096)
def _read_whole(executed: Executed) -> Effects:
    """Return what a cell of ours reads, and what it does to the notebook: a group's own trials do nothing to it."""
    kind, line, body = _magic(executed.source)
    if RUNS_NOTHING.search(line):
        return Effects(executed)
    inner = _read_text(Executed(executed.number, body, executed.failed))
    named = names_in_line(line)
    bound = bound_by_line(line)
    if kind == "group":
        return Effects(executed, inner.reads | named, bound, bound)
    return replace(
        inner, executed=executed, reads=inner.reads | named, writes=inner.writes | bound, certain=inner.certain | bound
    )


@lru_cache(maxsize=4096)
def _read_text(executed: Executed) -> Effects:
    if OF_OURS.match(executed.source):
        kind, line, body = _magic(executed.source)
        if RUNS_NOTHING.search(line):
            return Effects(executed)
        bound = bound_by_line(line)
        if kind == "group" or executed.failed:
            return Effects(executed, writes=bound, certain=bound)
        try:
            return Effects(executed, writes=bound | read_cell(body).writes)
        except SpecError:
            return Effects(executed, writes=bound)
    try:
        cell, module = read_cell(executed.source), parse(executed.source)
    except SpecError:
        return Effects(executed)  # it can't have run
    # A lead's parameters are statements like any other here: what they read is in `reads` but for distributions.
    stores, calls, effects, given = _changes(module)
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return Effects(
        executed,
        cell.reads | _called_distributions(cell.space, module),
        cell.writes,
        frozenset(bound_for_certain(module.body)),
        frozenset(_names_in(node for node in ast.walk(module) if isinstance(node, functions))) & cell.reads,
        stores,
        calls,
        effects,
        given,
    )


def names_by_star(cell: Effects) -> frozenset[str]:
    """Return the names that ``from m import *`` binds in a cell, by the modules that are loaded."""
    names: frozenset[str] = frozenset()
    if "*" in cell.executed.source and not cell.is_ours:
        for module in re.findall(r"^\s*from\s+([\w.]+)\s+import\s+\*", cell.executed.source, re.MULTILINE):
            found = sys.modules.get(module)
            public = getattr(found, "__all__", None)
            names |= frozenset(public or [one for one in vars(found or object) if not one.startswith("_")])
    return names


def _names_in(nodes: Iterable[ast.AST]) -> Iterator[str]:
    return (one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name))


def _called_distributions(space: Mapping[str, Any], module: ast.Module) -> frozenset[str]:
    """Return the names of distributions that a cell calls for values of its own: ``space = {"C": uniform(0, 1)}``."""
    if not space:
        return frozenset()
    names = {node.func for node in ast.walk(module) if isinstance(node, ast.Call)}
    return frozenset(func.id for func in names if isinstance(func, ast.Name) and not hasattr(builtins, func.id))


def bound_for_certain(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind in any case."""
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
                yield from bound_for_certain(inner)


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


def _is_users(namespace: Mapping[str, Any], called: str) -> bool:
    return getattr(namespace.get(called), "__module__", None) == "__main__"
