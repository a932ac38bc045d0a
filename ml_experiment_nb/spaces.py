"""Distributions: their text and their Python form; `optuna_spaces.py` has Optuna's.

Text is parsed, never evaluated: ``loguniform(0.01, 1000)`` is a call of a known name with literal arguments,
in a YAML file as in a cell. `parse` and ``str`` are each other's inverse.
"""

from __future__ import annotations

import ast
import inspect
import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat, SupportsInt, TypeAlias, TypeGuard

from ml_experiment_nb.errors import SpaceError, nearest

MODULES = frozenset({"mlx", "ml_experiment_nb", "ml_experiment", "spaces"})
"""The names that may stand before a distribution in a cell; ``rng.choice(...)`` stays the user's own call."""


@dataclass(frozen=True)
class Range:
    """Whole numbers from `low` up to, but not including, `high`: Python's ``range``."""

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        _set_integers(self, low=self.low, high=self.high, step=self.step)
        if self.step <= 0:
            raise SpaceError(f"range's step must be positive, not {self.step}")
        if self.low >= self.high:
            raise SpaceError(f"{self} is empty: low must be less than high")

    def __str__(self) -> str:
        step = f", {self.step}" if self.step != 1 else ""
        return f"range({self.low}, {self.high}{step})"


@dataclass(frozen=True)
class RandInt:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _set_integers(self, low=self.low, high=self.high)
        if self.low >= self.high:
            raise SpaceError(f"{self}: low must be less than high")

    def __str__(self) -> str:
        return f"randint({self.low}, {self.high})"


@dataclass(frozen=True)
class Uniform:
    """Real numbers from `low` to `high`, every one as likely; with a `step`, only ``low + k * step``."""

    low: float
    high: float
    step: float | None = None

    def __post_init__(self) -> None:
        steps = {} if self.step is None else {"step": self.step}
        _set_floats(self, low=self.low, high=self.high, **steps)
        if self.low >= self.high:
            raise SpaceError(f"{self}: low must be less than high")
        if self.step is not None and self.step <= 0:
            raise SpaceError(f"{self}: step must be positive")
        if self.step is not None and self.high - self.low > 1e12 * self.step:
            raise SpaceError(f"{self}: step is too small to tell values apart: leave it out")

    def __str__(self) -> str:
        step = f", step={_number(self.step)}" if self.step is not None else ""
        return f"uniform({_number(self.low)}, {_number(self.high)}{step})"


