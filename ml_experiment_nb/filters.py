"""Which runs are wanted, as text: MLflow's conditions, parsed, never evaluated, and the same for every store."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.records import SYSTEM, Record

_KINDS = {
    "metric": "metrics", "metrics": "metrics", "param": "params", "params": "params", "parameter": "params",
    "parameters": "params", "tag": "tags", "tags": "tags", "attribute": "attributes", "attributes": "attributes",
    "attr": "attributes", "run": "attributes",
}  # fmt: skip
_ATTRIBUTES: dict[str, Callable[[Record], Any]] = {
    "run_id": lambda one: one.run_id,
    "name": lambda one: one.name,
    "run_name": lambda one: one.name,
    "experiment": lambda one: one.experiment,
    "kind": lambda one: one.kind,
    "status": lambda one: one.status.value,
    "started": lambda one: one.started,
    "start_time": lambda one: round(one.started.timestamp() * 1000),
    "seconds": lambda one: one.seconds,
    "group": lambda one: one.parent_id,
    "trial": lambda one: one.number,
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number> [+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]) )
      | (?P<text> '[^']*' | "[^"]*" )
      | (?P<name> [^\W\d][\w/-]* (?: \. (?: `[^`]+` | "[^"]+" | [\w./-]+ ) )? | `[^`]+` )
      | (?P<sign> <= | >= | != | == | = | < | > | [(),] )
    )""",
    re.VERBOSE,
)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_EXAMPLE = "write it as in: metrics.val_accuracy > 0.9 and params.kernel = 'rbf'"


@dataclass(frozen=True)
class Name:
    """Something that a run has. `kind`: ``metrics``, ``params``, ``tags`` or ``attributes``; empty for either."""

    kind: str
    key: str

    def of(self, record: Record) -> Any:
        """Return what a run has under this name; None when it has none."""
        match self.kind:
            case "metrics":
                return record.metrics.get(self.key)
            case "params":
                return record.params.get(self.key)
            case "tags":
                return record.tags.get(self.key)
            case "attributes":
                return _ATTRIBUTES[self.key](record)
        return record.metrics.get(self.key, record.params.get(self.key))


@dataclass(frozen=True)
class Comparison:
    """Something that a run has against a value. `sign` is an operator, ``like``, ``ilike``, ``in`` or ``not in``."""

    name: Name
    sign: str
    value: Any

    def met(self, record: Record) -> bool:
        """Say whether it holds; it never does for what a run hasn't got."""
        found = self.name.of(record)
        if found is None:
            return False
        if self.sign in ("in", "not in"):
            return any(_same(found, one) for one in self.value) is (self.sign == "in")
        if self.sign in ("like", "ilike"):
            flags = re.DOTALL | (re.IGNORECASE if self.sign == "ilike" else 0)
            return re.fullmatch(_pattern(str(self.value)), str(found), flags) is not None
        if self.sign in ("=", "!="):
            return _same(found, self.value) is (self.sign == "=")
        one, other = _comparable(found, self.value)
        return one is not None and _ORDERS[self.sign](one, other)


@dataclass(frozen=True)
class Filter:
    """Comparisons of which all hold, or all of another list: ``a and b or c``."""

    either: tuple[tuple[Comparison, ...], ...]

    def met(self, record: Record) -> bool:
        """Say whether it holds for a run."""
        return any(all(one.met(record) for one in every) for every in self.either)

    @property
    def names(self) -> tuple[Name, ...]:
        """All that it is about."""
        return tuple(one.name for every in self.either for one in every)


