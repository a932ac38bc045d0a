"""What a team keeps its runs in: a real PostgreSQL, with files in a real S3, by itself and behind an MLflow server."""

import os
import re
import shlex
import sys
import threading
import uuid
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
import psycopg
import pytest
import services
from click.testing import CliRunner
from driven_groups import TRAIN, check_whole, command, ended, finish, folder, wait_for, write_group
from mlflow import MlflowClient

from ml_experiment_nb import artifact_stores, loop
from ml_experiment_nb.cli import commands
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(services.find_postgres() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(services.find_s3() is None, reason="SeaweedFS is not installed"),
]
__all__ = ["command", "folder"]  # fixtures
SLOW = """
import time
from ml_experiment_nb import artifact, job, report

@job
def main(C):
    for step in range(30):
        report(loss=1 / (step + 1), step=step)
        time.sleep(0.1)
    open("model.bin", "w").write("x")
    artifact("model.bin", "model.bin")

main()
"""


@pytest.fixture(scope="module")
def server():
    with services.postgres() as uri:
        yield uri


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with services.s3(tmp_path_factory.mktemp("s3") / "s3") as found:
        yield found


@pytest.fixture
def tables(server):
    """The address of a database with nothing in it."""
    name = f"mlflow_{uuid.uuid4().hex[:8]}"
    with closing(psycopg.connect(f"{server}/postgres", autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


@pytest.fixture
def team(tables, bucket, folder, monkeypatch):
    """A project whose runs go to PostgreSQL, and their files to S3."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tables)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", f"s3://{services.BUCKET}/{uuid.uuid4().hex[:8]}")
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def server_of_team(team, tables, monkeypatch, tmp_path_factory):
    """The same project before an MLflow server, which has that database and that bucket and alone knows them."""
    port = services.free_port()
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", tables]
    words += ["--artifacts-destination", os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"]]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT"):
        env.pop(name)
    log = tmp_path_factory.mktemp("server") / "log"
    with services.running(words, log, env=env, ready=lambda: services.answers(port)):
        for name in list(os.environ):
            if name.startswith(("AWS_", "MLFLOW_S3")) or name == "MLFLOW_DEFAULT_ARTIFACT_ROOT":
                monkeypatch.delenv(name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield team


def test_the_two_commands_of_the_readme(server, bucket, project, monkeypatch):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    make, serve = (line for line in readme.splitlines() if line.startswith(("sudo -u postgres psql", "mlflow server")))
    with closing(psycopg.connect(f"{server}/postgres", autocommit=True)) as connection:
        for statement in re.findall(r'-c "(.*?)"', make):
            connection.execute(statement)
    port, at = services.free_port(), urlsplit(server)
    words = shlex.split(
        serve.replace("@localhost/", f"@127.0.0.1:{at.port}/").replace("BUCKET", services.BUCKET)
        .replace("0.0.0.0", "127.0.0.1").replace("localhost:5000", f"127.0.0.1:{port}")
    )  # fmt: skip
    env = {**os.environ, **bucket.environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    words = [sys.executable, "-m", *words, "--port", str(port), "--workers", "1"]
    with services.running(words, project / "log", env=env, ready=lambda: services.answers(port)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        result = CliRunner().invoke(commands, ["doctor"])
        assert result.exit_code == 0, result.output
        assert "takes writes" in result.output
        assert re.search(r"artifacts +mlflow-artifacts:\S*: written, read and removed", result.output)


def write_script(folder, source):
    (folder / "train.py").write_text(source)
    (folder / "pause").write_text("0")


def killed_and_resumed(folder, command):
    """Run a group with four slots on Ray, kill its driver, go on with it, and look at it by the command."""
    write_group(folder, executor="ray", slots=4)
    driver = command("run", "g.yaml", "-q")
    parent = wait_for(lambda: ended(folder, 3), driver)
    driver.kill()
    driver.wait()
    code, out, err = finish(command("ls"))
    assert (code, "running" in out, "had died" in err) == (0, False, True), (out, err)
    code, _, err = finish(command("resume", parent.run_id[:8], "-q"))
    assert code == 0, err
    check_whole(folder, parent)
    (best,) = [one for one in Store(folder).children(parent.run_id) if one.ok and one.params["C"] == 7]
    code, out, err = finish(command("show", best.run_id[:8]))
    assert (code, "model.bin" in out, "hush" in out + err) == (0, True, False), (out, err)
    assert finish(command("logs", best.run_id[:8]))[:2] == (0, "at 7\n")
    return best


@pytest.mark.ray
def test_a_group_in_postgres_with_its_files_in_s3(team, command):
    best = killed_and_resumed(team, command)
    assert best.artifact_uri.startswith(os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"])
    assert not (team / ".ml-experiment/artifacts").exists()
    found = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    assert found.get_run(best.run_id).data.metrics == {"seen": 7.0, "acc": 0.7}
    assert {one.path for one in found.list_artifacts(best.run_id)} == {"model.bin", "record"}


def test_the_page_of_postgres_and_s3(team):
    write_script(team, TRAIN)
    [record] = loop.run(make_plan(spec_from_mapping({"name": "one", "run": "train.py", "params": {"C": 3}})))
    port = services.free_port()
    words = [sys.executable, "-m", "ml_experiment_nb.cli", "ui", "--port", str(port)]
    page = f"http://127.0.0.1:{port}"
    with services.running(words, team / "log", ready=lambda: services.answers(port), env={**os.environ}) as server:
        client = MlflowClient(page)
        assert client.get_run(record.run_id).data.metrics == {"seen": 3.0, "acc": 0.3}
        with urlopen(f"{page}/get-artifact?path=model.bin&run_uuid={record.run_id}", timeout=30) as answer:
            assert answer.read() == b"x" * 10
        made = client.create_experiment("made on the page")
        assert client.get_experiment(made).artifact_location.startswith(os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"])
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert not any(services.PASSWORD in word for one in processes for word in one.cmdline())
    said = (team / "log").read_text()
    assert f"http://127.0.0.1:{port}" in said
    assert services.PASSWORD not in said


def test_the_doctor_looks_at_postgres_and_s3_and_leaves_nothing(team, tables, bucket, monkeypatch, command):
    result = CliRunner().invoke(commands, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "empty: the first run makes its tables" in result.output
    Store(team)
    result = CliRunner().invoke(commands, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "postgresql 1" in result.output
    assert "takes writes; schema" in result.output
    assert (
        f"{os.environ['MLFLOW_DEFAULT_ARTIFACT_ROOT']} (MLFLOW_DEFAULT_ARTIFACT_ROOT) at {bucket.url}: written"
        in result.output
    )
    assert services.PASSWORD not in result.output
    assert services.SECRET not in result.output
    root = os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"]
    assert artifact_stores.repository(root, tables).list_artifacts() == []
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tables.replace(services.PASSWORD, "wr0ng"))
    code, out, err = finish(command("doctor"))  # in a process of its own: MLflow keeps its connections to S3
    assert (code, err) == (1, "")
    assert "password authentication failed" in out
    assert "SignatureDoesNotMatch" in out or "signature" in out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{tables}x")
    result = CliRunner().invoke(commands, ["doctor"])
    assert "make it with `createdb`" in result.output


def test_a_reader_who_may_not_write_postgres(team, tables, monkeypatch):
    Store(team)
    with closing(psycopg.connect(tables, autocommit=True)) as connection:
        connection.execute(f"CREATE ROLE reader{uuid.uuid4().hex[:8]} LOGIN PASSWORD 'r' IN ROLE pg_read_all_data")
        name = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'reader%'").fetchone()[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tables.replace("team:" + services.PASSWORD, f"{name}:r"))
    result = CliRunner().invoke(commands, ["doctor"])
    assert (result.exit_code, "permission denied for table runs" in result.output) == (1, True), result.output


@pytest.mark.parametrize("which", ["postgres", "s3"])
def test_a_script_whose_database_or_bucket_is_away_for_a_while(team, tables, bucket, monkeypatch, which):
    write_script(team, SLOW)
    at = urlsplit(tables if which == "postgres" else bucket.url)
    gate = services.Gate(at.port)
    through = f"127.0.0.1:{gate.port}"
    name = "MLFLOW_TRACKING_URI" if which == "postgres" else "MLFLOW_S3_ENDPOINT_URL"
    monkeypatch.setenv(name, os.environ[name].replace(f"127.0.0.1:{at.port}", through))
    plan = make_plan(spec_from_mapping({"name": "one", "run": "train.py", "params": {"C": 3}}))
    back = threading.Timer(6, gate.open)
    records = []
    for update in loop.follow(plan):
        if isinstance(update, Started):
            gate.shut()
            back.start()
        records += [update] if isinstance(update, Record) else []
    back.join()
    [record] = records
    assert record.status is Status.FINISHED
    store = Store(team)
    found = store.record(record.run_id)
    assert found.notes[-1].startswith("the store was away for ")
    curve = MlflowClient(store.uri).get_metric_history(record.run_id, "loss")
    assert [(one.step, one.value) for one in curve] == [(step, 1.0 / (step + 1)) for step in range(30)]
    assert "model.bin" in store.artifacts(found)
    assert [*(team / ".ml-experiment/runs").iterdir()] == []
    gate.shut()


def test_a_bucket_that_is_away_does_not_keep_a_run_from_being_shown(team, bucket, monkeypatch):
    write_script(team, TRAIN)
    [record] = loop.run(make_plan(spec_from_mapping({"name": "one", "run": "train.py", "params": {"C": 3}})))
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{services.free_port()}")
    result = CliRunner().invoke(commands, ["show", record.run_id])
    assert result.exit_code == 0, result.output
    assert "0.3" in result.output
    assert "its files can't be listed: no S3 server answers" in result.stderr


def test_a_bucket_that_is_not_there_costs_no_run(team, monkeypatch):
    write_script(team, TRAIN)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://no-such-bucket/x")
    [record] = loop.run(make_plan(spec_from_mapping({"name": "two", "run": "train.py", "params": {"C": 3}})))
    assert record.status is Status.FINISHED
    assert "files could not be sent to the store" in record.notes[0]
    assert (team / ".ml-experiment/runs" / record.run_id / "artifacts/model.bin").exists()


@pytest.mark.ray
def test_a_group_on_a_server_with_postgres_and_s3(server_of_team, command):
    best = killed_and_resumed(server_of_team, command)
    assert best.artifact_uri.startswith("mlflow-artifacts:")