@dataclass(frozen=True)
class LogUniform:
    """Real numbers from `low` to `high`, every order of magnitude as likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _set_floats(self, low=self.low, high=self.high)
        if self.low <= 0:
            raise SpaceError(f"{self}: low must be greater than 0, for a logarithm; or use uniform(low, high)")
        if self.low >= self.high:
            raise SpaceError(f"{self}: low must be less than high")

    def __str__(self) -> str:
        return f"loguniform({_number(self.low)}, {_number(self.high)})"


@dataclass(frozen=True)
class Choice:
    """One of some literals: numbers, texts, booleans, None, and lists, tuples and dicts of them."""

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        options = tuple(_literal(option) for option in self.options)
        if not options:
            raise SpaceError("choice([]) has no options: write at least one")
        texts = [repr(option) for option in options]
        for text in texts:
            if texts.count(text) > 1:
                raise SpaceError(f"choice has the option {text} more than once: write it once")
        object.__setattr__(self, "options", options)

    def __str__(self) -> str:
        return f"choice({list(self.options)!r})"


Distribution: TypeAlias = Range | RandInt | Uniform | LogUniform | Choice
Value: TypeAlias = Distribution | tuple[Distribution, ...]
"""What a name of a parameter space stands for: a distribution, or one for each position of a list."""


def choice(options: Iterable[Any]) -> Choice:
    """One of `options`, such as ``choice(["scale", "auto"])``."""
    if isinstance(options, str | bytes | Mapping) or not isinstance(options, Iterable):
        raise SpaceError(f"choice takes a list of options: write choice([{options!r}, ...])")
    return Choice(tuple(options))


def uniform(low: float, high: float, step: float | None = None) -> Uniform:
    """Real numbers from `low` to `high`, in steps of `step` if there is one."""
    return Uniform(low, high, step)


def loguniform(low: float, high: float) -> LogUniform:
    """Real numbers from `low` to `high`, uniform in their logarithm."""
    return LogUniform(low, high)


def randint(low: int, high: int) -> RandInt:
    """Whole numbers from `low` to `high`, both included."""
    return RandInt(low, high)


def parse(text: str) -> Distribution:
    """Read a distribution's text, such as ``loguniform(0.01, 1000)``.

    Raises:
        SpaceError: It isn't a call of a known distribution with literal arguments that make sense.
    """
    value = _read(text)
    if isinstance(value, tuple):
        raise SpaceError(f"{text!r} is a list: write one distribution")
    return value


def parse_value(value: object) -> Value:
    """Read one value of a parameter space, whichever of its forms it has.

    Args:
        value: A distribution, its text, a Python ``range``, or a list of these (one draw for each position).

    Raises:
        SpaceError: It is none of them.
    """
    if isinstance(value, Distribution):
        return value
    if isinstance(value, range):
        return Range(value.start, value.stop, value.step)
    if isinstance(value, str):
        return _read(value)
    if isinstance(value, list | tuple):
        return _positions(list(value))
    raise SpaceError(f"{value!r} is not a distribution: a fixed value belongs in params")


def is_text(value: object) -> bool:
    """Say whether a value is text that means to be a distribution, or a list of them: it begins by calling one."""
    if not isinstance(value, str):
        return False
    module = rf"(({'|'.join(sorted(MODULES))})\.)*"
    return re.match(rf"\s*[\[(]?\s*{module}({'|'.join(_FACTORIES)})\s*\(", value) is not None


def from_ast(node: ast.expr) -> Value | None:
    """Read a distribution, or a list of them, from a syntax tree: the right-hand side of a cell's assignment.

    Returns:
        None if the expression calls no distribution, by its bare name or as an attribute of one of `MODULES`.

    Raises:
        SpaceError: It calls one with arguments that aren't literals, or that make no sense.
    """
    if isinstance(node, ast.List | ast.Tuple):
        return _positions_from_ast(node)
    if not isinstance(node, ast.Call) or (name := _called(node.func)) not in _FACTORIES:
        return None
    return _call(name, node)


def contains(distribution: Distribution, value: object) -> bool:
    """Say whether `distribution` can give `value`."""
    match distribution:
        case Range(low, high, step):
            return _is_integer(value) and value in range(low, high, step)
        case RandInt(low, high):
            return _is_integer(value) and value in range(low, high + 1)
        case Uniform(low, high, step):
            if not _is_real(value) or not low <= float(value) <= high:
                return False
            steps = 0.0 if step is None else (float(value) - low) / step
            return abs(steps - round(steps)) < 1e-8  # as exact as Optuna is
        case LogUniform(low, high):
            return _is_real(value) and low <= float(value) <= high
        case Choice(options):
            is_bool = isinstance(value, bool)
            return any(isinstance(option, bool) == is_bool and option == value for option in options)


# --- text and syntax trees ---


def _read(text: str) -> Value:
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        # YAML's own {…} and […] end a text at the first comma.
        hint = "within YAML's {} or [] put it in quotes; " if text.count("(") > text.count(")") else ""
        raise SpaceError(f"{text!r} can't be read ({reason}): {hint}{_EXAMPLES}") from None
    value = from_ast(node)
    if value is not None:
        return value
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        raise SpaceError(f"{called!r} is not a distribution{nearest(called, _FACTORIES) or ': ' + _EXAMPLES}")
    if isinstance(node, ast.List | ast.Tuple):
        raise SpaceError(f"{text!r} is a list of fixed values: write choice({text.strip()})")
    raise SpaceError(f"{text!r} is not a distribution: {_EXAMPLES}, or move a fixed value to params")


def _positions(items: list[Any]) -> Value:
    if any(isinstance(item, str) and item.count("(") != item.count(")") for item in items):
        # YAML splits the unquoted [uniform(0, 1), range(5)] at every comma
        return _read(f"[{', '.join(item if isinstance(item, str) else repr(item) for item in items)}]")
    if not any(_is_distribution(item) for item in items):
        raise SpaceError(f"a list of fixed values is ambiguous: write choice({items!r})")
    positions = [parse_value(item) for item in items]
    return tuple(_single(position) for position in positions)


def _is_distribution(item: object) -> bool:
    if isinstance(item, str):
        return item.split("(")[0].strip().rpartition(".")[2].isidentifier() and item.strip().endswith(")")
    return isinstance(item, Distribution | range)


def _positions_from_ast(node: ast.List | ast.Tuple) -> tuple[Distribution, ...] | None:
    values = [from_ast(item) for item in node.elts]
    if all(value is None for value in values):
        return None
    for item, value in zip(node.elts, values, strict=True):
        if value is None:
            text = ast.unparse(item)
            raise SpaceError(f"{text} stands in a list of distributions: write choice([{text}]) in its place")
    return tuple(_single(value) for value in values if value is not None)


def _single(value: Value) -> Distribution:
    if isinstance(value, tuple):
        raise SpaceError("a list of distributions can't hold another list: write one distribution a position")
    return value


def _called(func: ast.expr) -> str:
    match func:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(module) | ast.Attribute(_, module), name) if module in MODULES:
            return name
    return ""


def _call(name: str, node: ast.Call) -> Distribution:
    arguments = [_argument(name, argument) for argument in node.args]
    options: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in options:
            raise SpaceError(f"{ast.unparse(node)}: write each argument once, by its name")
        options[keyword.arg] = _argument(name, keyword.value)
    factory = _FACTORIES[name]
    try:
        inspect.signature(factory).bind(*arguments, **options)
    except TypeError as error:
        raise SpaceError(f"{ast.unparse(node)}: {error}; {_EXAMPLES}") from None
    return factory(*arguments, **options)


def _argument(name: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        text = ast.unparse(node)
        raise SpaceError(f"{name} takes literals only, not {text}: the text is never evaluated") from None


def _range(low: int, high: int | None = None, step: int = 1) -> Range:
    return Range(0, low, step) if high is None else Range(low, high, step)


_FACTORIES: dict[str, Callable[..., Distribution]] = {
    "choice": choice,
    "uniform": uniform,
    "loguniform": loguniform,
    "randint": randint,
    "range": _range,
}
NAMES = tuple(sorted(_FACTORIES))
"""What a distribution's text may call."""

