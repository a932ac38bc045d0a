"""The address of a tracking store: which one is in use, whether it is there, and what its errors mean."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# MLflow would try one request for minutes, in which the driver does nothing else; it has a patience of its own.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

import psutil
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from ml_experiment_nb.addresses import password_of, without_password
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.projects import FOLDER, STORE, home
from ml_experiment_nb.sqlite_files import may_be_written, why_not

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS",
             "PERMISSION_DENIED", "INVALID_STATE")  # fmt: skip
_BUSY = 30_000  # ms that a SQLite file is waited for which other processes are writing; sqlite3 would wait for 5,000
_SHARED = ("nfs", "cifs", "smb", "fuse", "9p", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs")
"""File systems, by the beginning of their names, whose files several machines may write."""


def store_uri(root: Path) -> str:
    """Return the address of the store in use: ``MLFLOW_TRACKING_URI``, or the project's own."""
    return _absolute(os.environ.get("MLFLOW_TRACKING_URI") or default_uri(root))


def default_uri(root: Path) -> str:
    """Return the address of a project's own store, a SQLite file in its ``.ml-experiment`` folder."""
    return _address(root / FOLDER / STORE)


def _address(path: Path) -> str:
    text = str(path).replace("%", "%25").replace("?", "%3F")  # they mean something in an address
    return f"sqlite:///{text}"


