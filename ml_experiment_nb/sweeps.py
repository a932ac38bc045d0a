"""The store as it is opened, and its runs whose driver is gone, killed or lost with its machine's power, closed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ml_experiment_nb import drivers, writing
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.drivers import NEW, Driver
from ml_experiment_nb.errors import RunNotFoundError, StoreError
from ml_experiment_nb.literals import value_of
from ml_experiment_nb.orphans import is_orphan
from ml_experiment_nb.projects import find_root, has_store, home
from ml_experiment_nb.recording import OpenRun, clear
from ml_experiment_nb.records import Failure, Outcome, Record, Status
from ml_experiment_nb.stores import check, is_refusal, store_uri, translated
from ml_experiment_nb.tracking import Store

LOST = "lost"  # below .ml-experiment: folders of runs that the store doesn't know
WAIT = 5.0  # seconds that this process's last run is waited for, which may still be written

_open: dict[tuple[object, ...], Store] = {}


def opened_store(
    root: Path | None = None, *, make: bool = False, anew: bool = False,
    closed: Callable[[Sequence[Record]], None] | None = None,
) -> Store:  # fmt: skip
    """Return the store in use, as this process has it open already. Runs whose driver is dead are closed first.

    Args:
        root: The project's root, if it isn't the one of the working directory.
        make: Make one where there is none yet: who only looks doesn't, and sees what this process still writes.
        anew: Open it again: what is open is out of date.
        closed: Is told which runs were closed.

    Raises:
        RunNotFoundError: There is none yet, and none is to be made.
        StoreError: It can't be reached, or its schema is another MLflow's.
    """
    root = root or find_root()
    if not make:
        if not has_store(root):
            raise RunNotFoundError(f"nothing is recorded in {root} yet: `ml-experiment run` does that")
        writing.wait(WAIT)
    store = None if anew else _open.get(_which(root))
    if store is None:
        store = Store(root)
        _open.clear()
        _open[_which(root)] = store
    swept = sweep(store)
    if closed is not None:
        closed(swept)
    return store


def is_open(root: Path) -> bool:
    """Return whether this process has the store in use open already."""
    return _which(root) in _open


def _which(root: Path) -> tuple[object, ...]:
    """Return what a store is told by: its address, its file, and this process; one that was forked opens its own."""
    uri = store_uri(root)
    file = None
    if uri.startswith("sqlite"):
        with suppress(OSError):
            found = os.stat(uri.partition(":///")[2])
            file = (found.st_dev, found.st_ino)
    return root, uri, file, os.getpid()


def sweep(store: Store) -> list[Record]:
    """Close the runs of this project whose driver is gone, and return their records.

    They end as killed, or as their driver had got to know that they ended; their logs and files are sent to the store.
    It costs one look at a folder when there is nothing to do. What can't be written now is left to the next sweep.
    """
    root = home(store.root)
    if not any(is_orphan(folder) for folder in drivers.driven(root)):
        return []
    closed: list[Record] = []
    with drivers.alone(root):
        dead = [folder for folder in drivers.driven(root) if is_orphan(folder)]
        for folder in sorted(dead, key=_is_group):  # trials before their groups
            try:
                record = _close(store, folder)
            except StoreError as error:
                if is_refusal(error):
                    continue  # it is about this run alone
                break
            if record is not None:
                closed.append(record)
    return closed


@contextmanager
def finishing(store: Store) -> Iterator[None]:
    """Close, after this block, the runs that could not be opened in it and may be there all the same.

    Without a store that is left to the next sweep.
    """
    try:
        yield
    finally:
        if store.unanswered:
            for hold in store.unanswered:
                hold.drop()
            store.unanswered.clear()
            with suppress(StoreError):
                check(store.uri)
                sweep(store)


def forget(folder: Path) -> None:
    """Take a driver that can't be asked for dead: its machine is gone for good."""
    driver = drivers.read_driver(folder)
    if driver is not None and not driver.is_near:
        (folder / drivers.GONE).touch()


def _is_group(folder: Path) -> bool:
    driver = drivers.read_driver(folder)
    return driver is not None and driver.kind != "trial"


def _close(store: Store, folder: Path) -> Record | None:
    """Close a folder's run; None where there is nothing to close, or it belongs to another store."""
    driver = drivers.read_driver(folder)
    if driver is None or driver.store != without_password(store.uri):
        return None
    is_new = folder.name.startswith(NEW)
    with translated(store.uri):
        found = _run_of(store, driver, folder)
    if found is None:
        return None
    run, folder = found
    record = store.record(run.info.run_id)
    if run.info.status not in ("RUNNING", "SCHEDULED"):  # its driver died as it cleared up
        with suppress(MlflowException, OSError):
            if (folder / "artifacts").exists():
                store.take_files(record, folder / "artifacts")
            clear(folder)
        _clear(folder)
        return None
    why = f"its driver died ({driver}) and left it"
    if is_new and driver.is_near and driver.pid == os.getpid():
        why = "the store did not answer when it was opened"
    record = _close_for(driver, store, record, folder, why)
    _clear(folder)
    return record


def _run_of(store: Store, driver: Driver, folder: Path) -> tuple[Run, Path] | None:
    """Return a folder's run and the folder, named as it should be."""
    if not folder.name.startswith(NEW):
        try:
            return store.run(folder.name), folder
        except RunNotFoundError:
            _set_aside(store, folder)
            return None
    # The driver died between two steps: the run may be there, and it has no folder by its id.
    run = store.tagged("mlexp.driver", driver.tag)
    if run is None:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return run, folder.rename(folder.with_name(run.info.run_id))


def _set_aside(store: Store, folder: Path) -> None:
    """Keep the files of a run that the store doesn't know, out of the next sweep's way."""
    lost = home(store.root) / LOST
    lost.mkdir(exist_ok=True)
    with suppress(OSError):
        folder.rename(lost / folder.name)


def _close_for(driver: Driver, store: Store, record: Record, folder: Path, why: str) -> Record:
    """Close a run whose driver is gone, with all that it left in the run's folder.

    Args:
        driver: Who drove it.
        store: The store.
        record: The run as the store has it.
        folder: The run's folder.
        why: Why it is closed as killed, unless its driver had got to know how it ended.

    Raises:
        StoreError: The store can't be written; the folder stays.
    """
    live = OpenRun(record, folder, store)
    live.told.metrics, live.told.notes = dict(record.metrics), list(record.notes)
    live.told.params = {**{name: value_of(text) for name, text in driver.params.items()}, **record.params}
    return live.close_late(driver, Outcome(Status.KILLED, Failure("DriverDied", why)), _last(folder))


def _last(folder: Path) -> datetime:
    """Return when a run gave its last sign of life: its driver touches the folder of its files, too."""
    others = (drivers.STOP, drivers.GONE)
    signs = [folder / "artifacts", *(path for path in folder.rglob("*") if path.is_file() and path.name not in others)]
    times = [path.stat().st_mtime for path in signs if path.exists()]
    return datetime.fromtimestamp(max(times, default=datetime.now().timestamp()), UTC)


def _clear(folder: Path) -> None:
    """Say that a run's driver is no more, and remove its folder if nothing else lies in it."""
    for name in (drivers.FILE, drivers.STOP, drivers.GONE):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
