"""Many runs as one table: a row for each, the middle of a long list left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_experiment_nb.markup import Column, Table, folded
from ml_experiment_nb.quantities import duration, is_number, number

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record, Records

MOST, TAIL = 40, 5  # rows that are shown, and how many of these are the last ones
COLUMNS = 20  # parameters and metrics that are shown
BEST = "★"


def overview(records: Records, *, most: int = MOST, columns: int = COLUMNS) -> Table:
    """Return records as a table, in their order: name, status, duration, parameters, metrics, and the run's id.

    Args:
        records: The records.
        most: How many of them are shown, if there are many more.
        columns: How many parameters and metrics are shown: those that were optimised, then the first ones.
    """
    first, last = folded(len(records), most, TAIL)
    best = records.best
    wanted, left = _columns(records, columns)
    kept = [records[k] for k in (*first, *last)]
    rows = tuple(
        (_name(one, best), one.status.shown, duration(one.seconds), *_values(one, wanted), (one.run_id or "")[:8])
        for one in kept
    )
    titles = [Column(title, all(map(is_number, _held(kept, group, name)))) for (group, name), title in wanted.items()]
    shown = (Column("run"), Column("status"), Column("took", numeric=True), *titles, Column("id"))
    told = summary(records) + (f"; {left} columns more are not shown" if left else "")
    return Table(told, shown, rows, len(records) - len(kept), len(first) if last else 0)


def summary(records: Records) -> str:
    """Return what came of records, in a line: how many there are, how they ended, and which one is the best."""
    count = f"{len(records):,} run{'s' * (len(records) != 1)}"
    parts = [f"{count} of {records.parent.name}" if records.parent is not None else count]
    ended = Counter(one.status for one in records)
    if len(records):
        parts.append(", ".join(f"{n:,} {status}" for status, n in ended.most_common()))
    if (best := records.best) is not None and records.metric is not None:
        parts.append(f"best {records.metric} {number(best.metrics[records.metric])} in {best.name} {BEST}")
    elif len(records.goals) > 1:
        parts.append(f"{len(records.front)} on the front of {', '.join(name for name, _ in records.goals)}")
    return "; ".join(parts)


def _name(record: Record, best: Record | None) -> str:
    return f"{record.name} {BEST}" if record is best else record.name


def _columns(records: Records, most: int) -> tuple[dict[tuple[str, str], str], int]:
    """Return the columns of parameters and metrics with their titles, and how many more there are."""
    params = dict.fromkeys(name for one in records for name in one.params)
    metrics = dict.fromkeys((*(name for name, _ in records.goals), *(name for one in records for name in one.metrics)))
    every = [("metrics", name) for name, _ in records.goals]
    every += [("params", name) for name in params]
    every += [("metrics", name) for name in metrics if name not in dict(records.goals)]
    kept = {*every[:most]}
    both = params.keys() & metrics.keys()
    ordered = [*(("params", name) for name in params), *(("metrics", name) for name in metrics)]
    titles = {(group, name): f"{group}.{name}" if name in both else name for group, name in ordered}
    return {one: title for one, title in titles.items() if one in kept}, len(every) - len(kept)


def _held(records: Sequence[Record], group: str, name: str) -> list[Any]:
    return [values[name] for one in records if name in (values := _of(one, group))]


def _values(record: Record, wanted: Mapping[tuple[str, str], str]) -> list[str]:
    return [number(values[name]) if name in (values := _of(record, group)) else "" for group, name in wanted]


def _of(record: Record, group: str) -> Mapping[str, Any]:
    return record.params if group == "params" else record.metrics
