"""The process that proves a run: the slice in a new kernel, in a copy of the project."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ml_experiment_nb import proving
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.effects import Executed
from ml_experiment_nb.events import Metrics
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.proofs import PROOF, SENTENCE, ProofAnswer, Ran
from ml_experiment_nb.proving import Request, copy_project, prove
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.session import as_notebook
from ml_experiment_nb.tracking import Store


@pytest.fixture
def request_of(project):
    """Ask for a proof of a session's cells, the last of which is the run's own."""

    def make(*sources, run_id="0" * 32, problems=(), notebook=None, cwd=project, **metrics):
        cells = [Executed(number, source) for number, source in enumerate(sources, start=1)]
        ran = tuple(Ran(one.number, one.source, f"c{one.number}", time.time()) for one in cells)
        return Request(
            run_id, str(project), None, str(cwd), metrics, None, as_notebook(cells, {}), ran, problems, notebook
        )

    return make


@pytest.fixture
def prove_apart(tmp_path_factory):
    """Prove what is asked; the environment is this test's."""

    def run(request):
        before = dict(os.environ)
        try:
            return prove(request, tmp_path_factory.mktemp("place"))
        finally:
            os.environ.clear()
            os.environ.update(before)

    return run


# --- the copy ---


def test_a_copy_has_what_the_code_may_read(project, tmp_path_factory, monkeypatch):
    for name in ("data/train.csv", "a/b/c.py", ".git/config", ".venv/x", "a/__pycache__/y", ".ml-experiment/mlflow.db"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / "link").symlink_to("data/train.csv")
    (project / "large.bin").write_bytes(b"x" * 100)
    monkeypatch.setattr(proving, "_LARGE", 50)
    os.mkfifo(project / "pipe")
    work = tmp_path_factory.mktemp("place") / "work"
    copied = copy_project(project, work)
    assert [path.name for path in copied.linked] == ["large.bin"]
    assert copied.missing == copied.changes() == []
    (project / "large.bin").write_bytes(b"y" * 101)
    assert copied.changes() == [f"changed meanwhile: {project / 'large.bin'}"]
    found = {str(path.relative_to(work)) for path in work.rglob("*") if not path.is_dir()}
    assert found == {"data/train.csv", "a/b/c.py", "link", "large.bin"}
    assert (work / "link").read_text() == "data/train.csv"
    assert (work / "large.bin").is_symlink()
    assert not (work / "data/train.csv").is_symlink()


def test_what_is_too_much_is_linked(project, tmp_path_factory, monkeypatch):
    (project / "many").mkdir()
    for k in range(5):
        (project / f"{k}.txt").write_text("x" * 10)
        (project / "many" / f"{k}.txt").write_text("x")
    monkeypatch.setattr(proving, "_MANY", 5)
    work = tmp_path_factory.mktemp("place") / "work"
    copy_project(project, work)
    assert all((work / f"{k}.txt").is_file() and not (work / f"{k}.txt").is_symlink() for k in range(5))
    assert [(work / "many" / f"{k}.txt").read_text() for k in range(5)] == ["x"] * 5
    assert (work / "many").is_symlink()


def test_bytes_are_limited_too(project, tmp_path_factory, monkeypatch):
    for name in "abc":
        (project / name).write_text("x" * 40)
    monkeypatch.setattr(proving, "_MOST", 100)
    work = tmp_path_factory.mktemp("place") / "work"
    assert len(copy_project(project, work).linked) == 1
    assert [(work / name).is_symlink() for name in "abc"] == [False, False, True]


def test_what_vanishes_while_it_is_copied_is_said(project, tmp_path_factory, monkeypatch):
    copied = proving.shutil.copy2

    def gone(source, target):
        os.unlink(source)
        return copied(source, target)

    (project / "a.txt").write_text("a")
    monkeypatch.setattr(proving.shutil, "copy2", gone)
    found = copy_project(project, tmp_path_factory.mktemp("place") / "work")
    assert found.notes() == [f"{project / 'a.txt'} could not be read, and the cells ran without"]


# --- proofs ---


