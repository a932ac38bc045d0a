"""Which of a notebook's executed cells a cell stands on, told from their text and from what is in the notebook now.

A cell that binds a name which is needed is taken, and so is one that may have changed its value since: by a method,
an assignment into it, or a call for its effect. What is changed through a second name for it is not seen.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

from ml_experiment_nb.cells import parse, read_cell, shell_lines
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.flow import is_everywhere

OF_OURS: Final = re.compile(r"\s*%%(experiment|group)\b")
RUNS_NOTHING: Final = re.compile(r"\s--(save|plan)\b")
_INTO = re.compile(r"--into[ =](\w+)")
_OPTION = re.compile(r"\{([^\W\d]\w*)|\s--(?:data|each)[ =]([^\W\d]\w*)")
_RUN = re.compile(r"^\s*%run\s+(?:-\w+\s+)*(\S+\.(?:py|ipynb))\b", re.MULTILINE)
_CAPTURE = re.compile(r"\s*%%capture\s+(?:--?[\w-]+\s+)*([^\W\d]\w*)")
_DEEP = frozenset({"_", "__", "___", "In", "Out"})
EARLIER: Final = re.compile(r"_+|_\d+|_i+|_i\d+|_[do]h|In|Out")
CHANGES_FOLDER: Final = re.compile(r"^%?cd\b|\bos\.chdir\b", re.MULTILINE)
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
class Dependencies:
    """The executed cells that a cell depends on, in their order, and what of it can't be traced to any."""

    cells: tuple[Executed, ...]
    problems: tuple[str, ...]


def dependencies(cell: Executed, history: Sequence[Executed], namespace: Mapping[str, Any]) -> Dependencies:
    """Return what a cell depends on, as far as it can be told; unlike `needed_cells` it refuses nothing.

    A ``%%experiment`` cell counts as what it does to the notebook, and one that has failed as what it may have done.

    Args:
        cell: The cell, with its magic's line if it has one.
        history: The cells that were executed before it.
        namespace: The notebook's variables when it began.
    """
    mine = _read(cell, whole=True)
    found = _Slice([_read(one, whole=True) for one in history], namespace, strict=False)
    reads = {name for name in mine.reads if not is_everywhere(name) or name in _DEEP}
    cells = found.of(reads, draws=_RANDOM.search(cell.source) is not None)
    return Dependencies(tuple(cells), tuple(found.problems))


@dataclass(frozen=True)
class _Cell:
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
        return OF_OURS.match(self.executed.source) is not None

    @property
    def place(self) -> str:
        return f"In [{self.executed.number}]"

    def concerns(self) -> set[str]:
        """Return the names that it may bind, or whose values it may change."""
        given = (one for names in self.given.values() for one in names)
        return {*self.writes, *_names_by_star(self), *self.stores, *self.calls, *self.effects, *given}

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


_UNCHANGING = (str, bytes, int, float, complex, bool, type, FunctionType, BuiltinFunctionType, frozenset, range)


class _Slice:
    """The search for what is needed; where it is not `strict`, what it would refuse stands in `problems`."""

    def __init__(self, cells: Sequence[_Cell], namespace: Mapping[str, Any], strict: bool = True) -> None:
        self._cells = cells
        self._namespace = namespace
        self._strict = strict
        self._of_name: dict[str, list[int]] = {}
        for index, cell in enumerate(cells):
            for name in cell.concerns():
                self._of_name.setdefault(name, []).append(index)
        self.problems: list[str] = []
        self._chosen: set[int] = set()
        self._waiting: list[tuple[str, int, str]] = []
        self._seen: set[tuple[str, int]] = set()

    def of(self, reads: Iterable[str], draws: bool = False) -> list[Executed]:
        end = len(self._cells)
        self._waiting = [(name, end, "the cell") for name in sorted(reads) if self._is_traced(name)]
        for index, cell in enumerate(self._cells):
            if _sets_up(cell) and not cell.executed.failed:
                self._choose(index)
        self._follow()
        drawing = [k for k, one in enumerate(self._cells) if _RANDOM.search(one.executed.source) and self._counts(one)]
        last = end if draws else max(self._chosen & set(drawing), default=0)
        if last:  # its numbers depend on what was drawn before
            for index in drawing:
                if index < last:
                    self._choose(index)
            self._follow()
        return [self._cells[index].executed for index in sorted(self._chosen)]

    def _counts(self, cell: _Cell) -> bool:
        """Whether a cell may have had an effect; a strict search takes none of ours, and none that has failed."""
        return not self._strict or not (cell.is_ours or cell.executed.failed)

    def _refuse(self, problem: str) -> None:
        if self._strict:
            raise SpecError(problem)
        if problem not in self.problems:
            self.problems.append(problem)

    def _is_traced(self, name: str) -> bool:
        if EARLIER.fullmatch(name):
            self._refuse(f"the cell reads {name}, which a new notebook hasn't: give that value a name of its own")
            return False
        return name in self._namespace and not is_everywhere(name)

    def _is_there(self, name: str) -> bool:
        return name in self._namespace and not is_everywhere(name) and not EARLIER.fullmatch(name)

    def _follow(self) -> None:
        while self._waiting:
            name, before, reader = self._waiting.pop()
            if (name, before) not in self._seen:
                self._seen.add((name, before))
                self._trace(name, before, reader)

    def _trace(self, name: str, before: int, reader: str) -> None:
        found = False
        candidates = self._of_name.get(name, [])
        for index in reversed(candidates[: bisect_left(candidates, before)]):
            cell = self._cells[index]
            if name in cell.writes or name in _names_by_star(cell):
                self._check_maker(name, cell)
                self._choose(index)
                # What its functions read when they are called, which is before that moment.
                self._waiting += [(one, before, cell.place) for one in sorted(cell.late) if self._is_there(one)]
                found = True
                if not cell.executed.failed and (name in cell.certain or name not in cell.writes):
                    break
            elif self._counts(cell) and cell.may_change(name, self._namespace):
                self._choose(index)
        if not found and before < len(self._cells) and name in self._namespace:  # a function reads it, bound later
            self._waiting.append((name, len(self._cells), reader))
        elif not found:
            self._refuse(f"{reader} reads {name}, and no cell that was executed here makes it")

    def _check_maker(self, name: str, cell: _Cell) -> None:
        if not self._strict:
            return
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
            if EARLIER.fullmatch(name):
                self._refuse(f"{cell.place} reads {name}, which a new notebook hasn't: give that value a name")
                continue
            if is_everywhere(name) and name not in self._namespace:
                continue
            if name in self._namespace and not is_everywhere(name):
                if name in cell.late:
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


