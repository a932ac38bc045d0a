"""Runs opened, and opened again, in a store that may go away just then: then the run may be there all the same."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

from ml_experiment_nb import events, secrecy
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.packages import as_requirements
from ml_experiment_nb.drivers import NEW, Driver, Hold, folders, this_driver
from ml_experiment_nb.entries import PARAM_LENGTH, TAG_LENGTH, key_of, run_tags, snapshot_tags
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.masking import masked
from ml_experiment_nb.projects import home
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Record, Status, now
from ml_experiment_nb.secrecy import recognised, secrets_seen
from ml_experiment_nb.stores import check, is_refusal, translated
from ml_experiment_nb.tracking import Store

_asking = threading.Lock()
PAUSES = (0.2, 1.0)  # seconds before a store that is there, and did not answer, is asked again


def open_run(
    store: Store,
    *,
    name: str,
    experiment: str,
    kind: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    snapshot: Snapshot,
    parent_id: str | None = None,
    number: int | None = None,
    at_once: bool = True,
) -> OpenRun:
    """Open a run and record what is known at its start; its parameters with what follows, if not `at_once`.

    Raises:
        StoreError: The store can't be written.
    """
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
    name, params, started = masked(name), recognised(dict(params)), now()
    with translated(store.uri):
        check(store.uri)
    driver = this_driver(
        store=without_password(store.uri), name=name, kind=kind, parent=parent_id, number=number,
        params={key_of(one): masked(text_of(value))[:PARAM_LENGTH] for one, value in params.items()},
    )  # fmt: skip
    everything = {
        "mlexp.kind": kind,
        **snapshot_tags(snapshot),
        **({"mlflow.parentRunId": parent_id} if parent_id else {}),
        **({"mlexp.trial": str(number)} if number is not None else {}),
        **tags,
    }
    everything = {name: masked(value) for name, value in everything.items()}

    def create(driver: Driver) -> Run:
        given = {key_of(name): value[:TAG_LENGTH] for name, value in everything.items()}
        return store.client.create_run(
            store.experiment_id(experiment),
            start_time=int(started.timestamp() * 1000),
            tags=given | {"mlexp.driver": driver.tag},
            run_name=name,
        )

    run, hold = _opened(store, driver, create)
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    everything["mlexp.driver"] = hold.driver.tag
    first = Record(
        run.info.run_id, name, experiment, kind, Status.RUNNING, {}, {}, started, 0.0,
        number=number, parent_id=parent_id, artifact_uri=run.info.artifact_uri, tags=everything,
    )  # fmt: skip
    live = OpenRun(first, hold.folder, store, hold)
    secrecy.leave(live.folder, secrets_seen.values())
    live.add(events.Params(dict(params)))
    _keep(live, snapshot)
    if kind != "trial" and at_once:  # of trials there may be many a second: theirs are written with what follows
        live.flush()
    return live


def _keep(live: OpenRun, snapshot: Snapshot) -> None:
    """Keep what was taken of code and machine, and is no tag."""
    live.save("requirements.txt", as_requirements(snapshot.packages))
    if snapshot.git is not None and snapshot.git.diff:
        live.save("git.diff", snapshot.git.diff)
    if snapshot.git is not None and snapshot.git.untracked:
        live.save("untracked.txt", "".join(f"{path}\n" for path in snapshot.git.untracked))
    for note in snapshot.notes:
        live.add(events.Note(note))


def _opened(store: Store, driver: Driver, create: Callable[[Driver], Run]) -> tuple[Run, Hold]:
    """Have a run created, or find the one that an earlier try has created without learning of it.

    A try that fails keeps its hold in `Store.unanswered`: the next one for the same run goes on with it.

    Args:
        store: The store.
        driver: Who drives the run.
        create: Creates the run, tagged with the driver that it is given.

    Returns:
        The run, and the hold on its folder, which is named as the run is.

    Raises:
        StoreError: The store can't be written.
    """
    where = folders(home(store.root))
    hold = next((one for one in store.unanswered if _is_same(one.driver, driver)), None)
    is_new = hold is None
    if hold is None:
        hold = _new(where / f"{NEW}{driver.token}", driver)  # before the run is there: it never is without its driver
    else:
        store.unanswered.remove(hold)
    try:
        run = _created(store, hold.driver, create, is_new)
        hold.move(where / run.info.run_id)
    except StoreError:
        store.unanswered.append(hold)
        raise
    except BaseException:
        hold.drop()
        raise
    return run, hold


def _new(folder: Path, driver: Driver) -> Hold:
    try:
        folder.mkdir(parents=True)
        return Hold(folder, driver)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StoreError(f"no run can be begun: {folder.parent} can't be written ({error.strerror})") from error


def _created(store: Store, driver: Driver, create: Callable[[Driver], Run], is_new: bool) -> Run:
    """Have a run created, or found; a store that stumbles is asked again, and one that has gone is not."""
    for pause in (*PAUSES, None):
        try:
            with translated(store.uri):
                run = None if is_new else store.tagged("mlexp.driver", driver.tag)
                if run is None:
                    with _asking_once():
                        run = create(driver)
                return run
        except StoreError as error:
            if pause is None or is_refusal(error):
                raise
            check(store.uri)
            time.sleep(pause)
            is_new = False
    raise AssertionError


def _is_same(one: Driver, other: Driver) -> bool:
    return replace(one, token=other.token) == other


@contextmanager
def _asking_once() -> Iterator[None]:
    """Keep MLflow's client from sending a request again whose answer it has missed: it would create a second run."""
    with _asking:  # the setting is the process's
        before = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get_raw()
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)
        try:
            yield
        finally:
            if before is None:
                MLFLOW_HTTP_REQUEST_MAX_RETRIES.unset()
            else:
                MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(before)


def reopen_run(store: Store, record: Record, hold: Hold) -> OpenRun:
    """Open a run again that had ended; its parameters and notes are those that it had.

    Args:
        store: The store.
        record: The run.
        hold: The hold on its folder, taken already.

    Raises:
        StoreError: The store can't be written.
    """
    run_id = str(record.run_id)
    tags = {"mlexp.status": Status.RUNNING.value, "mlexp.driver": hold.driver.tag}
    with translated(store.uri):
        check(store.uri)
        store.client.update_run(run_id, status="RUNNING")
        store.client.log_batch(run_id, tags=run_tags(tags))
        if "mlexp.error" in record.tags:
            store.client.delete_tag(run_id, "mlexp.error")
    kept = {name: value for name, value in record.tags.items() if name != "mlexp.error"} | tags
    first = replace(record, status=Status.RUNNING, failure=None, params={}, metrics={}, tags=kept, notes=())
    live = OpenRun(first, hold.folder, store, hold)
    live.told.params, live.told.notes = dict(record.params), list(record.notes)
    return live


def untracked(name: str, kind: str, params: Mapping[str, Any], number: int | None = None) -> OpenRun:
    """Return the run of a job: it gathers like any other and is recorded nowhere."""
    first = Record(None, name, name, kind, Status.RUNNING, {}, {}, now(), 0.0, number=number)
    live = OpenRun(first, Path(tempfile.mkdtemp(prefix="mlexp-job-")), None)
    live.add(events.Params(dict(params)))
    return live
