"""What a team keeps its runs in: a real PostgreSQL, with files in a real S3, by itself and behind an MLflow server."""

import os
import sys
import uuid
from contextlib import closing

import pytest
import services
from mlflow import MlflowClient
from test_faults import answers, check_whole, command, ended, finish, folder, wait_for, write_group

from ml_experiment_nb.tracking import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(services.find_postgres() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(services.find_s3() is None, reason="SeaweedFS is not installed"),
]
__all__ = ["command", "folder"]  # fixtures


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
    import psycopg

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
    with services.running(words, log, env=env, ready=lambda: answers(port)):
        for name in list(os.environ):
            if name.startswith(("AWS_", "MLFLOW_S3")) or name == "MLFLOW_DEFAULT_ARTIFACT_ROOT":
                monkeypatch.delenv(name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        yield team


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
    (best,) = [one for one in Store(folder).children(parent.run_id) if one.ok and one.params["C"] == "7"]
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


@pytest.mark.ray
def test_a_group_on_a_server_with_postgres_and_s3(server_of_team, command):
    best = killed_and_resumed(server_of_team, command)
    assert best.artifact_uri.startswith("mlflow-artifacts:")
