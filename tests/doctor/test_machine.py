import json
import os
import subprocess

import pytest
from examined import found

from ml_experiment_nb.doctor import Level, examine


@pytest.mark.parametrize(
    ("address", "said"), [("127.0.0.1:1", "Connection refused"), ("nonsense", "it is no HOST:PORT")]
)
def test_a_ray_that_is_not_there(project, monkeypatch, only, address, said):
    only("ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    finding = found(project, "ray")
    assert (finding.level, said in finding.text) == (Level.PROBLEM, True)


def kernel_of(folder, name, content):
    place = folder / "kernels" / name
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A folder of kernels that goes before all others; the user's own, which may be broken, are not looked at."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path / "jupyter"


START = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
PYTHON = {"display_name": "x", "language": "python"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({**PYTHON, "argv": ["/gone/python", *START]}, "runs /gone/python, which is not there"),
        ({**PYTHON, "argv": ["no-such-python", *START]}, "runs no-such-python, which is not there"),
        ({**PYTHON, "argv": []}, "has no argv in its kernel.json: nothing says what to start"),
        ({**PYTHON, "argv": ["python", "-m", "no_such_kernel.launcher"]}, "which has no no_such_kernel"),
        ('{"argv": [', "has a kernel.json that can't be read: "),
        ("[]", "has a kernel.json that can't be read: "),
    ],
)
def test_a_kernel_that_can_not_start_is_a_problem(project, only, kernels, content, said):
    only("kernel")
    kernel_of(kernels, "python3", content)
    finding = found(project, "kernel")
    assert (finding.level, said in finding.text) == (Level.PROBLEM, True)
    assert str(kernels / "kernels/python3") in finding.advice


def test_another_environment_is_asked_for_its_kernel(project, only, kernels, tmp_path):
    only("kernel")
    for name, says in (("lacks", "True"), ("has", "False"), ("odd", "what?")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {says}\n")
        program.chmod(0o755)
        kernel_of(kernels, name, {**PYTHON, "argv": [str(program), *START]})
    lacking, fine = examine(project, seconds=100)
    assert (lacking.level, fine.level) == (Level.WARNING, Level.OK)
    said = f"the kernel lacks runs {tmp_path}/lacks, which has no ipykernel_launcher: pip install ipykernel there"
    assert lacking.text == said
    assert "has, odd, python3" in fine.text


def test_a_home_that_can_not_be_written_is_told_where_it_matters(project, only, monkeypatch):
    only("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = found(project, "ray")
    assert (finding.level, finding.advice) == (Level.WARNING, "set HOME to a folder that is yours")


def test_a_folder_of_runs_that_can_not_be_written_is_told(stored, only, monkeypatch):
    only("project")
    (stored / ".ml-experiment/runs").mkdir(exist_ok=True)
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "runs")
    assert found(stored, "project").text == f"{stored}/.ml-experiment/runs can't be written"


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
