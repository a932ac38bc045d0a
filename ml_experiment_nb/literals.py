"""A word that a person typed, a table's cell, or a parameter in a store, as the value that it looks like."""

from __future__ import annotations

import ast
import copy
import math
from functools import lru_cache
from typing import Any

_AS_PYTHON_HAS_IT = {str(one): one for one in (True, False, None, math.nan, math.inf, -math.inf)}
_BRACKETS, _FIRST = tuple("[({"), tuple("-0123456789")
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


def value_of(text: str) -> Any:
    """Return the value that a text is ``str`` of: a number, True, False, None, or a list, tuple, set or dict of such.

    What would be written otherwise is no such value, but the text: a number that begins with 0, or ``1e3``.

    >>> [value_of(text) for text in ("0.5", "1e-05", "True", "(1, 2)", "rbf", "007", "1e3", "")]
    [0.5, 1e-05, True, (1, 2), 'rbf', '007', '1e3', '']
    """
    if text in _AS_PYTHON_HAS_IT:
        return _AS_PYTHON_HAS_IT[text]
    if text[:1] in _BRACKETS:
        return _container(text)
    for kind in (int, float) if text[:1] in _FIRST else ():
        try:
            number = kind(text)
        except ValueError:  # nor does Python read an int of more than 4,300 digits
            continue
        if str(number) == text:
            return number
    return text


def _container(text: str) -> Any:
    value = _read_container(text)
    return value if isinstance(value, str | tuple) else copy.deepcopy(value)  # nobody changes what the next one gets


@lru_cache(maxsize=4096)  # many runs have the same
def _read_container(text: str) -> Any:
    value = read_value(text)
    return value if str(value) == text else text
