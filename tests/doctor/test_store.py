import http.server
import socket
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from click.testing import CliRunner
from examined import found

from ml_experiment_nb.cli import commands
from ml_experiment_nb.doctor import Level, examine
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.tracking import Store


def test_a_store_in_use_is_looked_at_and_left_as_it_is(stored, only):
    only("store", "artifacts", "project")
    before = (stored / ".ml-experiment/mlflow.db").read_bytes()
    store = found(stored, "store")
    assert store.level is Level.OK
    assert "takes writes; schema " in store.text
    assert found(stored, "artifacts").level is Level.OK
    assert (stored / ".ml-experiment/mlflow.db").read_bytes() == before


@pytest.mark.slow
def test_a_store_that_another_process_holds_is_a_problem(stored, only):
    only("store")
    with closing(sqlite3.connect(stored / ".ml-experiment/mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        finding = found(stored, "store")
    assert (finding.level, "database is locked" in finding.text) == (Level.PROBLEM, True)


@pytest.mark.parametrize(
    ("revision", "advice"), [("451aebb31d03", "mlflow db upgrade"), ("abc", "pip install --upgrade mlflow")]
)
def test_a_store_of_another_mlflow_is_a_problem(stored, only, revision, advice):
    only("store")
    with closing(sqlite3.connect(stored / ".ml-experiment/mlflow.db")) as database, database:
        database.execute(f"UPDATE alembic_version SET version_num = '{revision}'")
    finding = found(stored, "store")
    assert (finding.level, f"schema {revision}" in finding.text) == (Level.PROBLEM, True)
    assert advice in finding.advice
    with pytest.raises(StoreError, match=f"was made by another MLflow version; .*{advice}"):
        Store(stored)


def test_a_store_that_is_damaged_is_told_with_what_helps(project, only):
    only("store")
    file = project / ".ml-experiment/mlflow.db"
    file.parent.mkdir()
    file.write_bytes(b"no database" * 1000)
    finding = found(project, "store")
    assert (finding.level, finding.advice) == (Level.PROBLEM, "put a backup in its place, or move it away")
    file.unlink()
    file.mkdir()
    assert found(project, "store").text.endswith("can't be written: it is a folder")
    with pytest.raises(StoreError, match=r"mlflow\.db can't be opened as a SQLite store: it is a folder; name a file"):
        Store(project)


def test_a_file_in_the_place_of_our_folder_is_told(project, only):
    only("project", "store", "artifacts")
    (project / ".ml-experiment").write_text("mine")
    findings = [*examine(project, seconds=100)]
    assert [one.level for one in findings] == [Level.PROBLEM] * 3
    assert findings[0].text == f"{project}/.ml-experiment is no folder, and has the name of one that is ours"
    assert findings[2].text == f"{project}/.ml-experiment can't be written: Not a directory"


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_a_server_that_is_not_there_is_a_problem_at_once_and_its_password_is_not_shown(
    project, monkeypatch, only, kind
):
    only("store", "artifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{kind}://me:s3cr3t@127.0.0.1:1/x")
    began = time.monotonic()
    result = CliRunner().invoke(commands, ["doctor"])
    assert time.monotonic() - began < 20
    assert result.exit_code == 1
    assert "problem  store" in result.output
    assert "no tracking server answers" in result.output
    assert "s3cr3t" not in result.output


class Closed(http.server.BaseHTTPRequestHandler):
    """Takes nobody in."""

    def do_GET(self):
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"You are not authenticated.")

    do_POST = do_GET

    def log_message(self, *words):
        pass


@pytest.mark.parametrize(
    ("user", "said"), [("", "asks for a login"), ("me:s3cr3t@", "refuses the login that it was given")]
)
def test_a_server_that_asks_for_a_login(project, monkeypatch, only, user, said):
    only("store")
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{user}127.0.0.1:{server.server_port}")
        finding = found(project, "store")
        with pytest.raises(StoreError) as caught:
            Store(project)
        server.shutdown()
    assert (finding.level, said in finding.text) == (Level.PROBLEM, True)
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN" in finding.advice
    assert f"{said}: " in str(caught.value)
    assert "s3cr3t" not in f"{finding}{caught.value}"


@pytest.mark.parametrize("where", ["", "s3://bucket/x"])
def test_files_that_can_not_be_written_are_a_problem(stored, monkeypatch, only, where):
    only("artifacts")
    if where:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
    else:
        where = "/proc/self"
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", where)
    assert found(stored, "artifacts").level is Level.PROBLEM