def read_filter(text: str) -> Filter:
    """Read MLflow's conditions, such as ``metrics.loss < 0.1 and params.kernel = 'rbf'``.

    A name alone, such as ``val_accuracy``, is an attribute of a run, else a metric or a parameter. A parameter that
    reads as a number is compared as one with a number. There is also ``or``, which binds less than ``and``.

    Raises:
        SpecError: It can't be read.
    """
    tokens = _tokens(text)
    either: list[tuple[Comparison, ...]] = []
    every: list[Comparison] = []
    while True:
        every.append(_comparison(tokens, text))
        kind, word = tokens.pop(0)
        if kind == "end" or word.lower() == "or":
            either.append(tuple(every))
            every = []
        elif word.lower() != "and":
            raise _unreadable(text, word)
        if kind == "end":
            return Filter(tuple(either))


def read_name(text: str) -> Name:
    """Read a name: ``metrics.loss``, ``params.C``, ``tags.team``, ``attributes.status``, or ``loss`` alone.

    Raises:
        SpecError: A run has no such attribute, or it is a sample of what a run uses.
    """
    kind, dot, key = text.partition(".")
    if not dot or kind.lower() not in _KINDS:
        plain = text.strip('`"')
        name = Name("attributes" if plain in _ATTRIBUTES else "", plain)
    else:
        name = Name(_KINDS[kind.lower()], key.strip('`"'))
    if name.kind in ("metrics", "") and name.key.startswith(SYSTEM):
        raise SpecError(
            f"{name.key!r} is sampled while a run goes on, and is no result: no runs are found or ordered by it, but "
            "MLflow's page charts it"
        )
    if name.kind == "attributes" and name.key not in _ATTRIBUTES:
        raise SpecError(f"a run has no attribute {name.key!r}{nearest(name.key, list(_ATTRIBUTES))}")
    return name


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        token = _TOKEN.match(text, at)
        if token is None:
            raise _unreadable(text, text[at:].strip())
        found.append((str(token.lastgroup), token[0].strip()))
        at = token.end()
    return [*found, ("end", ""), ("end", "")]


def _comparison(tokens: list[tuple[str, str]], text: str) -> Comparison:
    kind, word = tokens.pop(0)
    if kind != "name":
        raise _unreadable(text, word)
    name = read_name(word)
    _, sign = tokens.pop(0)
    sign = {"==": "="}.get(sign, sign.lower())
    if sign == "not" and tokens[0][1].lower() == "in":
        tokens.pop(0)
        sign = "not in"
    if sign in ("in", "not in"):
        return Comparison(name, sign, _values(tokens, text))
    if sign not in (*_ORDERS, "=", "!=", "like", "ilike"):
        raise _unreadable(text, sign)
    return Comparison(name, sign, _value(tokens, text))


def _values(tokens: list[tuple[str, str]], text: str) -> tuple[Any, ...]:
    found: list[Any] = []
    separator = tokens.pop(0)[1]
    if separator != "(":
        raise _unreadable(text, separator)
    while separator != ")":
        found.append(_value(tokens, text))
        separator = tokens.pop(0)[1]
        if separator not in (",", ")"):
            raise _unreadable(text, separator)
    return tuple(found)


def _value(tokens: list[tuple[str, str]], text: str) -> Any:
    kind, word = tokens.pop(0)
    match kind:
        case "number":
            return float(word)
        case "text":
            return word[1:-1]
        case "name":
            return word.strip("`")
    raise _unreadable(text, word)


def _same(found: Any, value: Any) -> bool:
    one, other = _comparable(found, value)
    return bool(one == other) if one is not None else str(found) == str(value)


def _comparable(found: Any, value: Any) -> tuple[Any, Any]:
    """Return both as numbers or moments; None where one of them is neither."""
    try:
        if isinstance(found, datetime):
            moment = datetime.fromisoformat(str(value))
            return found, moment if moment.tzinfo else moment.astimezone()
        if isinstance(value, float) or isinstance(found, float | int):
            return float(found), float(value)
    except ValueError:
        pass
    return None, None


def _pattern(like: str) -> str:
    return "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in like)


def _unreadable(text: str, at: str) -> SpecError:
    where = f" at {at!r}" if at else ": it ends too early"
    return SpecError(f"the filter {text!r} can't be read{where}; {_EXAMPLE}")
