"""What the failures of a group have in common: where they happened, and with which parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.records import Failure, Record, Status, number, pairs

_SHOWN = 12  # trials of a kind that are named
_PYTHON = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(, in (?P<name>.+))?$', re.M)
_KERNEL = re.compile(r"^(?P<file>Cell In\s*\[\d+\]|File [^\n]+?)(:|, line )(?P<line>\d+)(, in (?P<name>.+))?$", re.M)
_NOT_THEIRS = re.compile(r"site-packages|dist-packages|[/\\]lib[/\\]python\d|^<frozen|[/\\]ml_experiment_nb[/\\]")


@dataclass(frozen=True)
class Kind:
    """Failures of one kind: the same exception at the same place.

    Attributes:
        where: The user's own line that failed; empty where no traceback says it.
        error: The exception's type.
        message: The first one's message.
        trials: The failed trials, by number.
        shared: The parameters that all of them have, where not every trial that finished has them too.
        apart: What they share, and how they differ from the finished ones, in words.
    """

    where: str
    error: str
    message: str
    trials: tuple[int, ...]
    shared: Mapping[str, Any]
    apart: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(f"#{one}" for one in self.trials[:_SHOWN]) + (", …" if len(self.trials) > _SHOWN else "")
        count = f"{len(self.trials)} trial{'s' if len(self.trials) > 1 else ''}"
        where = f" at {self.where}" if self.where else ""
        lines = [f"{count} failed{where}: {self.error}: {self.message}".rstrip(": ")]
        lines += [f"  trials   {names}"]
        lines += [f"  {text}" for text in self.apart]
        return "\n".join(lines)


def kinds(records: Iterable[Record]) -> list[Kind]:
    """Return the kinds of failures among a group's trials, the most frequent first."""
    done = list(records)
    finished = [one for one in done if one.ok]
    found: dict[tuple[str, str], list[Record]] = {}
    for one in done:
        if one.status is Status.FAILED and one.failure is not None:
            found.setdefault((place(one.failure), one.failure.type), []).append(one)
    made = [_kind(where, error, failed, finished) for (where, error), failed in found.items()]
    return sorted(made, key=lambda kind: -len(kind.trials))


def report(records: Iterable[Record]) -> str:
    """Return the kinds of failures as text; empty when nothing failed."""
    return "\n".join(map(str, kinds(records)))


def place(failure: Failure) -> str:
    """Return the last line of the user's own code in a traceback, such as ``train.py, line 12, in fit``."""
    found = [*_PYTHON.finditer(failure.traceback)] or [*_KERNEL.finditer(failure.traceback)]
    own = [one for one in found if not _NOT_THEIRS.search(one["file"])]
    if not own:
        return ""
    last = own[-1]
    file = last["file"].removeprefix("File ")
    if re.match(r"<ipython-input|.*[/\\]ipykernel_\d", file):
        file = "the cell"
    elif cell := re.match(r"Cell In\s*\[(\d+)\]", file):
        file = f"cell {cell[1]}"
    else:
        file = re.split(r"[/\\]", file)[-1]
    name = (last["name"] or "").partition("(")[0]
    return f"{file}, line {last['line']}" + (f", in {name}" if name and name != "<module>" else "")


def _kind(where: str, error: str, failed: list[Record], finished: list[Record]) -> Kind:
    names = [name for name in failed[0].params if all(name in one.params for one in failed)]
    values = {name: [_plain(one.params[name]) for one in failed] for name in names}
    others = {name: [_plain(one.params[name]) for one in finished if name in one.params] for name in names}
    shared = {
        name: ours[0]
        for name, ours in values.items()
        if all(one == ours[0] for one in ours) and not (others[name] and all(one == ours[0] for one in others[name]))
    }
    message = failed[0].failure.message if failed[0].failure else ""
    lines = [f"all with {pairs({name: value})}{_as(value, others[name])}" for name, value in shared.items()]
    rest = [name for name in names if name not in shared and others[name]]
    lines = lines if len(failed) > 1 else []
    lines += [text for name in rest if (text := _apart(name, values[name], others[name]))]
    numbers = tuple(sorted(one.number or 0 for one in failed))
    return Kind(where, error, number(message), numbers, shared, tuple(lines))


def _apart(name: str, failed: Sequence[Any], finished: Sequence[Any]) -> str:
    """Return how the failed trials' values of a parameter differ from all of the finished ones'; empty if not."""
    if _are_numbers(failed) and _are_numbers(finished):
        if min(failed) > max(finished):
            return f"{name} is above {number(max(finished))} where it failed ({_span(failed)}), not where it finished"
        if max(failed) < min(finished):
            return f"{name} is below {number(min(finished))} where it failed ({_span(failed)}), not where it finished"
    distinct = list(dict.fromkeys(map(repr, failed)))
    others = {*map(repr, finished)}
    if len(distinct) <= 3 and not others & {*distinct} and not any(isinstance(one, float) for one in failed):
        return f"{name} is {' or '.join(distinct)}, as in none of the {len(finished)} that finished"
    return ""


def _as(value: Any, finished: Sequence[Any]) -> str:
    same = sum(bool(one == value) for one in finished)
    return f", as {same or 'none'} of the {len(finished)} that finished" if finished else ""


def _span(values: Sequence[Any]) -> str:
    low, high = min(values), max(values)
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else text_of(value)
