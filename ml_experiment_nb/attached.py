"""Looking at a run that another process drives: a group's updates, or a log as it grows."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterable, Iterator

from ml_experiment_nb import drivers
from ml_experiment_nb.groups import trials_of
from ml_experiment_nb.loop import Started, Update
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.retries import was_lost
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store

EVERY = 0.5  # seconds between two looks
_SHARE = 10  # times as long as a question to the store takes is waited for before the next one


def updates(store: Store, record: Record) -> Iterator[Update]:
    """Yield what happens in a group that another process drives, until its own record, which comes last.

    Which trials run is told by the folders of their runs; the store is asked when one of those is gone.
    """
    run_id = str(record.run_id)
    folder = drivers.folders(home(store.root)) / run_id
    yield Started("", record.name, run_id, parent=True)
    running: set[str] = set()
    seen: set[str] = set()
    asked = -1.0
    changed = True
    while True:
        is_alive = drivers.is_alive(folder)
        if not is_alive:
            sweep(store)
        now = {one.name: driver for one in drivers.driven(home(store.root)) if (driver := drivers.read_driver(one))}
        mine = {name: driver for name, driver in now.items() if driver.parent == run_id}
        for name in mine.keys() - running - seen:
            yield Started(str(mine[name].number), mine[name].name, name)
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
        time.sleep(EVERY)


def ended(trials: Iterable[Record], *, goes_on: bool) -> list[Record]:
    """Return the trials that have ended, in that order; of a group that goes on, none that is to be tried again."""
    found = [one for one in trials if one.status.ended]
    if goes_on:
        found = [one for one in found if not (one.status is Status.KILLED and was_lost(one))]
    return sorted(found, key=lambda one: one.started.timestamp() + one.seconds)


def log(store: Store, record: Record) -> Iterator[str]:
    """Yield what a run has printed, and what it prints, until it has ended."""
    folder = drivers.folders(home(store.root)) / str(record.run_id)
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
    sweep(store)
    now = store.record(str(record.run_id))
    if file is None and not now.status.ended:
        where = now.tags.get("mlexp.driver", "").partition("/")[0] or "another machine or folder"
        yield (
            f"[this run goes on, and its driver is not in this project's folder but on {where}: this is what the store "
            "has of its log so far]\n"
        )
