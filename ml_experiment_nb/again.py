"""A group taken up again: what of it counts already, and what is still to be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_experiment_nb.records import Record, Status, number
from ml_experiment_nb.spaces import Value, contains

REPEATS = "mlexp.repeats"
RETRY = "mlexp.retry"
RETRY_OF = "mlexp.retry_of"
IMPORTED = "mlexp.imported_from"


@dataclass(frozen=True)
class Again:
    """How a group goes on whose driver was stopped, or that is asked for more.

    Attributes:
        run_id: The group's own run, which is opened again.
        kept: The trials that count already.
        missing: How many trials are still to be run; None where its table or its grid says so.
        redo: The numbers of trials whose points are tried once more.
        study: The name of its study.
        storage: Where that is kept.
        payload: The file with the values that its trials need.
    """

    run_id: str
    kept: tuple[Record, ...]
    missing: int | None
    redo: tuple[int, ...] = ()
    study: str = ""
    storage: str = ""
    payload: str | None = None


@dataclass(frozen=True)
class TakenTrial:
    """A trial of another group, whose result a new one takes over.

    Attributes:
        record: What is kept of it.
        params: Its parameters in the new space.
        values: The metrics' values; None where it was pruned.
        steps: The values that it reported on the way.
        drawn: What its code drew by itself: the distribution, as Optuna has it, and the value.
    """

    record: Record
    params: Mapping[str, Any]
    values: tuple[float, ...] | None
    steps: Mapping[int, float] = field(default_factory=dict)
    drawn: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """What a new group takes over from one of another space.

    Attributes:
        run_id: The other group's run.
        trials: The trials that fit.
        left: A line for each that doesn't, with the reason.
    """

    run_id: str
    trials: tuple[TakenTrial, ...]
    left: tuple[str, ...]


def last_tries(children: Sequence[Record]) -> list[Record]:
    """Return a group's trials without the tries that were lost and tried again, which count for nothing."""
    last: dict[str, int] = {}
    for one in children:
        if (first := one.tags.get(RETRY_OF)) is not None:
            last[first] = max(last.get(first, 0), _tries(one))
    return [one for one in children if _tries(one) == last.get(one.tags.get(RETRY_OF, str(one.run_id)), _tries(one))]


def split(
    children: Sequence[Record], *, rows: bool = False, failed: bool = False
) -> tuple[tuple[Record, ...], tuple[int, ...]]:
    """Return the trials of a group that stand, and the numbers of those whose points are to be tried again.

    Those that were running when their driver was stopped are tried again; one that was stopped by itself isn't.

    Args:
        children: The records of all of its trials.
        rows: The group has a table: a row without a finished run is run again, under its own number.
        failed: Try the failed ones again, too.
    """
    if rows:
        return tuple({one.number: one for one in children if one.ok}.values()), ()
    repeated = {int(told) for one in children if (told := one.tags.get(REPEATS, "")).isdigit()}
    again = [
        one.number
        for one in children
        if one.number is not None and one.number not in repeated and (is_lost(one) or (failed and _failed(one)))
    ]
    return tuple(one for one in children if one.status.ended and not is_lost(one)), tuple(sorted(again))


def missing(total: int | None, kept: Sequence[Record]) -> int | None:
    """Return how many trials are missing of a number: those that finished or were pruned count."""
    if total is None:
        return None
    return max(0, total - sum(one.status in (Status.FINISHED, Status.PRUNED) for one in kept))


def misfit(old: Mapping[str, Any], space: Mapping[str, Value], fixed: Mapping[str, Any]) -> str | None:
    """Return why a trial's parameters are no point of another space with its fixed parameters; None if they are.

    Args:
        old: All of the trial's parameters.
        space: The other group's space.
        fixed: The parameters that it fixes.
    """
    for name, value in space.items():
        if name not in old:
            return f"it has no {name}"
        if not _holds(value, old[name]):
            return f"{name}={number(old[name])} is not in {_text(value)}"
    for name, value in fixed.items():
        if name not in old:
            return f"it has no {name}, which is {number(value)} now"
        if not _equal(value, old[name]):
            return f"{name} was {number(old[name])}, and is {number(value)} now"
    for name in old:
        if name not in space and name not in fixed:
            return f"it has {name}={number(old[name])}, which is no parameter any more"
    return None


def is_lost(record: Record) -> bool:
    """Return whether a trial was cut off, by its driver's end or a limit of its group, and not stopped by itself."""
    alone = record.failure is not None and record.failure.type == "Stopped"
    return record.status in (Status.KILLED, Status.RUNNING) and not alone


def _tries(record: Record) -> int:
    told = record.tags.get(RETRY, "")
    return int(told) if told.isdigit() else 0


def _failed(record: Record) -> bool:
    return record.status is Status.FAILED


def _holds(value: Value, given: Any) -> bool:
    if isinstance(value, tuple):
        return (
            isinstance(given, list | tuple)
            and len(given) == len(value)
            and all(contains(one, each) for one, each in zip(value, given, strict=True))
        )
    return contains(value, given)


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
    except Exception:  # arrays, and classes of the user's own
        return False


def _text(value: Value) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)
