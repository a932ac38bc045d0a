"""The run of the same cell before this one: remembered in the session for nothing, else asked of the store.

A cell is known again by its id, which JupyterLab says, and else by its code without its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_experiment_nb import sqlstore
from ml_experiment_nb.readings import RunQuery
from ml_experiment_nb.records import Record
from ml_experiment_nb.stores import store_uri

CELL = "mlexp.cell"
_BY = (CELL, "mlexp.code_hash")

_last: dict[tuple[str, str, str], Record] = {}
goals: dict[str, bool] = {}
"""Of metrics that groups of this session optimised, whether more of them is better."""


def remember(record: Record) -> None:
    """Remember a run that has finished, for the next one of its cell."""
    if record.ok:
        _last.update(dict.fromkeys(_keys(record), record))


def remember_goals(wanted: Iterable[tuple[str, bool]]) -> None:
    """Remember which way is better of metrics."""
    goals.update(wanted)


def remembered(record: Record) -> Record | None:
    """Return the last finished run of this session that came of the same cell as another one."""
    return next((_last[key] for key in _keys(record) if key in _last), None)


def in_store(record: Record, root: Path) -> Record | None:
    """Return the last finished run of the store, before another one, that came of the same cell; looking makes none.

    Raises:
        StoreError: The store can't be reached.
    """
    uri = store_uri(root)
    for experiment, tag, value in _keys(record):
        asked = RunQuery(experiment, kind=record.kind, status="finished", tagged=((tag, value),), limit=2)
        found = sqlstore.listed(uri, asked)
        if found is None and uri.startswith("sqlite") and not sqlstore.is_sql(uri):
            return None  # its file has gone: opening it now would make another one
        if found is None:
            from ml_experiment_nb.tracking import Store

            found = Store(root).listed_by_client(asked)
        for one in found:
            if one.run_id != record.run_id and one.started <= record.started:
                return _named_as(one, record)
    return None


def _named_as(found: Record, record: Record) -> Record:
    """Return a run of the store with the names that another has: MLflow takes some of them otherwise."""
    from ml_experiment_nb.entries import key_of

    def named(values: Mapping[str, Any], like: Iterable[str]) -> dict[str, Any]:
        names = {key_of(name): name for name in like}
        return {names.get(key, key): value for key, value in values.items()}

    params, metrics = named(found.params, record.params), named(found.metrics, record.metrics)
    return replace(found, params=params, metrics=metrics)


def _keys(record: Record) -> Iterator[tuple[str, str, str]]:
    for tag in _BY:
        if tag in record.tags:
            yield record.experiment, tag, record.tags[tag]
