"""A word that a person typed, or a table's cell, as the value that it looks like."""

from __future__ import annotations

import ast
import math
from typing import Any

_NAMED = {"true": True, "false": False, "null": None, "nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def read_value(word: str) -> Any:
    """Return a word as the Python literal that it looks like, as true, false or null, else as it is.

    >>> [read_value(word) for word in ("0.5", "1e-5", "true", "[1, 2]", "rbf", "007", "'5'")]
    [0.5, 1e-05, True, [1, 2], 'rbf', '007', '5']
    """
    if word.lower() in _NAMED:
        return _NAMED[word.lower()]
    try:
        value = ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return word
    return word if value is ... else value
