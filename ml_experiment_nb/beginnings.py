"""Runs opened, opened again, and closed for a driver that is gone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from ml_experiment_nb import events, secrecy
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.packages import as_requirements
from ml_experiment_nb.drivers import Driver, Hold, this_driver
from ml_experiment_nb.entries import PARAM_LENGTH, TAG_LENGTH, key_of, run_tags, snapshot_tags
from ml_experiment_nb.literals import value_of
from ml_experiment_nb.masking import masked
from ml_experiment_nb.openings import opened
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Outcome, Record, Status, now
from ml_experiment_nb.secrecy import known, recognised
from ml_experiment_nb.stores import check, translated
from ml_experiment_nb.tracking import Store


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

    run, hold = opened(store, driver, create)
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    everything["mlexp.driver"] = hold.driver.tag
    first = Record(
        run.info.run_id, name, experiment, kind, Status.RUNNING, {}, {}, started, 0.0,
        number=number, parent_id=parent_id, artifact_uri=run.info.artifact_uri, tags=everything,
    )  # fmt: skip
    live = OpenRun(first, hold.folder, store, hold)
    secrecy.leave(live.folder, known.values())
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


def close_for(driver: Driver, store: Store, record: Record, folder: Path, outcome: Outcome, ended: datetime) -> Record:
    """Close a run whose driver is gone, with all that it left in the run's folder.

    Args:
        driver: Who drove it.
        store: The store.
        record: The run as the store has it.
        folder: The run's folder.
        outcome: What it ends with, unless its driver had got to know how it ended.
        ended: When that was.

    Raises:
        StoreError: The store can't be written; the folder stays.
    """
    live = OpenRun(record, folder, store)
    live.told.metrics, live.told.notes = dict(record.metrics), list(record.notes)
    live.told.params = {**{name: value_of(text) for name, text in driver.params.items()}, **record.params}
    return live.close_late(driver, outcome, ended)


def untracked(name: str, kind: str, params: Mapping[str, Any], number: int | None = None) -> OpenRun:
    """Return the run of a job: it gathers like any other and is recorded nowhere."""
    first = Record(None, name, name, kind, Status.RUNNING, {}, {}, now(), 0.0, number=number)
    live = OpenRun(first, Path(tempfile.mkdtemp(prefix="mlexp-job-")), None)
    live.add(events.Params(dict(params)))
    return live
