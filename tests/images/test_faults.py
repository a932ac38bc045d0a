"""What engines and registries were seen to say, as one sentence of ours."""

import docker
import pytest
import requests

from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images.faults import fault, fault_of_apt

SAID = [
    ("write /var/lib/docker/tmp/x: no space left on device", EngineError, "the engine's disk is full"),
    ('could not select device driver "nvidia" with capabilities: [[gpu]]', EngineError, "NVIDIA Container Toolkit"),
    (
        'invalid mount config for type "bind": bind source path does not exist: /data',
        EngineError,
        "doesn't see this machine's files (invalid mount config",
    ),
    ("exec /usr/bin/python: exec format error", ImageError, "another kind of processor"),
    (
        'failed to create task: exec: "python": executable file not found in $PATH: unknown',
        ImageError,
        "doesn't have the program",
    ),
    ("unauthorized: authentication required", ImageError, "`docker login`"),
    (
        "pull access denied for nothing, repository does not exist or may require 'docker login': denied: "
        "requested access to the resource is denied",
        ImageError,
        "there is no such repository",
    ),
    ("No such image: svm:1", ImageError, "neither here nor in its registry"),
    ("manifest for python:9 not found: manifest unknown", ImageError, "neither here nor in its registry"),
    (
        'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
        ImageError,
        "the registry can't be reached",
    ),
    ("network bridge not found", EngineError, "--network host gives it that of its machine"),
    (
        "Credentials store error: StoreError('docker-credential-x not installed or not available in PATH')",
        EngineError,
        "Docker's credential helper fails",
    ),
    ("something quite new", EngineError, "the engine says: something quite new"),
    ("", EngineError, "the engine says: nothing"),
]


@pytest.mark.parametrize(("text", "kind", "sentence"), SAID)
def test_what_is_said_is_one_sentence(text, kind, sentence):
    found = fault(text, "image 'svm:1' can't be had", "unix:///x")
    assert type(found) is kind
    assert str(found).startswith("image 'svm:1' can't be had: ")
    assert sentence in str(found)
    assert "\n" not in str(found)


def test_an_engine_that_is_not_there_is_named_by_its_address():
    error = requests.exceptions.ConnectionError("Connection aborted.", FileNotFoundError(2, "No such file"))
    assert str(fault(error, "x", "unix:///x.sock")) == (
        "no Docker engine answers at unix:///x.sock: start it, or say by DOCKER_HOST where it is"
    )


def test_a_socket_that_is_not_ours_is_said():
    error = docker.errors.DockerException(
        "Error while fetching server API version: ('Connection aborted.', PermissionError(13, 'Permission denied'))"
    )
    assert "this user may not use the Docker engine at unix:///x.sock" in str(fault(error, "x", "unix:///x.sock"))


def test_an_engine_that_hangs_is_said():
    assert "doesn't answer in time" in str(fault(requests.exceptions.ReadTimeout("read"), "x", "unix:///x.sock"))


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["/bin/sh: 1: apt-get: not found"], "the base has no apt-get"),
        (["bash: line 1: apt-get: command not found"], "the base has no apt-get"),
        (
            ["W: Failed to fetch http://x/InRelease  Could not connect to x:80", "E: Unable to locate package git"],
            "(Could not connect to x:80); --network host",
        ),
        (["Reading...", "E: Unable to locate package gti"], "no package 'gti'"),
        (["E: Couldn't find any package by glob 'python3.6'"], "no package 'python3.6'"),
        (["E: Package 'libssl1' has no installation candidate"], "no package 'libssl1' for the base any more"),
    ],
)
def test_why_debian_packages_are_not_installed_is_said(lines, sentence):
    found = fault_of_apt(lines, "the image can't be built")
    assert isinstance(found, ImageError)
    assert sentence in str(found)
    assert "\n" not in str(found)


def test_of_what_else_a_step_says_nothing_is_made_up():
    assert fault_of_apt(["E: dpkg was interrupted"], "x") is None
