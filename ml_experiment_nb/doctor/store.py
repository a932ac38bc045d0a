"""The tracking store and the store of artifacts: whether they answer, how quickly, and whether they take writes."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.rest_utils import http_request
from mlflow.utils.uri import is_local_uri
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.pool import NullPool

from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.artifact_stores import ENDPOINT, ROOT, artifact_root, refusals, repository
from ml_experiment_nb.doctor.findings import Finding, Level
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.sqlite_files import why_not
from ml_experiment_nb.stores import (
    check_kind,
    database_error,
    default_uri,
    is_database,
    is_shared,
    login_advice,
    of_another_mlflow,
    probe_server,
    store_uri,
)

_SLOW = 0.5  # seconds for the shortest of questions
_NOBODY = "0" * 32  # no run has this id


def store(root: Path) -> Iterator[Finding]:
    """The tracking store: what it is, whether it answers, its schema or version, and whether it can be written."""
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    uri = store_uri(root)
    name = f"{without_password(uri)}{' (MLFLOW_TRACKING_URI)' if os.environ.get('MLFLOW_TRACKING_URI') else ''}"
    try:
        check_kind(uri)
        if is_database(uri):
            yield _file(uri, name, root) if uri.startswith("sqlite") else _database(uri, name)
        elif uri.startswith(("http:", "https:")):
            yield from _server(uri, name)
        else:
            yield Finding(
                "store", Level.WARNING, f"{name}: not a kind of store that is looked at", "see docs/stores.md"
            )
    except StoreError as error:
        yield Finding("store", Level.PROBLEM, str(error))


def artifacts(root: Path) -> Iterator[Finding]:
    """Where the files of runs go: something is written there, read, and removed again."""
    uri = store_uri(root)
    told = f" ({ROOT})" if os.environ.get(ROOT) and is_database(uri) else ""
    try:
        where = artifact_root(root, uri) if is_database(uri) else _of_server(uri)
        if where is None:
            return
        if is_local_uri(where):
            finding = _folder(Path(local_file_uri_to_path(where)), told)
        else:
            endpoint = os.environ.get(ENDPOINT) if where.startswith("s3:") else None
            at = f" at {without_password(endpoint)}" if endpoint else ""
            finding = Finding("artifacts", Level.OK, f"{where}{told}{at}: {_written_and_read(where, uri)}")
    except (StoreError, MlflowException, OSError) as error:
        advice = "look at docs/stores.md"
        yield Finding("artifacts", Level.PROBLEM, f"{str(error).splitlines()[0]}", advice)
        return
    yield finding
    if is_local_uri(where) and is_database(uri) and not uri.startswith("sqlite"):
        path = Path(local_file_uri_to_path(where))
        if not is_shared(path):
            advice = f"set {ROOT} to a folder that all machines see, or to s3://bucket/folder"
            yield Finding("artifacts", Level.WARNING, f"{path} is on this machine alone, and the store is not", advice)


def _file(uri: str, name: str, root: Path) -> Finding:
    path = Path(make_url(uri).database or "")
    if not path.exists():
        place = next(one for one in (path.parent, *path.parents) if one.exists())
        if place.is_dir() and os.access(place, os.W_OK):
            return Finding("store", Level.OK, f"SQLite, {name}: the first run makes it")
        return Finding(
            "store", Level.PROBLEM, f"{name}: {place} can't be written", "name another, or change its rights"
        )
    began = time.perf_counter()
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=5, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
            mode = database.execute("PRAGMA journal_mode").fetchone()[0]
    except sqlite3.Error as error:
        why, advice = why_not(str(path), error)
        return Finding("store", Level.PROBLEM, f"{name} can't be written: {why}", advice)
    took = time.perf_counter() - began
    finding = _schema(uri, f"SQLite ({mode}), {name}", took)
    if finding.level is Level.OK and mode != "wal" and uri != default_uri(root) and not is_shared(path):
        return Finding(
            "store",
            Level.OK,
            finding.text,
            "with several slots and a page that is open it is quicker in WAL mode: docs/stores.md",
        )
    return finding


def _database(uri: str, name: str) -> Finding:
    began = time.perf_counter()
    probe_server(uri)
    if (error := database_error(uri)) is not None:
        raise error
    return _schema(uri, name, time.perf_counter() - began)


def _schema(uri: str, name: str, took: float) -> Finding:
    """Look at the tables of a database that answers; what is written is rolled back."""
    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        began = time.perf_counter()
        connection.execute(text("SELECT 1"))
        answer = f"connects in {took * 1000:.0f} ms, answers in {(time.perf_counter() - began) * 1000:.0f} ms"
        kind = f"{connection.dialect.name} {'.'.join(map(str, connection.dialect.server_version_info or ()))}"
        tables = set(inspect(connection).get_table_names())
        if "alembic_version" not in tables or "runs" not in tables:
            level = Level.PROBLEM if "alembic_version" in tables or "runs" in tables else Level.OK
            advice = "it has another program's tables: name an empty database" if level is Level.PROBLEM else ""
            said = "no tables of MLflow's" if level is Level.PROBLEM else "empty: the first run makes its tables"
            return Finding("store", level, f"{name}: {kind}, {answer}; {said}", advice)
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        newest = _get_latest_schema_revision()
        if found != newest:
            said = f"its tables are of another MLflow (schema {found}; MLflow {mlflow.__version__} has {newest})"
            return Finding("store", Level.PROBLEM, f"{name}: {kind}; {said}", of_another_mlflow(str(found)))
        if (why := _refusal(connection)) is not None:
            return Finding(
                "store", Level.PROBLEM, f"{name}: {kind}, {answer}; it can't be written: {why}", "ask whoever runs it"
            )
    level = Level.WARNING if took > 4 * _SLOW else Level.OK
    advice = (
        "every run takes several calls: a store nearby makes short trials quicker" if level is Level.WARNING else ""
    )
    return Finding("store", level, f"{name}: {kind}, {answer}, takes writes; schema {found}", advice)


def _refusal(connection: Connection) -> str | None:
    """Return why a database can't be written; None where it can."""
    try:
        connection.execute(text("UPDATE runs SET status = status WHERE 1 = 0"))
    except Exception as error:  # each driver has its own
        return str(error).splitlines()[0]
    finally:
        connection.rollback()
    return None


