"""MLflow's tables, read with a few statements of SQL: no MLflow is imported, and a run costs microseconds.

They are only ever read, and MLflow makes them. Where they aren't as they are known here, whoever asks takes MLflow's
own client (`tracking.Store.listed`), which knows what to say of it.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    TableClause,
    and_,
    case,
    column,
    create_engine,
    func,
    select,
    table,
    true,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.readings import (
    OWN_TAGS,
    PARENT,
    RETRIED,
    DataSet,
    Kept,
    Point,
    RunQuery,
    chosen,
    named,
    not_found,
    record_of,
)
from ml_experiment_nb.records import Record
from ml_experiment_nb.sqlite_files import again_when_written, may_be_written, reading
from ml_experiment_nb.stores import is_database, sqlite_file

_FEW = 2000  # runs whose parameters, metrics and tags are asked for by their ids; of more, all are read and sorted out
_BATCH = 500
_WHOLE = 32  # characters of a run's id
_LARGEST = 2**63 - 1  # what a database takes for a number

_experiments = table("experiments", column("experiment_id"), column("name"), column("lifecycle_stage"))
_runs = table(
    "runs",
    *map(column, ("run_uuid", "name", "experiment_id", "status", "start_time", "end_time", "artifact_uri")),
    column("lifecycle_stage"),
)
_params = table("params", column("run_uuid"), column("key"), column("value"))
_metrics = table("latest_metrics", column("run_uuid"), column("key"), column("value"), column("is_nan", Boolean))
_history = table("metrics", *map(column, ("run_uuid", "key", "value", "timestamp", "step")), column("is_nan", Boolean))
_tags = table("tags", column("run_uuid"), column("key"), column("value"))
_inputs = table("inputs", *map(column, ("source_id", "destination_type", "destination_id")))
_data_sets = table(
    "datasets", *map(column, ("dataset_uuid", "name", "digest", "dataset_source_type", "dataset_source"))
)


def is_sql(uri: str) -> bool:
    """Return whether a store is a database that can be read here, and that is there."""
    if os.environ.get("MLFLOW_ENABLE_WORKSPACES", "").lower() in ("true", "1"):  # its runs aren't everybody's
        return False
    if not uri.startswith("sqlite"):
        return is_database(uri)
    try:
        file = sqlite_file(uri)
    except ArgumentError:  # MLflow says what is wrong with it
        return False
    return file is not None and file.is_file()


def listed(uri: str, wanted: RunQuery) -> list[Record] | None:
    """Return the records that are wanted of a store; None where it is no database, or one that can't be read here.

    Raises:
        RunNotFoundError: There is no such experiment.
    """
    if is_sql(uri):
        with suppress(SQLAlchemyError, ImportError):  # a driver that is missing, too: MLflow says better what is wrong
            return list_records(uri, wanted)
    return None


@again_when_written
def list_records(uri: str, wanted: RunQuery) -> list[Record]:
    """Return the records that are wanted of a store.

    Raises:
        RunNotFoundError: There is no such experiment.
        SQLAlchemyError: The tables can't be read.
    """
    with _connected(uri) as connection, _uncollected() if uri.startswith("sqlite") else nullcontext():
        names = _names(connection, uri, wanted.experiment)
        asked, is_exact = _statement(names, wanted)
        found = connection.execute(asked).fetchall()
        reader = _Reader(connection, names, wanted)
        if wanted.limit is not None and not is_exact:  # what decides is read first, of all; then the rest, of the few
            chosen_ones = [one.run_id for one in wanted.select(reader.records(found, wanted.keys))]
            rows = {row[0]: row for row in found}
            found = [rows[run_id] for run_id in chosen_ones]
        return wanted.select(reader.records(found, None))


@again_when_written
def run_id_of(uri: str, beginning: str) -> str:
    """Return the id of the run that it, or the beginning of it, stands for.

    Raises:
        RunNotFoundError: None, or more than one, has it.
        SQLAlchemyError: The tables can't be read.
    """
    found: Sequence[str] = []
    if beginning.isalnum():
        active = select(_experiments.c.experiment_id).where(_experiments.c.lifecycle_stage == "active")
        mine = _runs.c.run_uuid.startswith(beginning)
        asked = select(_runs.c.run_uuid).where(mine, _runs.c.lifecycle_stage == "active")
        with _connected(uri) as connection:
            found = connection.execute(asked.where(_runs.c.experiment_id.in_(active)).limit(4)).scalars().all()
    return chosen(beginning, found, without_password(uri))


@again_when_written
def record(uri: str, run_id: str) -> Record | None:
    """Return the record of a run with all of its tags, by its id or the beginning of it; a deleted one by its whole id.

    Returns:
        The record; None where the store is no database, or one that can't be read here.

    Raises:
        RunNotFoundError: None, or more than one, has it.
    """
    if not is_sql(uri):
        return None
    with suppress(SQLAlchemyError, ImportError):
        whole = run_id if len(run_id) == _WHOLE else run_id_of(uri, run_id)
        with _connected(uri) as connection:
            rows = connection.execute(_fields().where(_runs.c.run_uuid == whole)).fetchall()
            if not rows:
                raise not_found(run_id, without_password(uri))
            where = rows[0].experiment_id
            asked = select(_experiments.c.name).where(_experiments.c.experiment_id == where)
            name = str(connection.execute(asked).scalar_one())
            return _Reader(connection, {where: name}, RunQuery(tags=True)).records(rows, None)[0]
    return None


@again_when_written
def history(uri: str, record: Record, metric: str | None = None) -> list[Point] | None:
    """Return all that a run has reported of its metrics, or of one; None where the store can't be read here."""
    if not is_sql(uri):
        return None
    value = case((_history.c.is_nan == true(), None), else_=_history.c.value)
    asked = select(_history.c.key, _history.c.step, _history.c.timestamp, value)
    asked = asked.where(_history.c.run_uuid == record.run_id)
    asked = asked.where(_history.c.key == metric) if metric is not None else asked
    asked = asked.order_by(_history.c.key, _history.c.step, _history.c.timestamp)
    with suppress(SQLAlchemyError, ImportError), _connected(uri) as connection:
        rows = connection.execute(asked).fetchall()
        every = (Point(key, step, moment, math.nan if one is None else one) for key, step, moment, one in rows)
        return [one for one in every if metric is not None or one.metric in record.metrics]
    return None


