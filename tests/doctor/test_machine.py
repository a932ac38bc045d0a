import os
import subprocess

import pytest
from examined import found

from ml_experiment_nb.doctor import Level, examine


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
