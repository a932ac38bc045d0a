import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from click.testing import CliRunner

from ml_experiment_nb import doctor
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.cli import commands
from ml_experiment_nb.doctor import Finding, Level, examine
from ml_experiment_nb.doctor.findings import without_secrets
from ml_experiment_nb.drivers import Driver, Hold
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.tracking import Store


def found(project, check):
    (finding,) = [one for one in examine(project, seconds=100) if one.check == check]
    return finding


@pytest.fixture
def only(monkeypatch):
    """Have some of the checks alone be made."""

    def choose(*names):
        monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in names})

    return choose


def everything(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_in_an_empty_folder_nothing_is_made_and_nothing_is_a_problem(project):
    words = [sys.executable, "-m", "ml_experiment_nb.cli", "doctor", "--json", "--timeout", "100"]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout
    findings = [json.loads(line) for line in made.stdout.splitlines()]
    assert [*dict.fromkeys(one["check"] for one in findings)] == [*doctor.CHECKS]
    assert {*findings[0]} == {"check", "level", "text", "advice"}
    assert "the first run makes it" in next(one["text"] for one in findings if one["check"] == "store")
    assert made.stderr == ""
    assert everything(project) == {}


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


def test_a_store_of_another_mlflow_is_a_problem(stored, only):
    only("store")
    with closing(sqlite3.connect(stored / ".ml-experiment/mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'abc'")
    finding = found(stored, "store")
    assert (finding.level, "schema abc" in finding.text) == (Level.PROBLEM, True)
    assert "mlflow db upgrade" in finding.advice


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


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgres://me:s3cr3t@127.0.0.1:1/x", "write postgresql:// in place of postgres://"),
        ("mlruns", "MLflow keeps runs in no folder any more"),
        ("file:///tmp/x", "sqlite:////path/to.db"),
        ("other://me:s3cr3t@127.0.0.1:1/x", ""),
    ],
)
def test_an_address_of_no_store_is_told_by_every_command(project, monkeypatch, only, address, said):
    only("store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    result = CliRunner().invoke(commands, ["doctor"])
    assert said in result.output
    with pytest.raises(StoreError) as caught:
        Store(project)
    assert said in str(caught.value)
    assert "s3cr3t" not in result.output + str(caught.value)


def test_what_does_not_answer_is_not_waited_for(project, monkeypatch, only):
    only("docker", "gpu")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        findings = [*examine(project, seconds=0.5)]
    assert findings[0].level is Level.WARNING  # it is not needed on one machine
    assert findings[0].text == "no answer within 0.5 s"


def test_a_check_that_fails_is_a_finding(project, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", {"gpu": "machine:nothing", "store": "machine:nothing"})
    beside, needed = examine(project)
    assert (beside.check, beside.level) == ("gpu", Level.WARNING)
    assert (needed.check, needed.level) == ("store", Level.PROBLEM)
    assert "AttributeError" in needed.text
    assert needed.advice


def extension(folder, built):
    """Write JupyterLab's extension of ours to a folder of Jupyter's data, as far as a server looks at it."""
    place = folder / "labextensions/ml-experiment-nb"
    (place / "static").mkdir(parents=True)
    said = {"name": "ml-experiment-nb", "version": "1", "jupyterlab": {"_build": {"load": "static/remoteEntry.js"}}}
    (place / "package.json").write_text(json.dumps(said))
    if built:
        (place / "static/remoteEntry.js").touch()


def configured(folder, name, content):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def jupyter(tmp_path_factory, monkeypatch):
    """Folders of Jupyter's data and settings that go before those of the environment."""
    pytest.importorskip("jupyterlab_server")
    data, settings = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("settings")
    monkeypatch.setenv("JUPYTER_PATH", str(data))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(settings))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(settings / "own"))
    enabled = {"ServerApp": {"jpserver_extensions": {"ml_experiment_nb": True}}}
    configured(settings, "jupyter_server_config.d/ours.json", enabled)
    return data, settings


def of_jupyterlab(project):
    return [(one.level, one.text, one.advice) for one in examine(project, seconds=100)]


