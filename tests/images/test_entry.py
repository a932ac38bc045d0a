"""What a container of an image begins with."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.entry import command_of

RUN = [sys.executable, "-P", "-m", "ml_experiment_nb.cli", "run", "train.ipynb"]


def test_words_are_those_of_a_run(capsys):
    env = {"MLFLOW_TRACKING_URI": "http://store"}
    assert command_of("train.ipynb", ["-p", "C", "0.5"], env) == [*RUN, "-p", "C", "0.5"]
    assert capsys.readouterr().err == ""


def test_a_record_that_stays_in_the_container_is_said(capsys):
    assert command_of("train.ipynb", [], {}) == RUN
    assert "the record stays in this container" in capsys.readouterr().err
    command_of("train.ipynb", ["--plan"], {})
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_not_there_is_said_with_the_way_to_mount_it(tmp_path):
    with pytest.raises(ImageError, match=r"is no folder that user \d+ may write to: docker run -v"):
        command_of("train.ipynb", [], {"ML_EXPERIMENT_ROOT": str(tmp_path / "absent")})
    assert command_of("train.ipynb", [], {"ML_EXPERIMENT_ROOT": str(tmp_path)}) == RUN


def test_lab_is_jupyterlab_and_takes_its_options():
    pytest.importorskip("jupyterlab")
    command = command_of("my work/train.ipynb", ["lab", "--debug"], {})
    assert command[:4] == [sys.executable, "-P", "-m", "jupyterlab"]
    assert command[-2:] == ["--LabApp.default_url=/lab/tree/my%20work/train.ipynb", "--debug"]
    options = command_of("train.ipynb", ["lab", "--port=9000", "--ServerApp.ip", "::"], {})[4:]
    assert options == [
        "--no-browser",
        "--LabApp.default_url=/lab/tree/train.ipynb",
        "--port=9000",
        "--ServerApp.ip",
        "::",
    ]
    assert "default_url" not in " ".join(command_of("../train.ipynb", ["lab"], {}))
    with pytest.raises(ImageError, match="is no folder that"):
        command_of("train.ipynb", ["lab"], {"ML_EXPERIMENT_ROOT": "/absent"})


def test_a_word_that_is_none_of_a_run_is_no_notebook_to_write():
    with pytest.raises(ImageError, match=r"'bash' is no option of a run.*--entrypoint sh"):
        command_of("train.ipynb", ["bash"], {})
    assert command_of("train.ipynb", ["out.ipynb"], {"ML_EXPERIMENT_ROOT": "/tmp"}) == [*RUN, "out.ipynb"]
    assert command_of("train.ipynb", ["-"], {"ML_EXPERIMENT_ROOT": "/tmp"}) == [*RUN, "-"]


def test_an_image_without_jupyterlab_says_so(monkeypatch):
    monkeypatch.setattr("ml_experiment_nb.images.entry.find_spec", lambda name: None)
    with pytest.raises(ImageError, match="make it with --lab"):
        command_of("train.ipynb", ["lab"], {})


@pytest.mark.slow
def test_lab_answers_whoever_has_the_token_and_opens_the_notebook(tmp_path, monkeypatch):
    pytest.importorskip("jupyterlab")
    (tmp_path / "my train.ipynb").write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["my train.ipynb", "lab", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command = [sys.executable, "-m", "ml_experiment_nb.images.entry", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "the record stays in this container" in process.stderr.readline()
            found = (
                re.search(r"(http://127[^/]*)/lab/tree/my%20train.ipynb\?token=(\w+)", line) for line in process.stderr
            )
            address, token = next(filter(None, found)).groups()
            until = time.monotonic() + 60
            while _refuses(port):  # it says where it is before it listens
                assert time.monotonic() < until
                time.sleep(0.1)
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"{address}/api/contents", timeout=60)
            asked = urllib.request.Request(f"{address}/api/contents", headers={"Authorization": f"token {token}"})
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert [one["name"] for one in json.load(answer)["content"]] == ["my train.ipynb"]
        finally:
            process.send_signal(signal.SIGTERM)


def _refuses(port):
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) != 0
