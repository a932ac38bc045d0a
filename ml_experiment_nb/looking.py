"""The store in use as whoever only looks into it opens it: without MLflow, where nothing else is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ml_experiment_nb import sqlstore, writing
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.archive import Archive, Tables
from ml_experiment_nb.errors import RunNotFoundError, StoreError
from ml_experiment_nb.orphans import has_orphans
from ml_experiment_nb.projects import find_root, has_store
from ml_experiment_nb.records import Record
from ml_experiment_nb.stores import check, only_readable, store_uri

if TYPE_CHECKING:
    from ml_experiment_nb.tracking import Store

WAIT = 5.0  # seconds that this process's last run is waited for, which may still be written


def opened_archive(
    root: Path | None = None, *, closed: Callable[[Sequence[Record]], None] | None = None
) -> Archive:  # fmt: skip
    """Return the store in use, to be read. Runs of this project whose driver is dead are closed first, if they may be.

    Args:
        root: The project's root, if it isn't the one of the working directory.
        closed: Is told which runs were closed.

    Raises:
        RunNotFoundError: There is none yet.
        StoreError: It can't be reached, or its schema is another MLflow's.
    """
    root = root or find_root()
    if not has_store(root):
        raise RunNotFoundError(f"nothing is recorded in {root} yet: `ml-experiment run` does that")
    writing.wait(WAIT)
    uri = store_uri(root)
    if sqlstore.is_sql(uri) and only_readable(uri, root):
        return Tables(root, uri, partial(_unreadable, uri))
    if not sqlstore.is_sql(uri) or has_orphans(root, uri):
        return _opened_store(root, closed=closed)
    if not uri.startswith("sqlite"):
        check(uri)
    return Tables(root, uri, partial(_opened_store, root, closed=closed))


def _unreadable(uri: str) -> NoReturn:
    raise StoreError(
        f"{without_password(uri)} may only be read here, and not by this version: its tables or its files are such as "
        "MLflow's own client reads, which has to write there"
    )


def _opened_store(root: Path, *, closed: Callable[[Sequence[Record]], None] | None) -> Store:
    """Return it as MLflow's client opens it, which takes seconds to import."""
    from ml_experiment_nb.sweeps import opened_store

    return opened_store(root, closed=closed)
