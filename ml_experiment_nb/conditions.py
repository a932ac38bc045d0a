"""When a group has found what it was after: the text of ``stop_when``, parsed and never evaluated."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ml_experiment_nb.errors import SpecError

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted> "[^"]+" | '[^']+' | `[^`]+` )
      | (?P<number> [+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]) | [+-]?inf\b )
      | (?P<operator> >=|<=|==|!=|>|< )
      | (?P<name> [^\W\d][\w./]* )
      | (?P<bracket> [()] )
    )""",
    re.VERBOSE,
)
_EXAMPLE = 'write a metric, one of >= <= > < == !=, and a number: val_accuracy >= 0.99, "val loss" < 0.1 and epoch > 3'


@dataclass(frozen=True)
class Comparison:
    """A metric against a number."""

    name: str
    sign: str
    number: float

    def met(self, metrics: Mapping[str, float]) -> bool:
        """Say whether it holds; it doesn't for a metric that hasn't come, or is nan."""
        return self.name in metrics and _OPERATORS[self.sign](metrics[self.name], self.number)

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that it is about."""
        return (self.name,)


@dataclass(frozen=True)
class Joined:
    """Conditions that all have to hold (`word` is ``and``), or one of them (``or``)."""

    word: str
    parts: tuple[Condition, ...]

    def met(self, metrics: Mapping[str, float]) -> bool:
        """Say whether it holds."""
        return (all if self.word == "and" else any)(part.met(metrics) for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that it is about."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.names))


Condition: TypeAlias = Comparison | Joined


def parse_condition(text: str) -> Condition:
    """Read ``val_accuracy >= 0.99``; ``and``, ``or`` and brackets join several, as in Python.

    A metric's name that is no Python name, such as ``val loss``, stands in quotes or backticks.

    Raises:
        SpecError: It is something else.
    """
    return _Reader(text).condition()


class _Reader:
    """The rest of a text that is being read, token by token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            found = _TOKEN.match(text, position)
            if found is None:
                raise self._wrong(f"{text[position:].strip()!r} can't be read")
            assert found.lastgroup is not None
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()

    def condition(self) -> Condition:
        """Read the whole text."""
        if not self._tokens:
            raise self._wrong("is empty")
        try:
            found = self._joined("or", lambda: self._joined("and", self._one))
        except RecursionError:
            raise self._wrong("has too many brackets") from None
        if self._tokens:
            raise self._wrong(f"{self._tokens[0][1]!r} is one too many")
        return found

    def _joined(self, word: str, part: Callable[[], Condition]) -> Condition:
        parts = [part()]
        while self._tokens and self._tokens[0] == ("name", word):
            self._tokens.pop(0)
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _one(self) -> Condition:
        if self._tokens and self._tokens[0] == ("bracket", "("):
            self._tokens.pop(0)
            found = self._joined("or", lambda: self._joined("and", self._one))
            self._take("a closing bracket", "bracket", ")")
            return found
        kind, name = self._take("a metric", "name", "quoted")
        _, sign = self._take(f"a comparison after {name}", "operator")
        _, number = self._take(f"a number after {sign}", "number")
        return Comparison(name[1:-1] if kind == "quoted" else name, sign, float(number))

    def _take(self, what: str, *wanted: str) -> tuple[str, str]:
        if not self._tokens:
            raise self._wrong(f"ends where {what} should stand")
        kind, text = self._tokens[0]
        if kind not in wanted or (kind == "bracket" and text not in wanted) or (kind, text) in _WORDS:
            raise self._wrong(f"{text!r} stands where {what} should")
        return self._tokens.pop(0)

    def _wrong(self, why: str) -> SpecError:
        return SpecError(f"{self._text!r}: {why}; {_EXAMPLE}", key="stop_when")


_WORDS = (("name", "and"), ("name", "or"), ("name", "not"))
