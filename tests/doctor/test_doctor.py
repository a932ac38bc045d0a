import json
import socket
import subprocess
import sys
import textwrap

import pytest
from click.testing import CliRunner
from examined import found

from ml_experiment_nb import doctor
from ml_experiment_nb.cli import commands
from ml_experiment_nb.doctor import Level, examine
from ml_experiment_nb.drivers import Driver, Hold
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.tracking import Store


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


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgres://me:s3cr3t@127.0.0.1:1/x", "write postgresql:// in place of postgres://"),
        ("mlruns", "MLflow keeps runs in no folder any more"),
        ("file:///tmp/x", "sqlite:////path/to.db"),
        ("sqlite:///", "is a store in memory"),
        ("http://", "names no server; write http://SERVER:5000"),
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


@pytest.mark.slow
def test_nothing_is_imported_by_two_threads_at_once(project):
    pytest.importorskip("jupyterlab_server")
    code = """
        import pathlib, sys, threading
        from ml_experiment_nb import doctor
        wanted = {"jupyter_client.kernelspec", "jupyterlab_server.config", "ml_experiment_nb.images.engine", "mlflow"}
        class Watched(threading.Thread):
            def start(self):
                if self.name.startswith("doctor-"):
                    print(self.name, *(wanted - sys.modules.keys()))
                super().start()
        threading.Thread = Watched
        list(doctor.examine(pathlib.Path.cwd(), seconds=100))
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    made = subprocess.run(words, capture_output=True, text=True, check=True)
    assert made.stdout.split() == [f"doctor-{name}" for name in doctor.CHECKS]


def test_a_check_that_fails_is_a_finding(project, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", {"gpu": "machine:nothing", "store": "machine:nothing"})
    beside, needed = examine(project)
    assert (beside.check, beside.level) == ("gpu", Level.WARNING)
    assert (needed.check, needed.level) == ("store", Level.PROBLEM)
    assert "AttributeError" in needed.text
    assert needed.advice


def test_runs_that_drivers_have_left_are_told(stored, only):
    only("project")
    folder = stored / ".ml-experiment/runs/abc"
    folder.mkdir(parents=True)
    Hold(folder, Driver("elsewhere", 12, "another boot", "t")).drop()
    finding = found(stored, "project")
    assert (finding.level, "left 1 run" in finding.text) == (Level.WARNING, True)