def _server(uri: str, name: str) -> Iterator[Finding]:
    probe_server(uri)
    client = MlflowClient(uri)
    creds = client._tracking_client.store.get_host_creds()
    try:
        answer = http_request(creds, "/version", "GET", max_retries=0, timeout=10)
        version = answer.text.strip()[:40] if answer.ok else ""
        took = min(_seconds(lambda: client.search_experiments(max_results=1)) for _ in range(2))
    except MlflowException as error:
        if (login := login_advice(uri, error)) is not None:
            sentence, _, advice = login.partition(": ")
            yield Finding("store", Level.PROBLEM, f"{name} {sentence}", advice)
            return
        advice = "look at its log, and at the address"
        yield Finding("store", Level.PROBLEM, f"{name} answers, and not as an MLflow server: {_first(error)}", advice)
        return
    said = f"{name}: MLflow {version or '(version unknown)'}, answers in {took * 1000:.0f} ms"
    try:
        client.set_tag(_NOBODY, "mlexp.doctor", "1")  # no run has that id: a server that takes writes says so
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            advice = "ask whoever runs it for the right to write"
            yield Finding("store", Level.PROBLEM, f"{said}; it can't be written: {_first(error)}", advice)
            return
    said += ", takes writes"
    if version and version.split(".")[0] != mlflow.__version__.split(".")[0]:
        yield Finding(
            "store", Level.WARNING, f"{said}; here is MLflow {mlflow.__version__}", "have the same one in both places"
        )
    elif took > _SLOW:
        yield Finding(
            "store", Level.WARNING, said, "every run takes several calls: a server nearby makes short trials quicker"
        )
    else:
        yield Finding("store", Level.OK, said)


def _seconds(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def _of_server(uri: str) -> str | None:
    """Return where a tracking server has its files kept; None where the server can't be asked, which `store` tells."""
    if not uri.startswith(("http:", "https:")):
        return None
    try:
        probe_server(uri)
        return str(MlflowClient(uri).get_experiment("0").artifact_location)
    except (StoreError, MlflowException):
        return None


def _folder(path: Path, told: str) -> Finding:
    """Look at a folder; where it isn't there yet, at the one that it is made in."""
    place = next(one for one in (path, *path.parents) if one.exists())
    began = time.perf_counter()
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(b"1")
            file.flush()
            Path(file.name).read_bytes()
    except OSError as error:
        advice = "make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "change its rights, or its owner"
        return Finding("artifacts", Level.PROBLEM, f"{place}{told} can't be written: {error.strerror}", advice)
    took = f"written, read and removed in {(time.perf_counter() - began) * 1000:.0f} ms"
    shared = " (a network disk)" if is_shared(place) else ""
    return Finding("artifacts", Level.OK, f"{path}{told}{shared}: {took}")


def _written_and_read(where: str, uri: str) -> str:
    """Write something next to the runs' files, read it, remove it, and say how long that took."""
    name = f"doctor-{uuid.uuid4().hex[:12]}.txt"
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, refusals(where):
        file = Path(folder) / name
        file.write_text(name)
        access = repository(where, uri)
        access.log_artifact(str(file))
        try:
            (Path(folder) / "back").mkdir()
            back = access.download_artifacts(name, str(Path(folder) / "back"))
            if Path(back).read_text() != name:
                raise MlflowException(f"{where} gives back something else than was written")
        finally:
            access.delete_artifacts(name)
    return f"written, read and removed in {(time.perf_counter() - began) * 1000:.0f} ms"


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