@pytest.mark.kernel
@pytest.mark.slow
def test_what_gives_the_same_is_clean_and_changes_no_files(project, request_of, prove_apart):
    (project / "sub").mkdir()
    (project / "helpers.py").write_text("def twice(x):\n    return 2 * x\n")
    (project / "out.txt").write_text("mine")
    (project / "data.txt").write_text("21")
    found = prove_apart(
        request_of(
            "import sys\nsys.path.insert(0, '..')\nfrom helpers import twice",
            "x = int(open('../data.txt').read())",
            "%%experiment e --prove --notify https://127.0.0.1:1/x\nC = 1\n"
            "open('../out.txt', 'w').write('changed')\n{'acc': float(C * twice(x))}",
            cwd=project / "sub", acc=42.0,
        )
    )  # fmt: skip
    assert (found.answer, found.cells) == (ProofAnswer.CLEAN, ())
    assert found.text == "in a new kernel its 3 cells, in the order in which they were run, gave the same metric"
    assert (project / "out.txt").read_text() == "mine"
    assert not (project / ".ml-experiment" / "mlflow.db").exists()


@pytest.mark.kernel
@pytest.mark.slow
def test_what_can_not_be_run_names_the_cell_and_writes_nothing_by_its_whole_path_either(
    project, request_of, prove_apart
):
    (project / "out.txt").write_text("mine")
    notebook = project / "n.ipynb"
    cells = [("c1", "x = 2"), ("c2", "gone = 1")]
    notebook.write_text(
        json.dumps({"cells": [{"cell_type": "code", "id": name, "source": text} for name, text in cells]})
    )
    os.utime(notebook, (time.time() + 60, time.time() + 60))
    found = prove_apart(
        request_of(
            "x = 1",
            f"%%experiment e\nC = 1\nopen({str(project / 'out.txt')!r}, 'w')\n{{'acc': 1.0}}",
            problems=["the cell reads y, and no cell that was executed here makes it"], notebook=str(notebook), acc=1.0,
        )
    )  # fmt: skip
    assert found.answer is ProofAnswer.FAILED
    assert found.text.startswith("in a new kernel In [2] (%%experiment e) raises PermissionError: a proof changes no")
    assert "; In [1] (x = 1) was edited since" in found.text
    assert "; the cell reads y, and no cell that was executed here makes it" in found.text
    assert found.cells[:2] == (2, 1)
    assert (project / "out.txt").read_text() == "mine"


@pytest.mark.kernel
@pytest.mark.slow
def test_random_numbers_without_a_seed_are_named_as_the_cause(request_of, prove_apart):
    found = prove_apart(request_of("import random", "%%experiment e\nC = 1\n{'acc': random.random()}", acc=2.0))
    assert found.answer is ProofAnswer.DIFFERS
    assert found.text.endswith("for random numbers were drawn without a seed (random)")


# --- the process ---


@pytest.mark.kernel
@pytest.mark.slow
def test_a_proof_whose_kernel_has_gone_says_so_in_the_run(stored, request_of, has_ended):
    store = Store(stored)
    live = open_run(
        store, name="e", experiment="e", kind="experiment", params={}, tags={PROOF: "is being proven"},
        snapshot=snapshot(stored),
    )  # fmt: skip
    live.add(Metrics({"acc": 1.0}))
    record = live.close(Outcome(Status.FINISHED))
    folder = stored / "request"
    folder.mkdir()
    request_of("import time\ntime.sleep(600)", "%%experiment e\n{'acc': 1.0}", run_id=record.run_id, acc=1.0).leave(
        folder
    )
    # Its parent is a process of its own, which is killed as a kernel may be.
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys, time\np = subprocess.Popen([sys.executable, '-m', "
         f"'ml_experiment_nb.proving', {str(folder)!r}], start_new_session=True)\nprint(p.pid, flush=True)\n"
         "time.sleep(600)"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    prover = int(parent.stdout.readline())
    until = time.monotonic() + 120
    while not (stored / ".ml-experiment" / proving.LOCK).exists() and time.monotonic() < until:
        time.sleep(0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert has_ended(prover, 120)
    tags = store.record(str(record.run_id)).tags
    assert tags[PROOF] == ProofAnswer.STOPPED
    assert tags[SENTENCE].startswith("the kernel that it was asked for in has ended before")
    assert not folder.exists()
