"""Records as columns for the browser: a buffer of bytes for each, and what it takes to read it. Pure.

`static/columns.js` is the reader. Numbers, dates and durations travel as eight bytes each, NaN where there is none; all
else as the number of its text, four bytes each, -1 where there is none. Texts are in the order that people expect, so
that their numbers sort them.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ml_experiment_nb.quantities import cut, text_of
from ml_experiment_nb.records import SYSTEM, Record, Status

MOST_SHOWN = {"params": 25, "metrics": 15}  # columns that are shown at once until others are asked for
LONGEST = 500  # characters of a text
_DIGITS = 400  # characters of a number: a double has 308 digits at most, and Python reads no more than 4,300
_EXACT = 2**53  # whole numbers beyond it are not the same as a double
_NUMBER = re.compile(r"[+-]?(?!0\d)(?:\d+(\.\d*)?|(\.\d+))([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_OURS = ("mlexp.", "mlflow.")
ABSENT: Any = object()
"""Stands for the value that a row hasn't got: None is a value."""


@dataclass(frozen=True)
class Column:
    """A column of a table of runs.

    Attributes:
        key: What it is called among all: ``params.C``, ``metrics.loss``, ``status``.
        name: What people are shown: ``C``.
        group: ``run``, ``params``, ``metrics``, ``autologged`` or ``tags``.
        kind: ``number``, ``date`` (milliseconds since 1970), ``duration`` (seconds), ``text``, ``boolean``, ``status``.
        data: The values, a double or a four-byte integer for each row, the least byte first.
        texts: What the integers stand for.
        nans: The rows whose number is NaN itself; elsewhere NaN says that there is none.
        whole: Whether all of its numbers are whole.
        hidden: Whether it is shown only when somebody asks for it.
    """

    key: str
    name: str
    group: str
    kind: str
    data: bytes
    texts: tuple[str, ...] = ()
    nans: tuple[int, ...] = ()
    whole: bool = False
    hidden: bool = False

    def state(self) -> dict[str, Any]:
        """Return it as a widget's state has it."""
        return {
            "key": self.key, "name": self.name, "group": self.group, "kind": self.kind, "data": self.data,
            "texts": list(self.texts), "nans": list(self.nans), "whole": self.whole, "hidden": self.hidden,
        }  # fmt: skip


def columns_of(records: Sequence[Record], *, first: Sequence[str] = ()) -> list[Column]:
    """Return what there is of runs: what names them, metrics, parameters, times, then what is hidden.

    Args:
        records: The runs, a row each.
        first: The metrics that come first, such as those that a search optimised.
    """
    metrics = [one.metrics for one in records]
    found = [*_about(records)]
    found += [_metric(name, metrics) for name in [*first, *(n for n in _names(metrics) if n not in first)]]
    found += _named("params", [one.params for one in records])
    found += _when(records)
    found += _named("autologged", [one.autologged for one in records], hidden=True)
    found += _named("tags", [_own_tags(one.tags) for one in records], hidden=True)
    return _few_shown(found)


def column_of(key: str, values: Sequence[Any], *, hidden: bool = False) -> Column:
    """Return a column of values as they are or as text; see `ABSENT` for a row that has none.

    Values that are all numbers, or the texts of numbers, are numbers; a text that would be another one as a number
    (``007``, ``1_000``, 20 digits) is none.
    """
    group, _, name = key.partition(".")
    numbers = _numbers(values)
    if numbers is not None:
        return _of_numbers(key, name, group, numbers, values, hidden=hidden)
    texts = [None if value is ABSENT else cut(text_of(value), LONGEST) for value in values]
    known = {text for text in texts if text is not None}
    if known <= {"True", "False"}:
        return _of_texts(key, name, group, "boolean", texts, ("False", "True"), hidden=hidden)
    return _of_texts(key, name, group, "text", texts, sorted(known, key=_rank), hidden=hidden)


