"""Digests of data: of files, each read once for as long as it stays as it is, and of values in memory.

A digest is of all that is there. MLflow's own one of a data frame or an array sees the first 10,000 rows alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from ml_experiment_nb.errors import CaptureError

CACHE = "digests.db"
_FRESH = 2_000_000_000  # nanoseconds for which a file may change once more and keep its time
_AT_ONCE = 1 << 20
_LENGTH = 32  # hexadecimal digits; MLflow takes 36


@dataclass(frozen=True)
class FileDigest:
    """A file's SHA-256, as ``sha256sum`` prints it, and its size in bytes."""

    path: Path
    digest: str
    size: int


def file_digests(files: Sequence[Path], cache: Path | None, *, linked: bool = False) -> list[FileDigest]:
    """Return the digests of files, in their order.

    Args:
        files: Absolute paths.
        cache: A database in which digests are kept by the file's path, times, size and inode. It may be absent, and
            where it can't be used nothing is kept.
        linked: The files get and lose other names meanwhile, which is no change of theirs.

    Raises:
        CaptureError: A file can't be read, or changes while it is read.
    """
    try:
        stats = {path: _stat(path, linked) for path in files}
    except OSError as error:
        raise CaptureError(f"{error.filename}: can't be read: {error.strerror}") from None
    known = _known(cache, stats)
    missing = [path for path in stats if path not in known]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        made = dict(zip(missing, pool.map(_hash, missing), strict=True))
    for path in made:
        if _stat(path, linked) != stats[path]:
            raise CaptureError(f"{path}: changed while it was read")
    _keep(cache, {path: (stats[path], digest) for path, digest in made.items()})
    return [FileDigest(path, (known | made)[path], stats[path][2]) for path in files]


def known_digests(files: Sequence[Path], cache: Path) -> list[FileDigest] | None:
    """Return the digests of files where all of them are kept; no file is read, and nothing is written."""
    try:
        stats = {path: _stat(path) for path in files}
    except OSError:
        return None
    known = _known(cache, stats) if cache.exists() else {}
    return [FileDigest(path, known[path], stats[path][2]) for path in files] if known.keys() == stats.keys() else None


def joined(named: Mapping[str, str]) -> str:
    """Return one digest of files, by their names and their own digests."""
    total = hashlib.sha256()
    for name, digest in sorted(named.items()):
        _text(name, total.update)
        _text(digest, total.update)
    return total.hexdigest()[:_LENGTH]


def value_digest(value: Any) -> str:
    """Return the digest of a value: of all elements of a data frame, an array, a tensor, or what holds such.

    Raises:
        CaptureError: It is of a kind whose contents can't be had.
    """
    total = hashlib.sha256()
    try:
        _feed(value, total.update)
    except RecursionError:
        raise CaptureError(f"a {type(value).__name__} that holds itself has no digest") from None
    except Exception as error:  # an object of another library's may raise what it likes
        raise CaptureError(f"a {type(value).__name__} can't be read for its digest: {error}") from None
    return total.hexdigest()[:_LENGTH]


# ---------------------------------------------------------------------------------------------- files

_Stat = tuple[int, int, int, int, int]


def _stat(path: Path, linked: bool = False) -> _Stat:
    found = path.stat()
    return found.st_mtime_ns, 0 if linked else found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CaptureError(f"{path}: can't be read: {error.strerror}") from None


def _known(cache: Path | None, stats: Mapping[Path, _Stat]) -> dict[Path, str]:
    found: dict[Path, str] = {}
    with contextlib.suppress(sqlite3.Error, OSError), _opened(cache) as database:
        for path, stat in stats.items():
            row = database.execute(_FIND, (str(path), *stat)).fetchone() if database is not None else None
            if row is not None:
                found[path] = row[0]
    return found


def _keep(cache: Path | None, made: Mapping[Path, tuple[_Stat, str]]) -> None:
    now = time.time_ns()
    settled = [
        (str(path), *stat, digest) for path, (stat, digest) in made.items() if now - max(stat[0], stat[1]) > _FRESH
    ]
    if settled:
        with contextlib.suppress(sqlite3.Error, OSError), _opened(cache) as database:
            if database is not None:
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", settled)


_FIND = "SELECT digest FROM files WHERE path = ? AND mtime = ? AND ctime = ? AND size = ? AND inode = ? AND device = ?"


@contextlib.contextmanager
def _opened(cache: Path | None) -> Iterator[sqlite3.Connection | None]:
    if cache is None:
        yield None
        return
    with contextlib.closing(sqlite3.connect(cache, timeout=5)) as database, database:
        columns = "path TEXT PRIMARY KEY, mtime INT, ctime INT, size INT, inode INT, device INT, digest TEXT"
        database.execute(f"CREATE TABLE IF NOT EXISTS files ({columns}) WITHOUT ROWID")
        yield database


# ---------------------------------------------------------------------------------------------- values

_Take = Callable[[Any], None]