@contextmanager
def opening(uri: str, root: Path, make_tables: Callable[[str], None]) -> Iterator[None]:
    """Open a store within this block: one process at a time, for two that create a database break it for good.

    Args:
        uri: The store's address.
        root: The project's root.
        make_tables: Makes MLflow's tables in the SQLite file of an address.

    Raises:
        StoreError: It isn't there, or can't be opened.
    """
    if (locked := only_readable(uri, root)) is not None:
        raise _locked(locked)
    with translated(uri), (home(root) / "mlflow.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _probe(uri)
        if not event.contains(Engine, "connect", _prepare):
            event.listen(Engine, "connect", _prepare)
        if _scheme(uri) == "sqlite":
            _begin(make_url(uri).database or "", make_tables)
        if uri == default_uri(root):
            _write_ahead(Path(make_url(uri).database or ""))
        _let_go_of_replaced(uri)
        yield
        settle(uri)


_opened: dict[str, tuple[int, int]] = {}
"""The SQLite files that MLflow has opened in this process, by their addresses: device and inode."""


def _let_go_of_replaced(uri: str) -> None:
    """Have MLflow open a SQLite file anew that was deleted or replaced: it keeps connections to the one without a name.

    What it wrote there would be lost with the process, without a word.
    """
    if _scheme(uri) != "sqlite":
        return
    found = os.stat(make_url(uri).database or "")
    now = (found.st_dev, found.st_ino)
    if _opened.setdefault(uri, now) == now:
        return
    _opened[uri] = now
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

    if (engine := SqlAlchemyStore._engine_map.pop(uri, None)) is not None:
        engine.dispose()
    TrackingStoreRegistry._get_store_with_resolved_uri.cache_clear()


def check(uri: str) -> None:
    """Fail at once where MLflow would try for minutes, or begin an empty store: it was there and is gone.

    Raises:
        StoreError: It says what to do.
    """
    scheme = _scheme(uri)
    if scheme == "sqlite":
        path = make_url(uri).database or ""
        if not os.access(path, os.R_OK | os.W_OK):
            raise StoreError(f"{path} can't be opened as a SQLite store: it has gone, or may not be written")
    elif scheme in _PORTS:
        probe_server(uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a store's address; None where it names none."""
    path = make_url(uri).database if _scheme(uri) == "sqlite" else None
    return Path(path) if path and path != ":memory:" and not path.startswith("file:") else None


def only_readable(uri: str, root: Path) -> Path | None:
    """Return the store's file that may only be read, or the project's folder; None where both may be written."""
    file, folder = sqlite_file(uri), root / FOLDER
    if file is not None and file.is_file() and not may_be_written(file):
        return file
    return folder if folder.is_dir() and not os.access(folder, os.W_OK) else None


def _locked(path: Path) -> StoreError:
    """Say of a store's file, or a project's folder, that it may only be read, and what to do."""
    hint = "run from a folder that is yours, or set ML_EXPERIMENT_ROOT to one"
    if path.is_dir():
        return StoreError(f"{path} may only be read here, and a run keeps its files there while it goes on: {hint}")
    if os.environ.get("MLFLOW_TRACKING_URI"):
        hint = "name a store in MLFLOW_TRACKING_URI that may be written"
    return StoreError(
        f"{path} may only be read here: its runs can be listed and compared, and nothing is recorded; to record, {hint}"
    )


def is_gone(uri: str) -> bool:
    """Return whether a store is a SQLite file that isn't there."""
    return _scheme(uri) == "sqlite" and not os.path.exists(make_url(uri).database or "")


def settle(uri: str) -> None:
    """Put what our own store has written ahead into its file, so that whoever copies that file has all of it."""
    path = make_url(uri).database if _scheme(uri) == "sqlite" else None
    if path is not None and os.path.realpath(path) in _quick:
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as database:  # another process may do it later
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def translated(uri: str, hint: str = "") -> Iterator[None]:
    """Turn the store's own errors into ours, in this one place."""
    try:
        yield
    except _mlflows_own() as error:
        if found := re.search(r"out-of-date database schema \(found version (\w+)|Can't locate revision", str(error)):
            advice = of_another_mlflow(found[1] or "")
            raise StoreError(f"{without_password(uri)} was made by another MLflow version; {advice}") from error
        if (login := login_advice(uri, error)) is not None:
            raise StoreError(f"{without_password(uri)} {login}{hint}") from error
        text = str(error).partition("\n(Background on this error")[0]  # SQLAlchemy's pages tell a user nothing
        raise StoreError(f"{without_password(f'{uri}: {text}')}{hint}") from error
    except ImportError as error:
        raise _without_driver(uri, error) from error
    except (OSError, SQLAlchemyError) as error:
        raise StoreError(f"{without_password(f'{uri}: {str(error).splitlines()[0]}')}{hint}") from error
    except StoreError as error:
        raise (StoreError(f"{error}{hint}") if hint else error) from error.__cause__


def login_advice(uri: str, error: BaseException) -> str | None:
    """Return what to do where a tracking server takes nobody in without a login; None where it is not that."""
    if "failed with error code 401" not in str(error):
        return None
    names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    given = password_of(uri) or any(os.environ.get(f"MLFLOW_TRACKING_{one}") for one in ("USERNAME", "TOKEN"))
    return f"refuses the login that it was given: look at {names}" if given else f"asks for a login: set {names}"


def of_another_mlflow(revision: str) -> str:
    """Return what to do about a database whose tables have another revision than this MLflow's."""
    from mlflow.store import db_migrations

    folder = Path(next(iter(db_migrations.__path__)), "versions")
    if revision and any(folder.glob(f"{revision}_*.py")):
        return "run `mlflow db upgrade` with its address (back it up first), or install the MLflow that the others have"
    return f"it is newer than MLflow {version('mlflow')}, which is here: `pip install --upgrade mlflow`"


def is_refusal(error: StoreError) -> bool:
    """Return whether a store that was there refused what was to be written, so that trying again is of no use."""
    cause = error.__cause__
    return isinstance(cause, _mlflows_own()) and getattr(cause, "error_code", "") in _REFUSALS


def is_database(uri: str) -> bool:
    """Return whether an address is that of a database, which MLflow reaches without a tracking server."""
    return _scheme(uri) in _DATABASES


def _mlflows_own() -> tuple[type[BaseException], ...]:
    """Return MLflow's own error; where MLflow isn't imported it raises none, and reading a list doesn't need it."""
    module = sys.modules.get("mlflow.exceptions")
    return (module.MlflowException,) if module is not None else ()


def is_shared(path: Path) -> bool:
    """Return whether a file is on a file system that several machines may write."""
    return _file_system(path).startswith(_SHARED)


def _absolute(uri: str) -> str:
    """Return a SQLite file's address with its whole path: tasks run in other folders."""
    scheme, _, path = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not path or path.startswith(("/", ":memory:", "file:")):
        return uri
    return f"{scheme}:///{Path.cwd() / path}"


def _scheme(uri: str) -> str:
    return uri.partition(":")[0].partition("+")[0]


def _probe(uri: str) -> None:
    scheme = _scheme(uri)
    check_kind(uri)
    if scheme == "sqlite":
        _probe_file(uri)
    elif scheme in _PORTS:
        probe_server(uri)
        if is_database(uri) and (error := database_error(uri)) is not None:
            raise error


def check_kind(uri: str) -> None:
    """Fail where an address is of no store that MLflow has.

    Raises:
        StoreError: It says what to write in its place.
    """
    scheme = _scheme(uri)
    if scheme == "postgres":
        raise StoreError(f"{without_password(uri)}: write postgresql:// in place of postgres://")
    if scheme == "sqlite" and make_url(uri).database in (None, "", ":memory:"):
        raise StoreError(
            f"{uri} is a store in memory, which ends with this process; name a file: sqlite:////path/to.db"
        )
    is_file = ("://" not in uri and not uri.startswith("databricks")) or scheme == "file"
    if is_file and os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("1", "true"):
        raise StoreError(
            f"{uri}: MLflow keeps runs in no folder any more; name a file, sqlite:////path/to.db "
            "(`mlflow migrate-filestore` takes over what is in the folder)"
        )


def _probe_file(uri: str) -> None:
    path = make_url(uri).database or ""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")
    except (OSError, sqlite3.Error) as error:
        why, advice = why_not(path, error)
        raise StoreError(f"{path} can't be opened as a SQLite store: {why}; {advice}") from error


def probe_server(uri: str) -> None:
    """Fail at once where nobody listens at an address, for which MLflow would try for minutes.

    Raises:
        StoreError: It says what to do.
    """
    try:
        address = make_url(uri)  # which takes more than urlparse in a password
        host, port = address.host, address.port or _PORTS[_scheme(uri)]
    except (ValueError, SQLAlchemyError) as error:
        raise StoreError(f"{without_password(uri)} is no address: {error}") from None
    if not host:
        if is_database(uri):  # it is a socket of this machine
            return
        raise StoreError(f"{without_password(uri)} names no server; write http://SERVER:5000")
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise StoreError(
            f"no tracking server answers at {without_password(uri)} ({error}); start it, or unset "
            "MLFLOW_TRACKING_URI to use the project's own store"
        ) from error


def database_error(uri: str) -> StoreError | None:
    """Return why a database whose server listens can't be used, for which MLflow would try for long; None if it can."""
    limit = {"connect_timeout": 10} if _scheme(uri) in ("postgresql", "mysql") else {}
    try:
        engine = create_engine(uri, poolclass=NullPool, connect_args=limit)
        with engine.connect():
            return None
    except ImportError as error:
        return _without_driver(uri, error)
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error)
        hint = "; make it with `createdb`" if "does not exist" in cause and "database" in cause else ""
        return StoreError(f"{without_password(uri)} can't be opened: {' '.join(cause.split())}{hint}")


def _begin(path: str, make_tables: Callable[[str], None]) -> None:
    """Make a new store's file under another name, and give it its own once it is whole.

    MLflow commits after each of its many steps: a process that is killed meanwhile would leave a file of no use.
    """
    if path.startswith("file:") or os.path.getsize(path):  # a file of no bytes is what `_probe_file` makes
        return
    new = Path(f"{path}.new")
    with new.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several projects may begin one file
        if os.path.getsize(path):
            return
        file.truncate(0)
        _unfinished.add(os.path.realpath(new))
        try:
            make_tables(_address(new))
            os.fsync(file.fileno())
            new.replace(path)
        finally:
            _unfinished.discard(os.path.realpath(new))
            new.unlink(missing_ok=True)


def _without_driver(uri: str, error: ImportError) -> StoreError:
    hint = "; pip install 'ml-experiment-nb[postgres]'" if _scheme(uri) == "postgresql" else ""
    return StoreError(f"{without_password(uri)} needs a driver that is not installed: {error}{hint}")


def _write_ahead(path: Path) -> None:
    """Have our own store write ahead: a run then costs a third of the time, and readers don't wait for writers.

    Nothing is lost when a process dies; a loss of power may cost the last moments' runs. It isn't done on a shared
    file system, which several machines may write, as SQLite's documentation says (https://sqlite.org/wal.html).
    """
    if is_shared(path):
        return
    with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as database:  # it works without, more slowly
        if database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",):
            _quick.add(os.path.realpath(path))


_quick: set[str] = set()
"""The SQLite files whose commits need not wait for the disk."""
_unfinished: set[str] = set()
"""SQLite files that nobody reads before they are whole."""


def _prepare(connection: Any, _: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.execute(f"PRAGMA busy_timeout = {_BUSY}")
    files = {row[2] for row in connection.execute("PRAGMA database_list")} if _quick or _unfinished else set()
    if files & _quick:
        connection.execute("PRAGMA synchronous = NORMAL")
    if files & _unfinished:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")


def _file_system(path: Path) -> str:
    """Return the name of the file system that a file is on; empty where that can't be told."""
    real = os.path.realpath(path)
    mounts = [one for one in psutil.disk_partitions(all=True) if Path(real).is_relative_to(one.mountpoint)]
    return max(mounts, key=lambda one: len(one.mountpoint)).fstype.lower() if mounts else ""
