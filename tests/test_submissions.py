"""What is started and goes on by itself: its state on disk, whoever looks, and however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ml_experiment_nb import cli, submissions
from ml_experiment_nb.cli import submitted
from ml_experiment_nb.errors import RunNotFoundError, StoreError
from ml_experiment_nb.submissions import CommandRequest, Progress, State


def asked(project, *words, name="N", **more):
    return CommandRequest("experiment", name, words, str(project), **more)


def left(project, name="0" * 12, *, process=None, **files):
    """Make the folder that a submission leaves."""
    folder = submissions.folder_of(project, name)
    folder.mkdir(parents=True)
    told = {"kind": "group", "name": "N", "words": ["run"], "cwd": str(project), "notebook": None, "run_id": None}
    started = files.pop("started", "2026-03-02T09:15:02+00:00")
    (folder / "asked.json").write_text(json.dumps(told | {"started": started}))
    (folder / "log.txt").write_bytes(files.pop("log", b""))
    if process is not None:
        made = psutil.Process(process)
        (folder / "process.json").write_text(json.dumps({"pid": process, "began": made.create_time()}))
    for name_, text in files.items():
        (folder / {"end": "end.json", "progress": "progress.json"}.get(name_, name_)).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("alive", "files", "state"),
    [
        (True, {}, State.STARTING),
        (True, {"run": "r"}, State.RUNNING),
        (True, {"progress": '{"done": 0, "total": null, "text": "fetching"}'}, State.RUNNING),
        (True, {"run": "r", "stop": ""}, State.STOPPING),
        (False, {"run": "r"}, State.DIED),
        (False, {"run": "r", "stop": ""}, State.STOPPED),
        (False, {"end": '{"code": 0}'}, State.FINISHED),
        (False, {"end": '{"code": 1}'}, State.FAILED),
        (False, {"end": '{"code": 130}', "stop": ""}, State.STOPPED),
        (True, {"end": '{"co'}, State.STARTING),
    ],
)
def test_its_state_is_what_its_folder_and_its_process_say(project, alive, files, state):
    left(project, process=os.getpid() if alive else None, **files)
    found = submissions.read(project, "0" * 12)
    assert (found.state, found.state.ended) == (state, state not in ("starting", "running", "stopping"))


def test_a_process_that_has_another_s_id_is_not_its_own(project):
    folder = left(project, process=os.getpid(), run="r")
    (folder / "process.json").write_text(json.dumps({"pid": os.getpid(), "began": 1.0}))
    assert submissions.read(project, "0" * 12).state is State.DIED
    assert "without a word" in submissions.read(project, "0" * 12).message


def test_one_without_a_process_may_only_be_about_to_begin(project):
    left(project, started=submissions.now().isoformat())
    assert submissions.read(project, "0" * 12).state is State.STARTING


def test_one_whose_process_is_only_now_noted_has_not_died(project, monkeypatch):
    folder = left(project, started=submissions.now().isoformat())
    look = submissions._process

    def note_after(folder):
        found = look(folder)
        (folder / "process.json").write_text(json.dumps({"pid": os.getpid(), "began": psutil.Process().create_time()}))
        return found

    monkeypatch.setattr(submissions, "_process", note_after)
    assert submissions.read(project, folder.name).state is State.STARTING


def test_what_is_not_there_or_not_whole_is_no_submission(project):
    with pytest.raises(RunNotFoundError, match="no job 'x'"):
        submissions.read(project, "x")
    folder = left(project)
    (folder / "asked.json").write_text("{")
    assert submissions.listed(project) == []


def test_the_end_of_its_log_is_given(project):
    left(project, log="aé".encode() * 10)
    assert submissions.log_text(project, "0" * 12, 100) == ("aé" * 10, True)
    assert submissions.log_text(project, "0" * 12, 3) == ("aé", False)


def test_they_are_listed_the_newest_first_and_the_oldest_that_ended_are_forgotten(project, monkeypatch):
    monkeypatch.setattr(submissions, "KEPT", 2)
    for k in range(4):
        left(project, f"{k:012}", started=f"2026-03-02T09:15:0{k}+00:00", end='{"code": 0}')
    left(project, f"{9:012}", process=os.getpid(), started="2020-01-01T00:00:00+00:00")
    submissions._prune(project)
    assert [one.id[-1] for one in submissions.listed(project)] == ["3", "2", "9"]


def test_what_cannot_be_started_leaves_nothing(project):
    with pytest.raises(StoreError, match="nothing was started"):
        submissions.submit(project, CommandRequest("experiment", "N", ("run",), str(project / "nowhere")))
    assert submissions.listed(project) == []


def test_one_that_nobody_could_find_again_is_ended_and_leaves_nothing(project, monkeypatch):
    monkeypatch.setattr(submissions, "_PROCESS", "none/process.json")
    with pytest.raises(StoreError, match="nothing was started"):
        submissions.submit(project, asked(project, "doctor"))
    assert list((project / ".ml-experiment" / "jobs").iterdir()) == []
    assert not [one for one in psutil.Process().children() if submissions.MODULE in one.cmdline()]


def test_a_command_that_crashes_leaves_its_error_and_its_traceback(project, monkeypatch, capfd):
    def crash(watch):
        raise ValueError("no such luck")

    folder = left(project)
    monkeypatch.setattr(sys, "argv", ["submitted", str(folder)])
    monkeypatch.setattr(cli, "main", crash)
    with pytest.raises(SystemExit, match="1"):
        submitted.main()
    found = submissions.read(project, "0" * 12)
    assert (found.state, found.exit_code, found.message) == ("failed", 1, "ValueError: no such luck")
    assert "Traceback (most recent call last)" in capfd.readouterr().err


def test_words_of_how_far_it_is_are_read_back(project):
    folder = left(project, process=os.getpid())
    submissions.say_run(folder, "r")
    submissions.say_progress(folder, Progress(1, None, "1 trials"))
    found = submissions.read(project, "0" * 12)
    assert (found.run_id, found.progress) == ("r", Progress(1, None, "1 trials"))
    submissions.say_end(folder, 1, "ValueError: no")
    found = submissions.read(project, "0" * 12)
    assert (found.state, found.exit_code, found.message) == ("failed", 1, "ValueError: no")
    assert found.ended


def until_ended(project, name, seconds=180):
    limit = time.monotonic() + seconds
    while not (found := submissions.read(project, name)).state.ended:
        assert time.monotonic() < limit, found
        time.sleep(0.2)
    return found


@pytest.mark.slow
def test_a_command_that_fails_says_why_and_one_that_is_killed_says_nothing(stored, script):
    script("raise ValueError('no such luck')", "bad.py")
    script("import time\ntime.sleep(600)", "long.py")
    bad = submissions.submit(stored, asked(stored, "run", "bad.py"))
    wrong = submissions.submit(stored, asked(stored, "run", "none.py"))
    long = submissions.submit(stored, asked(stored, "run", "long.py"))
    assert bad.state is State.STARTING
    found = until_ended(stored, bad.id)
    assert (found.state, found.exit_code, found.message) == ("failed", 1, "ValueError: no such luck")
    assert found.run_id
    found = until_ended(stored, wrong.id)
    assert (found.state, found.exit_code, found.run_id) == ("failed", 2, None)
    assert found.message == "error: none.py: there is no such file"
    pid = json.loads((submissions.folder_of(stored, long.id) / "process.json").read_text())["pid"]
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGKILL)
    assert until_ended(stored, long.id).state is State.DIED


@pytest.mark.slow
def test_a_group_goes_on_when_who_started_it_has_ended(stored, script):
    script("from ml_experiment_nb import job\n@job\ndef f(C):\n    return {'loss': C}\nf()\n", "f.py")
    words = ["run", "f.py", "-p", "C=uniform(0, 1)", "--trials=3", "--minimize=loss", "--executor=inline"]
    code = (
        "import sys; from pathlib import Path; from ml_experiment_nb import submissions as s;"
        f"r = Path.cwd(); print(s.submit(r, s.CommandRequest('group', 'N', {tuple(words)!r}, str(r))).id)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=stored, timeout=120)
    name = done.stdout.strip()
    assert name, done.stderr
    found = until_ended(stored, name)
    assert (found.state, found.exit_code) == ("finished", 0), submissions.log_text(stored, name, 5000)
    assert found.progress == Progress(3, 3, "3 of 3 trials")
    assert found.run_id
