"""Numbers, sizes, durations and values as people read them. `widgets/static/format.js` says the same in a browser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_MINUS = "\u2212"
_WIDTH = 80  # characters of a value that people are shown


def number(value: Any) -> str:
    """Return a value as people read it: floats with four significant digits, the rest as a line of text."""
    if isinstance(value, float):
        return f"{value:.4g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.3e}"
    return line_of(text_of(value), _WIDTH)


def told_apart(a: Any, b: Any) -> tuple[str, str]:
    """Return two values as people read them: where these are the same, what stands around their first difference."""
    shown, (one, other) = (number(a), number(b)), (text_of(a), text_of(b))
    if shown[0] != shown[1] or one == other:
        return shown
    first = next((k for k, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
    parts = [_around(text, first) for text in (one, other)]
    lines = [" ".join(part.split()) for part in parts]
    if lines[0] == lines[1]:  # they differ in white space
        lines = [repr(part) for part in parts]
    return lines[0], lines[1]


def _around(text: str, place: int) -> str:
    start = max(0, place - _WIDTH // 2)
    end = start + _WIDTH - 2
    return f"{'…' * (start > 0)}{text[start:end]}{'…' * (end < len(text))}"


def text_of(value: Any) -> str:
    """Return a value as text, and where it has none, what it is."""
    try:
        return str(value)
    except Exception as error:  # it is an object of the user's class
        return f"<{type(value).__name__}, which can't be shown: {type(error).__name__}>"


def repr_of(value: Any) -> str:
    """Return a value's ``repr``, whatever the user's classes do when they are asked for it."""
    try:
        return repr(value)
    except Exception as error:  # it is an object of the user's class
        return f"<{type(value).__name__}, which can't be shown: {type(error).__name__}>"


def line_of(text: str, width: int) -> str:
    """Return a text as one line of at most so many characters."""
    return cut(" ".join(text.split()), width)


def cut(text: str, width: int) -> str:
    """Return a text, or its beginning and … where it has more than so many characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def signed(value: float) -> str:
    """Return a difference as people read it, to three digits: ``+0.0122``, or with a true minus sign."""
    text = number(float(f"{abs(value):.3g}"))
    return f"{_MINUS if value < 0 else '+'}{text}"


def pairs(values: Mapping[str, Any]) -> str:
    """Return ``a=1, b=2``."""
    return ", ".join(f"{name}={number(value)}" for name, value in values.items())


def size(amount: float) -> str:
    """Return bytes as people read them: ``800 B``, ``500 MB``, ``1.61 GB``."""
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB" if amount < 999.5 else f"{amount:.0f} GB"


def duration(seconds: float) -> str:
    """Return a duration as people read it: ``0.52 s``, ``1 min 05 s``, ``2 h 03 min``."""
    if round(seconds, 2) < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def about(seconds: float) -> str:
    """Return a duration that is only reckoned: ``8 s``, ``90 s``, ``12 min``, ``2 h 03 min``."""
    if seconds < 117.5:
        return f"{max(1, round(seconds) if seconds < 10 else round(seconds / 5) * 5)} s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def is_number(value: Any) -> bool:
    """Return whether a value is a number, which stands in a column to the right."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def difference(before: Any, after: Any) -> float | None:
    """Return how much a number has grown; None where that can't be told."""
    if not (is_number(before) and is_number(after)):
        return None
    grown = after - before
    return grown if math.isfinite(grown) else None