def _feed(value: Any, take: _Take) -> None:
    """Hand a value's bytes over, so that values that differ in anything hand over other ones."""
    kind = type(value)
    where = kind.__module__.partition(".")[0]
    if value is None or kind in (bool, int, float, complex):
        _text(f"{kind.__name__}:{value!r}", take)
    elif kind is str:
        _text("str", take)
        _text(value, take)
    elif kind in (bytes, bytearray, memoryview):
        _bytes("bytes", value, take)
    elif kind in (list, tuple, set, frozenset) or isinstance(value, Mapping):
        _feed_container(value, take)
    elif where == "pandas" and (hasattr(value, "columns") or hasattr(value, "to_numpy")):
        _feed_pandas(value, take)
    elif where == "polars":
        _text(f"polars:{getattr(value, 'schema', kind.__name__)}", take)
        for series in value.get_columns() if hasattr(value, "get_columns") else [value]:
            _feed_polars(series, take)
    elif where == "scipy" and hasattr(value, "tocoo"):
        _text(f"sparse:{value.shape}", take)
        coo = value.tocoo()
        for one in (coo.row, coo.col, coo.data):
            _feed(one, take)
    elif hasattr(value, "detach"):
        _text(f"tensor:{value.dtype}", take)
        _feed((value.float() if "bfloat16" in str(value.dtype) else value).detach().cpu().numpy(), take)
    elif hasattr(value, "__array_interface__") or hasattr(value, "__array__"):
        _feed_array(value, take)
    else:
        _bytes(f"pickle:{kind.__module__}.{kind.__qualname__}", cloudpickle.dumps(value, protocol=5), take)


def _feed_polars(series: Any, take: _Take) -> None:
    """Hand over a column's missing values, and then all at once what is there; of nested ones each value by itself."""
    kind = series.dtype
    plain = series.to_physical() if kind.is_temporal() else series
    if str(plain.dtype) in _POLARS_NUMBERS:
        filled = plain.fill_null(strategy="zero") if plain.dtype.is_numeric() else plain.fill_null(False)
        _feed_array(series.is_null().to_numpy(), take)
        _feed_array(filled.to_numpy(), take)
    elif str(kind) == "String":
        _feed_array(series.str.len_bytes().fill_null(1 << 31).to_numpy(), take)  # which no text of a column has
        _text(series.str.join("").item() if len(series) else "", take)
    else:
        _feed(series.to_list(), take)


_POLARS_NUMBERS = {
    "Boolean",
    "Float32",
    "Float64",
    *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
}


def _feed_container(value: Any, take: _Take) -> None:
    _text(f"{type(value).__name__}:{len(value)}", take)
    if isinstance(value, Mapping):
        for name, one in value.items():
            _feed(name, take)
            _feed(one, take)
    elif isinstance(value, set | frozenset):
        for digest in sorted(value_digest(one) for one in value):
            _text(digest, take)
    else:
        for one in value:
            _feed(one, take)


def _feed_pandas(value: Any, take: _Take) -> None:
    import pandas as pd

    if not isinstance(value, pd.DataFrame | pd.Series):
        _text(f"{type(value).__name__}:{getattr(value, 'dtype', '')}:{getattr(value, 'names', '')!r}", take)
        _feed_array(value.to_numpy(), take)
        return
    _text(f"{type(value).__name__}:{value.shape}", take)
    if isinstance(value.index, pd.RangeIndex):
        _text(f"{value.index!r}", take)
    else:
        _feed_pandas(value.index, take)
    columns = [(None, value)] if isinstance(value, pd.Series) else list(value.items())
    if isinstance(value, pd.Series):
        _feed(value.name, take)
    for name, column in columns:
        _feed(name, take)
        _text(f"{column.dtype!r}", take)
        plain = getattr(column.dtype, "kind", "O") in "biufcmM" and hasattr(column.dtype, "byteorder")
        if plain or (str(column.dtype) == "object" and pd.api.types.infer_dtype(column, skipna=False) != "string"):
            _feed_array(column.to_numpy(), take)
        else:  # text, categories, nullable numbers, times with a zone: by value, each element
            _bytes("column", pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes(), take)


def _feed_array(value: Any, take: _Take) -> None:
    import numpy as np

    array = np.asarray(value)
    _text(f"array:{array.dtype.str if array.dtype.names is None else array.dtype.descr}:{array.shape}", take)
    if array.dtype.hasobject:
        for one in array.ravel().tolist():
            _feed(one, take)
    elif array.size:
        flat = array if array.flags.c_contiguous else None
        if flat is not None:
            take(flat.reshape(-1).view(np.uint8).data)
        else:  # in pieces, for it may be large
            rows = max(1, int(_AT_ONCE * array.shape[0] / max(array.nbytes, 1))) if array.ndim else 1
            for k in range(0, array.shape[0], rows):
                take(np.ascontiguousarray(array[k : k + rows]).reshape(-1).view(np.uint8).data)


def _text(text: str, take: _Take) -> None:
    _bytes("", text.encode("utf-8", "surrogatepass"), take)


def _bytes(name: str, data: Any, take: _Take) -> None:
    if name:
        _text(name, take)
    view = memoryview(data)
    take(struct.pack("<Q", view.nbytes))
    take(view)