def test_jupyterlab_s_extensions_are_enabled(project, only, jupyter):
    only("jupyterlab")
    extension(jupyter[0], built=True)
    (page, text, _), (server, *_) = of_jupyterlab(project)
    assert (page, server) == (Level.OK, Level.OK)
    assert f"is enabled, in {jupyter[0]}" in text


def test_what_jupyterlab_s_extensions_lack_is_told_with_what_to_do(project, only, jupyter):
    only("jupyterlab")
    data, settings = jupyter
    extension(data, built=False)
    configured(
        settings,
        "jupyter_server_config.d/ours.json",
        {"ServerApp": {"jpserver_extensions": {"ml_experiment_nb": False}}},
    )
    page, server = of_jupyterlab(project)
    assert page[0] is server[0] is Level.WARNING
    assert "is not built" in page[1]
    assert "make labextension" in page[2]
    assert server[2] == "jupyter server extension enable ml_experiment_nb --sys-prefix"
    (data / "labextensions/ml-experiment-nb/static/remoteEntry.js").touch()
    configured(settings, "labconfig/page_config.json", {"disabledExtensions": {"ml-experiment-nb": True}})
    level, text, advice = of_jupyterlab(project)[0]
    assert (level, advice) == (Level.WARNING, "jupyter labextension enable ml-experiment-nb")
    assert "is disabled" in text


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


def test_runs_that_drivers_have_left_are_told(stored, only):
    only("project")
    folder = stored / ".ml-experiment/runs/abc"
    folder.mkdir(parents=True)
    Hold(folder, Driver("elsewhere", 12, "another boot", "t")).drop()
    finding = found(stored, "project")
    assert (finding.level, "left 1 run" in finding.text) == (Level.WARNING, True)


def test_a_ray_that_is_not_there(project, monkeypatch, only):
    only("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert found(project, "ray").level is Level.PROBLEM


def test_git_is_looked_at(project, only):
    only("git")
    assert "no repository" in found(project, "git").text
    subprocess.run(["git", "init", "-q"], check=True)
    assert "no commit yet" in found(project, "git").text
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert found(project, "git").level is Level.OK


def test_a_folder_that_can_not_be_written(project, only, monkeypatch):
    only("project", "store")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert found(project, "project").level is Level.PROBLEM


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p@ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p/ss@h/db", "postgresql://u:***@h/db"),
        ("postgresql:///db?user=u&password=p%40&x=1", "postgresql:///db?user=u&password=***&x=1"),
        ("http://h:5000", "http://h:5000"),
        ("https://h/x?a=1&access_token=abc y", "https://h/x?a=1&access_token=*** y"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_addresses_are_shown_without_their_passwords(address, shown):
    assert without_password(address) == shown


def test_a_password_in_an_error_is_masked(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://u:ab%21cd@h/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "kkkkk")
    given = Finding("store", Level.PROBLEM, "refused ab!cd and ab%21cd", "with kkkkk")
    assert without_secrets(given) == Finding("store", Level.PROBLEM, "refused *** and ***", "with ***")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://mlflow:mlflow@h/db")
    assert without_secrets(Finding("python", Level.OK, "mlflow 3")).text == "mlflow 3"


def test_an_engine_that_is_told_of_and_not_there_is_a_warning(project, monkeypatch, only, tmp_path):
    only("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    (finding,) = examine(project)
    assert (finding.level, finding.text) == (
        Level.WARNING,
        f"no Docker engine answers at unix://{tmp_path}/absent.sock",
    )
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "absent")
    (finding,) = examine(project)
    assert finding.level is Level.WARNING
    assert finding.text.startswith("there is no Docker context 'absent', which DOCKER_CONTEXT names")


@pytest.mark.docker
def test_the_engine_of_a_context_is_found_with_what_images_are_made_with(project, monkeypatch, only, docker):
    only("docker")
    subprocess.run(["docker", "context", "create", "own", "--docker", f"host={docker.address}"], check=True)
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONTEXT", "own")
    engine, tools = examine(project, seconds=120)
    assert engine.level is tools.level is Level.OK
    assert engine.text.endswith(f" at {docker.address}, of the Docker context 'own'")
    assert tools.text.startswith("images are made with BuildKit (docker buildx), uv (")
