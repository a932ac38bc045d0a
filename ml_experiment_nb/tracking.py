"""The tracking store by MLflow's client: runs written and read as records, and the files that they are given."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

from ml_experiment_nb import sqlstore
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.archive import Archive
from ml_experiment_nb.artifact_stores import artifact_root, location, refusals, send
from ml_experiment_nb.capture.inputs import Input, as_json
from ml_experiment_nb.drivers import Hold
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.readings import PARENT, DataSet, Kept, Point, RunQuery, chosen, named, not_found, record_of
from ml_experiment_nb.records import Record
from ml_experiment_nb.stores import is_refusal, opening, settle, store_uri, translated

_PAGE = 1000  # runs that are asked for at once


class Store(Archive):
    """The tracking store in use: ``MLFLOW_TRACKING_URI``, or the project's own.

    Args:
        root: The project's root.

    Raises:
        StoreError: It can't be reached, or its schema is another MLflow's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = store_uri(root)
        self.artifact_root = artifact_root(root, self.uri)  # None where a server has its own
        self._experiments: dict[str, str] = {}
        self._unanswered: defaultdict[int, list[Hold]] = defaultdict(list)
        for name in ("alembic", "mlflow.tracking.fluent"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # it prints the traceback of each error that it raises, and a store that is full or away is tried again
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        with opening(self.uri, root, _make_tables):
            self.client = MlflowClient(self.uri)
            # As it closes a run of a server's, it prints the run's address, password included, among what we print.
            vars(self.client._tracking_client)["_log_url"] = lambda run_id: None
            self.client.search_experiments(max_results=1)  # creates the tables of a new database on a server

    @property
    def unanswered(self) -> list[Hold]:
        """This thread's holds on runs that were to be opened: nobody knows whether they are there."""
        return self._unanswered[threading.get_ident()]

    def settle(self) -> None:
        """Leave the store's files as they should be found when nothing runs any more."""
        settle(self.uri)

    def experiment_id(self, name: str) -> str:
        """Return the id of the MLflow experiment of that name, which is made, or brought back, if need be."""
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                self._experiments[name] = self._create_experiment(name)
            else:
                if found.lifecycle_stage == "deleted":
                    self.client.restore_experiment(found.experiment_id)
                self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def listed(self, wanted: RunQuery) -> list[Record]:
        """Return the records that are wanted: by SQL where the store is a database, else by MLflow's client.

        Raises:
            RunNotFoundError: There is no such experiment.
            StoreError: The store can't be reached.
        """
        found = sqlstore.listed(self.uri, wanted)
        return self.listed_by_client(wanted) if found is None else found

    def listed_by_client(self, wanted: RunQuery) -> list[Record]:
        """Return the records that are wanted as MLflow's client lists them, whatever the store; see `listed`."""
        tagged = {**dict(wanted.tagged), **({PARENT: wanted.group} if wanted.group else {})}
        condition = _with_tags(tagged)
        with translated(self.uri):
            active = {one.experiment_id: one.name for one in self._active_experiments()}
            names = named(active, wanted.experiment, without_password(self.uri))
            found: list[Record] = []
            token = None
            while names:
                page = self.client.search_runs(
                    list(names),
                    filter_string=condition,
                    max_results=_PAGE if wanted.limit is None else max(100, min(_PAGE, wanted.limit)),
                    order_by=["attributes.start_time DESC"],
                    page_token=token,
                )
                found += [_record(run, names[run.info.experiment_id]) for run in page]
                is_enough = wanted.limit is not None and wanted.order is None
                if is_enough and len(wanted.select(found)) == wanted.limit:
                    break  # they come with the newest first
                if not (token := page.token):
                    break
        return wanted.select(found)

    def record(self, run_id: str) -> Record:
        """Return the record of a run, by its id or the beginning of it.

        Raises:
            RunNotFoundError: None, or more than one, has it.
        """
        with translated(self.uri):
            run = self.run(run_id)
            name = self.client.get_experiment(run.info.experiment_id).name
        return _record(run, name)

    def history(self, record: Record, metric: str | None = None) -> list[Point]:
        """Return all that a run has reported of its metrics, or of one, in the order of their names and steps.

        Raises:
            StoreError: The store can't be reached.
        """
        if (found := sqlstore.history(self.uri, record, metric)) is not None:
            return found
        names = sorted(record.metrics) if metric is None else [metric]
        with translated(self.uri):
            each = [self.client.get_metric_history(str(record.run_id), name) for name in names]
        points = (Point(one.key, one.step, one.timestamp, one.value) for values in each for one in values)
        return sorted(points, key=lambda one: one[:3])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run that has ended."""
        with translated(self.uri):
            self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> list[str]:
        """Write a batch, and return what of it the store refuses, which doesn't keep it from the rest.

        Raises:
            StoreError: The store can't be written.
        """
        try:
            with translated(self.uri):
                self.client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
        except StoreError as error:
            if not is_refusal(error):
                raise
            return self._log_apart(run_id, metrics, params, tags)
        return []

    def _log_apart(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> list[str]:
        refused = []
        parts: list[tuple[str, Sequence[Metric], Sequence[Param], Sequence[RunTag]]] = [
            ("metrics", metrics, [], []),
            ("tags", [], [], tags),
            *((f"parameter {one.key!r}", [], [one], []) for one in params),
        ]
        for what, some, given, told in parts:
            try:
                with translated(self.uri):
                    self.client.log_batch(run_id, metrics=some, params=given, tags=told)
            except StoreError as error:
                if not is_refusal(error):
                    raise
                refused.append(f"the store refused the {what}: {error}")
        return refused

    def log_inputs(self, run_id: str, inputs: Sequence[Input]) -> None:
        """Say which data a run reads: MLflow's data set inputs."""
        entities = [
            Dataset(
                one.name[:500],
                one.digest,
                one.kind,
                str(as_json(one.source)),
                as_json(one.schema),
                as_json(one.profile),
            )
            for one in inputs
        ]
        self.client.log_inputs(run_id, [DatasetInput(one, []) for one in entities])

    def data_sets(self, record: Record) -> list[DataSet]:
        """Return the data that a run says to have read.

        Raises:
            StoreError: The store can't be reached.
        """
        with translated(self.uri):
            inputs = self.client.get_run(str(record.run_id)).inputs
        found = [one.dataset for one in (inputs.dataset_inputs if inputs else ())]
        return [DataSet(one.name, one.digest, one.source_type, one.source) for one in found]

    def tagged(self, tag: str, value: str) -> Run | None:
        """Return the run that has a tag of that value."""
        ids = [one.experiment_id for one in self._active_experiments()]
        found = self.client.search_runs(ids, f"tags.`{tag}` = '{value}'", max_results=1)
        return found[0] if found else None

    def kept_content(self, record: Record, path: str) -> bytes | None:
        """Return one of the artifacts that the store has of a run; None when there is none, or it can't be read."""
        with translated(self.uri), tempfile.TemporaryDirectory() as folder:
            with suppress(MlflowException, OSError), refusals(str(record.artifact_uri)):
                return Path(self.client.download_artifacts(str(record.run_id), path, folder)).read_bytes()
            return None

    def files(self, record: Record) -> dict[str, int]:
        """Return the paths of a run's artifacts, in order, and their sizes in bytes.

        Raises:
            StoreError: They can't be listed.
        """
        with translated(self.uri), refusals(str(record.artifact_uri)):
            return dict(sorted(self._walk(str(record.run_id), None)))

    def take_files(self, record: Record, folder: Path) -> None:
        """Make the files in a folder a run's artifacts; where they can be moved, the folder is gone afterwards.

        Raises:
            StoreError: The artifact store is away.
            MlflowException: It doesn't take them.
            OSError: They can't be read or written.
        """
        send(str(record.artifact_uri), folder, self.uri)

    def _walk(self, run_id: str, path: str | None) -> Iterator[tuple[str, int]]:
        for one in self.client.list_artifacts(run_id, path):
            if one.is_dir:
                yield from self._walk(run_id, one.path)
            else:
                yield one.path, int(one.file_size or 0)

    def family(self, run_id: str, *, deleted: bool, tags: Mapping[str, str] | None = None) -> list[str]:
        """Return the ids of the runs that belong to a run, its lost tries too.

        Args:
            run_id: The run.
            deleted: Whether those that are deleted, or the others.
            tags: Only those with these tags.

        Raises:
            StoreError: The store can't be reached.
        """
        view, token, found = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY, None, []
        with translated(self.uri):
            where = [self.run(run_id).info.experiment_id]
            condition = _with_tags({PARENT: run_id, **(tags or {})})
            while True:
                page = self.client.search_runs(where, condition, view, max_results=_PAGE, page_token=token)
                found += [str(one.info.run_id) for one in page]
                if not (token := page.token):
                    return found

    def is_deleted(self, run_id: str) -> bool:
        """Return whether a run was deleted, and can be restored.

        Raises:
            RunNotFoundError: There is no such run.
            StoreError: The store can't be reached.
        """
        with translated(self.uri):
            return str(self.run(run_id).info.lifecycle_stage) == "deleted"

    def run(self, run_id: str) -> Run:
        """Return MLflow's run, by its id or the beginning of it; see `record`."""
        if len(run_id) == 32:
            try:
                return self.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
        elif run_id.isalnum():
            ids = [one.experiment_id for one in self._active_experiments()]
            like = self.client.search_runs(ids, f"attributes.run_id LIKE '{run_id}%'", max_results=4)
            if len(like) == 1:
                return like[0]
            chosen(run_id, [run.info.run_id for run in like], without_password(self.uri))
        raise not_found(run_id, without_password(self.uri))

    def _active_experiments(self) -> Iterator[Experiment]:
        token = None
        while True:
            page = self.client.search_experiments(view_type=ViewType.ACTIVE_ONLY, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _create_experiment(self, name: str) -> str:
        where = location(self.artifact_root, name) if self.artifact_root is not None else None
        try:
            made: str = self.client.create_experiment(name, artifact_location=where)
        except MlflowException:
            found = self.client.get_experiment_by_name(name)  # another process was quicker
            if found is None:
                raise
            return str(found.experiment_id)
        return made


def _make_tables(uri: str) -> None:
    engine = create_sqlalchemy_engine(uri)
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()


def _with_tags(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{name}` = {_quoted(value)}" for name, value in tags.items())


def _quoted(value: str) -> str:
    """Return a text as MLflow's conditions have it; it knows no escape."""
    return f'"{value}"' if "'" in value else f"'{value}'"


def _record(run: Run, experiment: str) -> Record:
    info, data = run.info, run.data
    return record_of(
        Kept(
            run_id=info.run_id,
            name=info.run_name,
            experiment=experiment,
            status=info.status,
            start=info.start_time or 0,
            end=info.end_time,
            artifact_uri=info.artifact_uri,
            params=dict(data.params),
            metrics=dict(data.metrics),
            tags=dict(data.tags),
        )
    )