def _names_by_star(cell: _Cell) -> frozenset[str]:
    """Return the names that ``from m import *`` binds in a cell, by the modules that are loaded."""
    names: frozenset[str] = frozenset()
    if "*" in cell.executed.source and not cell.is_ours:
        for module in re.findall(r"^\s*from\s+([\w.]+)\s+import\s+\*", cell.executed.source, re.MULTILINE):
            found = sys.modules.get(module)
            public = getattr(found, "__all__", None)
            names |= frozenset(public or [one for one in vars(found or object) if not one.startswith("_")])
    return names


def _read(executed: Executed, whole: bool = False) -> _Cell:
    """Return what a cell does; `whole`: what a cell of ours does as well, in full."""
    cell = _read_whole(executed) if whole and OF_OURS.match(executed.source) else _read_text(executed)
    made = frozenset(_CAPTURE.findall(executed.source)[:1]) | _run_writes(executed.source)
    return replace(cell, writes=cell.writes | made, certain=cell.certain | made) if made else cell


def _run_writes(source: str) -> frozenset[str]:
    """Return the names that the files bind which a cell runs with ``%run``, as the files are now."""
    found: frozenset[str] = frozenset()
    for name in _RUN.findall(source):
        try:
            text = Path(name).expanduser().read_text(encoding="utf-8")
            if name.endswith(".ipynb"):
                cells = [one for one in json.loads(text)["cells"] if one["cell_type"] == "code"]
                text = "\n".join("".join(one["source"]) for one in cells)
            found |= read_cell(text).writes
        except (OSError, ValueError, KeyError, SpecError):
            continue
    return found


@lru_cache(maxsize=4096)
def _read_whole(executed: Executed) -> _Cell:
    """Return what a cell of ours reads, and what it does to the notebook: a group's own trials do nothing to it."""
    line, _, body = executed.source.lstrip().partition("\n")
    if RUNS_NOTHING.search(line):
        return _Cell(executed)
    inner = _read_text(Executed(executed.number, body, executed.failed))
    named = names_in_line(line)
    bound = bound_by_line(line)
    if line.startswith("%%group"):
        return _Cell(executed, inner.reads | named, bound, bound)
    return replace(
        inner, executed=executed, reads=inner.reads | named, writes=inner.writes | bound, certain=inner.certain | bound
    )


@lru_cache(maxsize=4096)
def _read_text(executed: Executed) -> _Cell:
    if found := OF_OURS.match(executed.source):
        line, _, body = executed.source.lstrip().partition("\n")
        if RUNS_NOTHING.search(line):
            return _Cell(executed)
        bound = bound_by_line(line)
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
        frozenset(bound_for_certain(module.body)),
        frozenset(_names_in(node for node in ast.walk(module) if isinstance(node, functions))) & cell.reads,
        stores,
        calls,
        effects,
        given,
    )


def _names_in(nodes: Iterable[ast.AST]) -> Iterator[str]:
    return (one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name))


def _called_distributions(space: Mapping[str, Any], module: ast.Module) -> frozenset[str]:
    """Return the names of distributions that a cell calls for values of its own: ``space = {"C": uniform(0, 1)}``."""
    if not space:
        return frozenset()
    names = {node.func for node in ast.walk(module) if isinstance(node, ast.Call)}
    return frozenset(func.id for func in names if isinstance(func, ast.Name) and not hasattr(builtins, func.id))


def names_in_line(line: str) -> frozenset[str]:
    """Return the names that the line of a magic of ours mentions: in braces, and behind ``--data`` and ``--each``."""
    return frozenset(one or other for one, other in _OPTION.findall(line))


def bound_by_line(line: str) -> frozenset[str]:
    """Return the names that the line of a magic binds: behind ``--into``, and behind ``%%capture``."""
    return frozenset(_INTO.findall(line)) | frozenset(_CAPTURE.findall(line)[:1])


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
