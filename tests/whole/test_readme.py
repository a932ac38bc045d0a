"""What the README and docs/python.md show is true: their files are written, their commands and cells are run.

In a block, a first line ``# name.ext`` makes it a file. ``bash`` blocks are run line by line, ``console`` blocks with
their output compared, ``python`` blocks without a file are cells of a notebook. ``shell`` blocks set up an environment.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = [(lang, text) for lang, text in re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S)]
FILES = {m[1]: text for _, text in BLOCKS if (m := re.match(r"# (\S+\.\w+)\n", text))}
CELLS = [text for lang, text in BLOCKS if lang == "python" and text not in FILES.values()]
COMMANDS = [line for lang, text in BLOCKS if lang == "bash" for line in text.splitlines()]
CONSOLE = [
    tuple(part.split("\n", 1)) for lang, text in BLOCKS if lang == "console" for part in text.split("$ ") if part
]
PYTHON = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text(), re.M | re.S)
BIN = Path(sys.executable).parent


@pytest.fixture
def tour(project, monkeypatch):
    """A project with the files that the README shows, and the examples."""
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    shutil.copytree(ROOT / "examples", project / "examples", ignore=shutil.ignore_patterns("prepared"))
    for name, text in FILES.items():
        (project / name).write_text(text)
    return project


def sh(line):
    return subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)


def test_the_blocks_are_found():
    assert FILES.keys() == {"train_svm.py", "svm.yaml", "typo.yaml"}
    assert (len(CELLS), len(COMMANDS), len(CONSOLE), len(PYTHON)) == (4, 10, 2, 7)


@pytest.mark.ray
@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_works(tour):
    for line in COMMANDS:
        done = sh(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (tour / "out.ipynb").exists()
    runs = sh("ml-experiment ls --limit 50").stdout
    assert runs.count("SVM notebook") == 3  # the group and its two trials
    newest = runs.splitlines()[1].split()[0]
    assert sh(f"ml-experiment show {newest}").stdout.startswith("run ")
    assert sh(f"ml-experiment logs {newest}").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("line", "text"), CONSOLE)
def test_errors_look_as_shown(tour, line, text):
    done = sh(line)
    assert (done.returncode, done.stderr) == (2, text)


@pytest.mark.ray
@pytest.mark.kernel
@pytest.mark.slow
def test_the_cells_run_in_a_kernel(tour):
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text.strip()) for text in CELLS])
    NotebookClient(notebook, kernel_name="python3", timeout=280, resources={"metadata": {"path": str(tour)}}).execute()
    shown = notebook.cells[-1].outputs[-1].data["text/plain"]
    assert "val_accuracy" in shown
    assert "metrics.val_accuracy" in shown


@pytest.mark.slow
@pytest.mark.parametrize("text", PYTHON)
def test_the_python_examples_run(tour, text):
    (tour / "example.py").write_text(text)
    done = sh("python example.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_the_page_of_the_store_opens(tour):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = subprocess.Popen(["ml-experiment", "ui", "--port", str(port)], stderr=subprocess.PIPE, text=True)
    try:
        assert f"http://127.0.0.1:{port}" in page.stderr.readline()
        until = time.monotonic() + 90
        while True:
            try:
                assert b"<title>MLflow" in urlopen(f"http://127.0.0.1:{port}/").read()
                break
            except OSError:
                assert page.poll() is None, page.stderr.read()
                assert time.monotonic() < until
                time.sleep(0.5)
    finally:
        page.terminate()
        page.communicate(timeout=30)


def test_the_make_targets_exist():
    named = set(re.findall(r"\bmake ([a-z-]+)", " ".join(text for lang, text in BLOCKS if lang == "shell")))
    named |= set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"demo", "test", "bench"} <= named
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert named <= known


def test_the_exit_codes_are_the_command_s():
    from ml_experiment_nb import cli

    table = dict(re.findall(r"^\| (\d+) \| (.*) \|$", README, re.M))
    assert set(re.findall(r"\b(\d+) [a-z]", cli.__doc__.split("Exit codes:")[1])) == set(table)
