"""What was recorded, as a table: the runs of a store that somebody asks for, thousands of them in a second.

A store that is a database is read with a few statements; of a server, MLflow's client is asked. Both give the same.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.filters import read_name
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.projects import find_root, has_store
from ml_experiment_nb.readings import RunQuery, id_of, wanted
from ml_experiment_nb.records import Record, Records

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_PADDED = re.compile(r"[+-]?0\d")
_LOOKED_AT = 1000  # runs, the newest, among which a name is looked for that finds none


def runs(
    experiment: str | None = None,
    *,
    kind: str | None = None,
    group: str | Record | Records | None = None,
    status: str | None = None,
    where: str | None = None,
    order_by: str | None = None,
    limit: int | None = None,
    tags: bool = False,
) -> pd.DataFrame:
    """Return the runs of the store in use as a DataFrame with a row for each, the newest first.

    Its columns are ``run_id``, ``name``, ``experiment``, ``kind``, ``status``, ``started`` (UTC), ``seconds``,
    ``group`` (the run that it belongs to) and ``trial`` (its number there), then ``params.*``, ``metrics.*`` and, where
    they are asked for, ``tags.*``. A parameter whose values are all numbers is a column of numbers.

    Args:
        experiment: Only those of this MLflow experiment.
        kind: Only those of this kind: ``experiment``, ``group`` or ``trial``.
        group: Only the trials of this group: its records, its record, its run id, or the beginning of it.
        status: Only those that are ``running``, ``finished``, ``failed``, ``pruned`` or ``killed``.
        where: Only those that meet a condition: ``metrics.val_accuracy > 0.9 and params.kernel = 'rbf'``.
        order_by: ``metrics.loss``, ``params.C``, ``seconds`` …, the lowest first; with ``DESC`` behind it, the highest.
        limit: At most so many.
        tags: With a column for each tag.

    Raises:
        RunNotFoundError: There is no such experiment or group.
        SpecError: `where`, `order_by` or another argument can't be read.
        StoreError: The store can't be reached.
    """
    asked = wanted(
        experiment=experiment, kind=kind, status=status, condition=where, order_by=order_by, limit=limit, tags=tags
    )
    found = listed(find_root(), asked, group=group)
    _warn_of_unknown(asked, found, group)
    return as_frame(found, tags=tags)


def best_run(
    experiment: str | None = None,
    *,
    maximize: str | None = None,
    minimize: str | None = None,
    group: str | Record | Records | None = None,
    where: str | None = None,
) -> Record | None:
    """Return the record of the finished run with the best value of a metric; None where no run has it.

    Args:
        experiment: Only among those of this MLflow experiment.
        maximize: The metric that should be high …
        minimize: … or the one that should be low.
        group: Only among the trials of this group; see `runs`.
        where: Only among those that meet a condition; see `runs`.

    Raises:
        RunNotFoundError: There is no such experiment or group.
        SpecError: There is no metric, more than one, or one that is sampled of the machine.
        StoreError: The store can't be reached.
    """
    if (maximize is None) == (minimize is None):
        raise SpecError("say which metric is best: maximize='val_accuracy', or minimize='loss'")
    name = read_name(f"metrics.{str(maximize or minimize).removeprefix('metrics.')}")
    asked = replace(
        wanted(experiment=experiment, status="finished", condition=where, limit=1, tags=True),
        order=name,
        descending=maximize is not None,
    )
    found = listed(find_root(), asked, group=group)
    _warn_of_unknown(asked, found, group)
    value = name.of(found[0]) if found else None
    return found[0] if value is not None and value == value else None


def listed(
    root: Path,
    asked: RunQuery,
    *,
    group: str | Record | Records | None = None,
    closed: Callable[[Sequence[Record]], None] | None = None,
) -> Sequence[Record]:
    """Return the records that are wanted. Runs of this project whose driver is dead are closed first.

    Args:
        root: The project's root.
        asked: Which runs.
        group: Only the trials of this run: its records, its record, or its id; the beginning of that is enough.
        closed: Is told which runs were closed.

    Raises:
        RunNotFoundError: There is no such experiment or group.
        StoreError: The store can't be reached.
    """
    if not has_store(root):
        return []
    store = opened_archive(root, closed=closed)
    if group is not None:
        run = group.parent if isinstance(group, Records) else group
        asked = replace(asked, group=store.record(id_of(run)).run_id)
    return store.listed(asked)


def unknown_name(
    root: Path, asked: RunQuery, found: Sequence[Record], *, group: str | Record | Records | None = None
) -> str | None:
    """Say which name that runs are found or ordered by none of them has: most often one that is misspelt.

    Args:
        root: The project's root.
        asked: Which runs.
        found: What was found.
        group: Only the trials of this run.
    """
    names, which = [asked.order] if asked.order is not None else [], "the runs"
    if asked.condition is not None and not found:
        names += asked.condition.names
        has_tags = any(name.kind == "tags" for name in names)
        among = replace(asked, condition=None, order=None, limit=_LOOKED_AT, tags=has_tags)
        found = listed(root, among, group=group)
        which = "the runs" if len(found) < _LOOKED_AT else f"the newest {_LOOKED_AT:,} runs"
    for name in names:
        if name.kind == "attributes" or not found or any(name.of(one) is not None for one in found):
            continue
        places = {"params": [one.params for one in found], "metrics": [one.metrics for one in found]}
        places["tags"] = [one.tags for one in found]
        known = _names(each for kind, every in places.items() if name.kind in ("", kind) for each in every)
        what = {"params": "parameter", "tags": "tag"}.get(name.kind, "metric")
        return f"none of {which} has a {what} {name.key!r}{nearest(name.key, known)}"
    return None


def _warn_of_unknown(asked: RunQuery, found: Sequence[Record], group: str | Record | Records | None) -> None:
    if (problem := unknown_name(find_root(), asked, found, group=group)) is not None:
        warnings.warn(problem, stacklevel=3)


def as_frame(records: Sequence[Record], *, tags: bool = False) -> pd.DataFrame:
    """Return records as a DataFrame; see `runs`."""
    import pandas as pd

    columns: dict[str, Any] = {
        "run_id": [one.run_id for one in records],
        "name": [one.name for one in records],
        "experiment": [one.experiment for one in records],
        "kind": [one.kind for one in records],
        "status": [one.status.value for one in records],
        "started": pd.to_datetime([one.started for one in records], utc=True),
        "seconds": [one.seconds for one in records],
        "group": [one.parent_id for one in records],
        "trial": pd.array([one.number for one in records], dtype="Int64"),
    }
    for name in _names(one.params for one in records):
        columns[f"params.{name}"] = _numbers([one.params.get(name) for one in records])
    for name in _names(one.metrics for one in records):
        columns[f"metrics.{name}"] = [one.metrics.get(name) for one in records]
    for name in _names(one.tags for one in records) if tags else ():
        columns[f"tags.{name}"] = [one.tags.get(name) for one in records]
    return pd.DataFrame(columns)


def _names(each: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({name for one in each for name in one})


def _numbers(texts: list[Any]) -> Any:
    """Return a column of numbers where all that is there reads as one, else the column as it is."""
    import pandas as pd

    try:
        numbers = [None if one is None else _number(one) for one in texts]
    except ValueError:
        return texts
    whole = all(one is None or isinstance(one, int) for one in numbers)
    return pd.array(numbers, dtype="Int64") if whole else [math.nan if one is None else one for one in numbers]


def _number(text: Any) -> int | float:
    """Return the number that a text is.

    Raises:
        ValueError: It is none, or would not be the same text again, as a number that begins with 0.
    """
    word = str(text)
    if _WHOLE.fullmatch(word):
        return int(word)
    if "_" in word or _PADDED.match(word):
        raise ValueError(word)
    return float(word)
