"""SQLite files: why one can't be used, and how one is read that may only be read, as on a disk that is mounted so.

A file that is written ahead (WAL) can't be read without two more beside it, which SQLite would make. Where it can't and
they aren't there, the file is opened as one that nobody writes (``immutable=1``), for which SQLite takes no locks. So
whoever reads it that way has to look whether it was written meanwhile; see https://sqlite.org/wal.html#readonly.
"""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

from ml_experiment_nb.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")

_ROOM = 100_000  # bytes without which SQLite can't write
_TRIES = 5
_UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


class WrittenMeanwhileError(Exception):
    """A file was written while it was read as one that nobody writes: what was read may be wrong."""


def may_be_written(path: Path) -> bool:
    """Return whether this process may write a SQLite file, and the files that SQLite makes beside it."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def why_not(path: str, error: Exception) -> tuple[str, str]:
    """Return why a SQLite file can't be used, and what to do about it."""
    said = str(error)
    if os.path.isdir(path):
        return "it is a folder", "name a file in it"
    if "not a database" in said or "malformed" in said:
        return (
            f"{said}: it is damaged, or another program's",
            "put a backup in its place, or move it away",
        )
    with suppress(OSError):
        if "full" in said or ("I/O" in said and shutil.disk_usage(os.path.dirname(path)).free < _ROOM):
            return f"{said}: its disk is full", "make room there"
    if "locked" in said:
        return said, "end what holds it (`fuser` names the process)"
    return said, "change its rights, or its folder's"


@contextmanager
def reading(path: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    """Read a file that may only be read, within this block.

    Yields:
        Opens a connection.

    Raises:
        StoreError: It can't be read without being written.
        WrittenMeanwhileError: It was written meanwhile.
    """
    address = f"file:{quote(str(path))}?mode=ro"
    if _is_readable(address):
        try:
            yield functools.partial(sqlite3.connect, address, uri=True)
        except Exception as error:
            if not _is_readable(address):  # who wrote it has closed it
                raise WrittenMeanwhileError(path) from error
            raise
        return
    before = _state(path)
    if before.beside:
        if _is_readable(address):  # somebody has just begun to write
            raise WrittenMeanwhileError(path)
        raise StoreError(
            f"{path} may only be read here, and what was written last is still in {before.beside[0]}: list its runs "
            "once where it may be written"
        )
    try:
        yield functools.partial(sqlite3.connect, f"{address}&immutable=1", uri=True)
    except BaseException as error:
        if isinstance(error, Exception) and _state(path) != before:
            raise WrittenMeanwhileError(path) from error
        raise
    if _state(path) != before:
        raise WrittenMeanwhileError(path)


def again_when_written(read: Callable[P, T]) -> Callable[P, T]:
    """Have something read again that was written meanwhile.

    Raises:
        StoreError: It is being written all the time.
    """

    @functools.wraps(read)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_TRIES):
            with suppress(WrittenMeanwhileError):
                return read(*args, **kwargs)
        raise StoreError("the store is being written by somebody else, and may only be read here: try again in a while")

    return call


def _is_readable(address: str) -> bool:
    """Return whether SQLite reads a file as it is: with what is written ahead, and waiting for who writes it."""
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            database.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in _UNWRITABLE:
            return False
        raise
    return True


class _State(NamedTuple):
    """What changes when a file is written. `beside` names the files in which some of it stands that SQLite works in."""

    file: tuple[int, int, int]
    beside: tuple[str, ...]


def _state(path: Path) -> _State:
    beside = []
    for other in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")):
        with suppress(FileNotFoundError):
            beside += [other.name] if other.stat().st_size else []
    with path.open("rb") as file:  # on a network disk, a file that is opened is looked at anew
        found = os.fstat(file.fileno())
    return _State((found.st_ino, found.st_size, found.st_mtime_ns), tuple(beside))