def _about(records: Sequence[Record]) -> Iterable[Column]:
    names = [one.name for one in records]
    yield _of_texts("name", "Run", "run", "text", names, sorted(set(names), key=_natural))
    ids = [one.run_id[:8] if one.run_id else None for one in records]
    yield _of_texts("run_id", "ID", "run", "text", ids, list(dict.fromkeys(one for one in ids if one)), hidden=True)
    for key, name, values in (
        ("kind", "Kind", [one.kind for one in records]),
        ("experiment", "Experiment", [one.experiment for one in records]),
    ):
        known = sorted(set(values))
        yield _of_texts(key, name, "run", "text", values, known, hidden=len(known) < 2)
    trials = [ABSENT if one.number is None else one.number for one in records]
    if any(one is not ABSENT for one in trials):
        numbers = [math.nan if one is ABSENT else one for one in trials]
        yield _of_numbers("trial", "Trial", "run", numbers, trials, hidden=True)  # a trial's name has it
    statuses = [one.status.value for one in records]
    yield _of_texts("status", "Status", "run", "status", statuses, tuple(one.value for one in Status))


def _when(records: Sequence[Record]) -> Iterable[Column]:
    yield Column("seconds", "Duration", "run", "duration", _doubles([one.seconds for one in records]))
    yield Column("started", "Started", "run", "date", _doubles([one.started.timestamp() * 1000 for one in records]))


def _named(group: str, each: Sequence[Mapping[str, Any]], *, hidden: bool = False) -> list[Column]:
    return [
        column_of(f"{group}.{name}", [one.get(name, ABSENT) for one in each], hidden=hidden) for name in _names(each)
    ]


def _metric(name: str, each: Sequence[Mapping[str, float]]) -> Column:
    values = [one.get(name, ABSENT) for one in each]
    numbers = [math.nan if one is ABSENT else float(one) for one in values]
    return _of_numbers(f"metrics.{name}", name, "metrics", numbers, values, hidden=name.startswith(SYSTEM))


def _names(each: Iterable[Mapping[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for one in each:
        if not found.keys() >= one.keys():
            found.update(dict.fromkeys(one))
    return list(found)


def _own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in tags.items() if not name.startswith(_OURS)}


def _few_shown(columns: Iterable[Column]) -> list[Column]:
    shown: Counter[str] = Counter()
    found = []
    for column in columns:
        shown[column.group] += not column.hidden
        is_more = shown[column.group] > MOST_SHOWN.get(column.group, math.inf)
        found.append(replace(column, hidden=True) if is_more else column)
    return found


# --- the values ---


def _of_numbers(
    key: str, name: str, group: str, numbers: Sequence[float], values: Sequence[Any], *, hidden: bool = False
) -> Column:
    nans = tuple(k for k, one in enumerate(numbers) if one != one and values[k] is not ABSENT)
    whole = not nans and all(isinstance(one, int) or one != one for one in numbers)
    return Column(key, name, group, "number", _doubles(numbers), nans=nans, whole=whole, hidden=hidden)


def _of_texts(
    key: str, name: str, group: str, kind: str, values: Sequence[str | None], texts: Sequence[str], *,
    hidden: bool = False,
) -> Column:  # fmt: skip
    codes: dict[str | None, int] = {None: -1} | {text: code for code, text in enumerate(texts)}
    data = array("i", [codes[value] for value in values])
    return Column(key, name, group, kind, least_first(data), tuple(texts), hidden=hidden)


def _doubles(values: Iterable[float]) -> bytes:
    return least_first(array("d", values))


def least_first(data: array[Any]) -> bytes:
    """Return the bytes of numbers, the least byte of each first."""
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def _numbers(values: Sequence[Any]) -> list[float] | None:
    """Return the numbers that values are, NaN for one that is not there; None if one of them is none."""
    found: list[float] = []
    for value in values:
        if value is ABSENT:
            found.append(math.nan)
        elif type(value) is float:
            found.append(value)
        elif (read := _number(value)) is not None:
            found.append(read)
        else:
            return None
    return found


def _number(value: Any) -> float | None:
    text = value if isinstance(value, str) else cut(text_of(value), LONGEST)
    match = _NUMBER.fullmatch(text) if len(text) <= _DIGITS else None
    if match is None:
        return None
    if any(match.groups()):
        return float(text)
    whole = int(text)
    return whole if abs(whole) <= _EXACT else None


def _rank(text: str) -> tuple[bool, float, list[Any]]:
    """Return what sorts texts: numbers first and by size, then the others."""
    read = _number(text)
    is_number = read is not None and not math.isnan(read)
    return not is_number, read if is_number and read is not None else 0.0, _natural(text)


def _natural(text: str) -> list[Any]:
    """Return what sorts ``trial #10`` behind ``trial #9``."""
    parts = re.split(r"(\d+)", text.casefold())
    return [int(part[:_DIGITS]) if k % 2 else part for k, part in enumerate(parts)] + [text]
