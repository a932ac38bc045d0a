"""Looking at a run that another process drives: a group's updates, or a log as it grows."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from ml_experiment_nb import drivers
from ml_experiment_nb.archive import Archive
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.events import Metrics
from ml_experiment_nb.groups import trials_of
from ml_experiment_nb.literals import read_value
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.projects import FOLDER, home
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.retries import was_lost
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Happened, Started, Update

EVERY = 0.5  # seconds between two looks
_SHARE = 10  # times as long as a question to the store takes is waited for before the next one


def updates(store: Store, record: Record, *, once: bool = False) -> Iterator[Update]:
    """Yield what happens in a group that another process drives, until its own record, which comes last.

    That record has not ended where the group goes on elsewhere: of what happens there this folder doesn't tell.

    Which trials run is told by the folders of their runs; the store is asked when one of those is gone, and now and
    then for what the running ones have reported.

    Args:
        store: The store.
        record: The group's.
        once: Only what there is so far.
    """
    run_id = str(record.run_id)
    folder = drivers.folders(home(store.root)) / run_id
    yield Started("", record.name, run_id, parent=True)
    running: set[str] = set()
    seen: set[str] = set()
    asked = told_due = -1.0
    told: dict[str, dict[str, float]] = {}
    changed = True
    while True:
        is_alive = drivers.is_alive(folder)
        if not is_alive:
            sweep(store)
        now = {one.name: driver for one in drivers.driven(home(store.root)) if (driver := drivers.read_driver(one))}
        mine = {name: driver for name, driver in now.items() if driver.parent == run_id}
        for name in sorted(mine.keys() - running - seen, key=lambda name: mine[name].number or 0):
            yield Started(
                str(mine[name].number), mine[name].name, name, record=_begun(home(store.root), name, mine[name])
            )
        changed = changed or bool(running - mine.keys())
        running = {*mine}
        if not is_alive or (changed and time.monotonic() > asked):
            began = time.monotonic()
            new = [one for one in trials_of(store, record) if one.run_id not in seen]
            for one in ended(new, goes_on=is_alive):
                seen.add(str(one.run_id))
                yield one
            asked, changed = time.monotonic() + _SHARE * (time.monotonic() - began), False
        if not is_alive:
            yield store.record(run_id)
            return
        if time.monotonic() > told_due:
            began = time.monotonic()
            for name, driver in mine.items():
                if (metrics := _metrics(store, name)) and told.get(name) != metrics:
                    told[name] = metrics
                    yield Happened(str(driver.number), Metrics(metrics))
            told_due = time.monotonic() + max(EVERY, _SHARE * (time.monotonic() - began))
        if once:
            return
        time.sleep(EVERY)


def so_far(store: Store, record: Record) -> list[Update]:
    """Return what `updates` would have said of a group until now, and wait for nothing."""
    return list(updates(store, record, once=True))


def running_group(store: Store) -> str | None:
    """Return the run of the group that a driver of this project runs just now, of several the newest."""
    root = home(store.root)
    alive = [one for one in drivers.driven(root) if drivers.is_alive(one)]
    groups = [one for one in alive if (driver := drivers.read_driver(one)) and driver.kind == "group"]
    newest = max(groups, key=lambda one: (one / drivers.FILE).stat().st_mtime, default=None)
    return newest.name if newest is not None else None


def _begun(root: Path, run_id: str, driver: drivers.Driver) -> Record | None:
    """Return what is known of a trial that another process runs."""
    try:
        began = (drivers.folders(root) / run_id / drivers.FILE).stat().st_mtime
    except OSError:  # it has just ended
        return None
    params = {name: read_value(text) for name, text in driver.params.items()}
    started = datetime.fromtimestamp(began, UTC)
    return Record(
        run_id,
        driver.name,
        "",
        driver.kind,
        Status.RUNNING,
        params,
        {},
        started,
        0.0,
        None,
        driver.number,
        driver.parent,
    )


def _metrics(store: Store, run_id: str) -> dict[str, float]:
    """Return what a running trial has reported last; nothing where the store has not heard of it."""
    try:
        return dict(store.record(run_id).metrics)
    except StoreError:
        return {}


def ended(trials: Iterable[Record], *, goes_on: bool) -> list[Record]:
    """Return the trials that have ended, in that order; of a group that goes on, none that is to be tried again."""
    found = [one for one in trials if one.status.ended]
    if goes_on:
        found = [one for one in found if not (one.status is Status.KILLED and was_lost(one))]
    return sorted(found, key=lambda one: one.started.timestamp() + one.seconds)


def log(store: Archive, record: Record) -> Iterator[str]:
    """Yield what a run has printed, and what it prints, until it has ended."""
    folder = drivers.folders(store.root / FOLDER) / str(record.run_id)
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    file = None
    try:
        while True:
            is_alive = drivers.is_alive(folder)
            if file is None and (folder / "artifacts/record/log.txt").exists():
                file = (folder / "artifacts/record/log.txt").open("rb")  # it stays readable when it is moved
            if file is not None and (text := decode(file.read())):
                yield text
            if not is_alive:
                break
            time.sleep(EVERY)
        if file is None:
            yield store.log_text(record)
    finally:
        if file is not None:
            file.close()
    now = opened_archive(store.root).record(str(record.run_id))  # closed, if its driver has died
    if file is None and not now.status.ended:
        yield f"[{elsewhere(now)}: this is what the store has of its log so far]\n"


def elsewhere(record: Record) -> str:
    """Return in words where a run goes on that no process of this project's folder drives."""
    where = record.tags.get("mlexp.driver", "").partition("/")[0] or "another machine or folder"
    return f"this run goes on, and its driver is not in this project's folder but on {where}"