_EXAMPLES = (
    "write choice(['a', 'b']), range(10), randint(1, 9), uniform(0, 1), uniform(0, 1, step=0.1)"
    " or loguniform(0.01, 1000)"
)


# --- arguments ---


def _set_integers(distribution: Distribution, **fields: object) -> None:
    for field, value in fields.items():
        if not _is_integer(value):
            name = type(distribution).__name__.lower()
            raise SpaceError(f"{name}'s {field} must be a whole number, not {value!r}; or use uniform")
        object.__setattr__(distribution, field, int(value))


def _set_floats(distribution: Distribution, **fields: object) -> None:
    for field, value in fields.items():
        if not _is_real(value):
            name = type(distribution).__name__.lower()
            raise SpaceError(f"{name}'s {field} must be a finite number, not {value!r}")
        object.__setattr__(distribution, field, float(value))


def _is_integer(value: object) -> TypeGuard[SupportsInt]:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value: object) -> TypeGuard[SupportsFloat]:
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _literal(value: Any) -> Any:
    """Return `value` in plain Python types, so that its ``repr`` reads back as itself."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if _is_integer(value):
        return int(value)
    if _is_real(value):
        return float(value)
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_literal(item) for item in value)
    if isinstance(value, dict):
        return {_literal(key): _literal(item) for key, item in value.items()}
    raise SpaceError(
        f"choice can't hold {value!r}: options are finite numbers, texts, booleans, None, or lists and dicts"
        " of them; give the thing a name and look it up in your code"
    )


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def space_text(value: Any) -> str:
    """Return a parameter's distribution, or its list of distributions, as text."""
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list | tuple) else str(value)