@again_when_written
def data_sets(uri: str, run_id: str) -> list[DataSet] | None:
    """Return the data that a run says to have read; None where the store can't be read here."""
    if not is_sql(uri):
        return None
    one = _data_sets.c
    asked = select(one.name, one.digest, one.dataset_source_type, one.dataset_source)
    asked = asked.join_from(_inputs, _data_sets, _inputs.c.source_id == one.dataset_uuid)
    asked = asked.where(_inputs.c.destination_type == "RUN", _inputs.c.destination_id == run_id)
    with suppress(SQLAlchemyError, ImportError), _connected(uri) as connection:
        return [DataSet(*row) for row in connection.execute(asked)]
    return None


@contextmanager
def _connected(uri: str) -> Iterator[Connection]:
    with ExitStack() as stack:
        file = sqlite_file(uri)
        if file is None or may_be_written(file):
            engine = create_engine(uri, poolclass=NullPool)
        else:
            engine = create_engine("sqlite://", creator=stack.enter_context(reading(file)), poolclass=NullPool)
        stack.callback(engine.dispose)
        yield stack.enter_context(engine.connect())


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have no garbage looked for: of what a hundred thousand rows are made, none is any, and looking takes as long.

    It is for a file that is read at once: a server's answer would have the whole process wait without it.
    """
    was_on = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was_on:
            gc.enable()


def _names(connection: Connection, uri: str, experiment: str | None) -> dict[int, str]:
    """Return the names of the experiments whose runs may be wanted, by their ids."""
    asked = select(_experiments.c.experiment_id, _experiments.c.name).where(_experiments.c.lifecycle_stage == "active")
    names = {one: str(name) for one, name in connection.execute(asked)}
    return named(names, experiment, without_password(uri))


def _statement(names: Collection[int], wanted: RunQuery) -> tuple[Select[Any], bool]:
    """Return the statement that finds the runs, and whether it finds no more than are wanted, in their order."""
    runs = _runs.c
    asked = _fields().where(runs.lifecycle_stage == "active", runs.experiment_id.in_(list(names)))
    if wanted.kind is not None:
        asked = asked.where(func.coalesce(_tag("mlexp.kind"), "experiment") == wanted.kind)
    if wanted.group is not None:
        asked = asked.where(_tag(PARENT) == wanted.group, _tag(RETRIED).is_(None))
    if wanted.status is not None:
        mlflows = case((runs.status == "SCHEDULED", "running"), else_=func.lower(runs.status))
        asked = asked.where(func.coalesce(_tag("mlexp.status"), mlflows) == wanted.status)
    asked = asked.where(*[_tag(name) == value for name, value in wanted.tagged])
    order: list[ColumnElement[Any]] = []
    if wanted.order is not None and wanted.order.kind == "metrics":
        metric = _metrics.alias()
        mine = and_(metric.c.run_uuid == runs.run_uuid, metric.c.key == wanted.order.key)
        asked = asked.outerjoin_from(_runs, metric, mine)
        value = case((metric.c.is_nan == true(), None), else_=metric.c.value)
        order = [case((value.is_(None), 1), else_=0), value.desc() if wanted.descending else value]
    if wanted.limit is None or wanted.condition is not None or (wanted.order is not None and not order):
        return asked, False
    return asked.order_by(*order, runs.start_time.desc(), runs.run_uuid).limit(min(wanted.limit, _LARGEST)), True


def _fields() -> Select[Any]:
    """Return the statement that asks for all that the table of runs has of each."""
    runs = _runs.c
    return select(
        runs.run_uuid, runs.name, runs.experiment_id, runs.status, runs.start_time, runs.end_time, runs.artifact_uri
    )


def _tag(name: str) -> ScalarSelect[Any]:
    """Return the value of a run's tag."""
    return select(_tags.c.value).where(_tags.c.run_uuid == _runs.c.run_uuid, _tags.c.key == name).scalar_subquery()


class _Reader:
    """Reads what runs have.

    Args:
        connection: The store's.
        names: The experiments that they belong to.
        wanted: What is asked of them.
    """

    def __init__(self, connection: Connection, names: Mapping[int, str], wanted: RunQuery) -> None:
        self._connection = connection
        self._names = names
        self._wanted = wanted

    def records(self, rows: Sequence[Any], keys: Collection[str] | None) -> list[Record]:
        """Return the records of some runs, with the parameters and metrics of these names; None is all of them."""
        ids = [row[0] for row in rows]
        params = self._of(_params, ids, keys)
        metrics = self._of(_metrics, ids, keys)
        all_tags = self._wanted.tags and keys is None
        tags = self._of(_tags, ids, None if all_tags else (*OWN_TAGS, *self._wanted.keys, *self._wanted.named))
        found = []
        for run_id, name, experiment, status, start, end, uri in rows:
            place = (uri, params[run_id], metrics[run_id], tags[run_id])
            found.append(record_of(Kept(run_id, name, self._names[experiment], status, start or 0, end, *place)))
        return found

    def _of(self, where: TableClause, ids: Sequence[str], keys: Collection[str] | None) -> dict[str, dict[str, Any]]:
        """Return what runs have in a table, by name, for each of them."""
        found: dict[str, dict[str, Any]] = {one: {} for one in ids}
        if keys is not None and not keys:
            return found
        value = case((where.c.is_nan == true(), None), else_=where.c.value) if where is _metrics else where.c.value
        asked = select(where.c.run_uuid, where.c.key, value)
        if keys is not None:
            asked = asked.where(where.c.key.in_(list(keys)))
        for condition in self._conditions(where, ids):
            last, mine = None, None  # what a run has mostly lies together
            rows: Any = self._connection.execute(asked.where(*condition)).cursor  # plain tuples: half of the time
            for run_id, key, one in rows:
                if run_id != last:
                    last, mine = run_id, found.get(run_id)
                if mine is not None:
                    mine[key] = one
        if where is _metrics:
            for values in found.values():
                if None in values.values():
                    values |= {key: math.nan for key, one in values.items() if one is None}
        return found

    def _conditions(self, where: TableClause, ids: Sequence[str]) -> Iterator[list[ColumnElement[bool]]]:
        if len(ids) <= _FEW:
            for first in range(0, len(ids), _BATCH):
                yield [where.c.run_uuid.in_(ids[first : first + _BATCH])]
        elif len(ids) * 2 > self._all:  # looking for each costs more than what isn't wanted
            yield []
        elif self._wanted.group is not None:
            mine = select(_tags.c.run_uuid).where(_tags.c.key == PARENT, _tags.c.value == self._wanted.group)
            yield [where.c.run_uuid.in_(mine)]
        else:
            yield [where.c.run_uuid.in_(select(_runs.c.run_uuid).where(_runs.c.experiment_id.in_(list(self._names))))]

    @cached_property
    def _all(self) -> int:
        """How many runs the store has."""
        return self._connection.execute(select(func.count()).select_from(_runs)).scalar_one()
