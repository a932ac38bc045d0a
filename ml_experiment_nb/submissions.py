"""What somebody has had started and does not wait for: a command in a process of its own, and its state on disk.

Each has a folder ``.ml-experiment/jobs/ID``, so that it is found again by whoever looks next, and goes on without
whoever has started it:

    asked.json      what it is, and the command's words
    process.json    its process, and when that began
    log.txt         all that it prints
    run             the id of its run, from when that has begun
    progress.json   how far it is
    stop            somebody wants it stopped
    result.json     what it has made, if it makes something
    end.json        its exit code, when it ended, and why it failed; a process that died without a word leaves none
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from ml_experiment_nb.errors import RunNotFoundError, StillRunningError, StoreError
from ml_experiment_nb.projects import FOLDER, home
from ml_experiment_nb.records import now
from ml_experiment_nb.whole_files import write_whole

MODULE = "ml_experiment_nb.cli.submitted"  # what the process runs
KEPT = 200  # that have ended
LOG = "log.txt"
STOP_SECONDS = 60.0  # that one may take to stop
_ASKED, _PROCESS, _RUN, _PROGRESS, _STOP, _RESULT, _END = (
    "asked.json", "process.json", "run", "progress.json", "stop", "result.json", "end.json",
)  # fmt: skip
_BEGINS = 30.0  # seconds in which one without a process may only be about to get it
_INTERRUPTED = 130  # the exit code of a command that was


class State(StrEnum):
    """How something stands that was started."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    DIED = "died"

    @property
    def ended(self) -> bool:
        """Whether this is a final state."""
        return self in (State.FINISHED, State.FAILED, State.STOPPED, State.DIED)


@dataclass(frozen=True)
class CommandRequest:
    """What is to be started.

    Attributes:
        kind: ``experiment``, ``group``, ``resume``, ``replay`` or ``image``.
        name: What it is called.
        words: The words behind ``ml-experiment``.
        cwd: The folder that the command is given in.
        notebook: The notebook that it runs: its whole path.
        run_id: Its run, where that is known beforehand.
        started: When: ISO 8601, UTC.
    """

    kind: str
    name: str
    words: tuple[str, ...]
    cwd: str
    notebook: str | None = None
    run_id: str | None = None
    started: str = ""


@dataclass(frozen=True)
class Progress:
    """How far it is: so many of so many, and in words. `total` is None where that can't be known."""

    done: int
    total: int | None
    text: str


@dataclass(frozen=True)
class Submission:
    """Something that was started, and how it stands.

    Attributes:
        id: What it is known by.
        asked: What was asked.
        state: How it stands.
        run_id: Its run, once that has begun.
        progress: How far it is, if it has said so.
        exit_code: The command's; None while it runs, and where it died without a word.
        ended: When: ISO 8601, UTC.
        message: Why it failed.
    """

    id: str
    asked: CommandRequest
    state: State
    run_id: str | None
    progress: Progress | None
    exit_code: int | None
    ended: str | None
    message: str | None


def submit(root: Path, asked: CommandRequest) -> Submission:
    """Start a command that goes on when this process has ended.

    Args:
        root: The root of the project that it belongs to.
        asked: What is to be started.

    Raises:
        StoreError: Its state can't be written, or the process can't be started.
    """
    name = uuid.uuid4().hex[:12]
    folder = folder_of(home(root).parent, name)
    words = [sys.executable, "-P", "-m", MODULE, str(folder)]  # its own words may hold what others needn't see
    process: subprocess.Popen[bytes] | None = None
    try:
        folder.mkdir(parents=True, mode=0o700)
        _write(folder / _ASKED, asdict(asked) | {"started": now().isoformat()})
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                words, cwd=asked.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        with suppress(psutil.NoSuchProcess):  # it has ended, and left word of it
            began = psutil.Process(process.pid).create_time()
            _write(folder / _PROCESS, {"pid": process.pid, "began": began})
    except OSError as error:
        if process is not None:  # without its folder nobody could stop it
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        raise StoreError(f"nothing was started: {error}") from error
    threading.Thread(target=process.wait, daemon=True).start()  # as long as this process lives, it is no zombie
    _prune(root)
    return read(root, name)


def listed(root: Path) -> list[Submission]:
    """Return all that was started in a project and is still known of, the newest first."""
    found = []
    with suppress(FileNotFoundError):
        for path in _folder(root).iterdir():
            with suppress(RunNotFoundError):
                found.append(read(root, path.name))
    return sorted(found, key=lambda one: (one.asked.started, one.id), reverse=True)


def read(root: Path, name: str) -> Submission:
    """Return how something stands that was started.

    Raises:
        RunNotFoundError: There is no such thing.
    """
    folder = folder_of(root, name)
    told = _read(folder / _ASKED)
    try:
        asked = CommandRequest(**told | {"words": tuple(told["words"])})
    except (KeyError, TypeError):
        raise RunNotFoundError(f"there is no job {name!r} in {root}") from None
    is_begun = (folder / _PROCESS).exists()  # before its process is looked for, of which word may be left just now
    is_alive = _process(folder) is not None  # before the end is looked for, which may be written just now
    end = _read(folder / _END)
    state = _state(folder, end, is_alive=is_alive or (not is_begun and _is_recent(asked)))
    run_id, progress = _text(folder / _RUN) or asked.run_id, _read(folder / _PROGRESS)
    message = end.get("message")
    if state is State.DIED:
        message = "its process ended without a word: a signal, or a machine that was short of memory"
    return Submission(
        name, asked, state, run_id, Progress(**progress) if progress else None, end.get("code"), end.get("ended"),
        message,
    )  # fmt: skip


def log_text(root: Path, name: str, keep: int) -> tuple[str, bool]:
    """Return the end of what it has printed, of at most `keep` bytes, and whether that is all.

    Raises:
        RunNotFoundError: There is no such thing.
    """
    read(root, name)
    return end_of(folder_of(root, name) / LOG, keep)


def result(root: Path, name: str) -> dict[str, Any] | None:
    """Return what it has made; None where it makes nothing, or hasn't yet.

    Raises:
        RunNotFoundError: There is no such thing.
    """
    read(root, name)
    return _read(folder_of(root, name) / _RESULT) or None


def end_of(path: Path, keep: int) -> tuple[str, bool]:
    """Return the end of a log, of at most `keep` bytes, and whether that is all.

    Raises:
        OSError: It can't be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - keep))
        return file.read().decode(errors="replace"), size <= keep


def stop(root: Path, name: str, timeout: float = STOP_SECONDS) -> Submission:
    """Stop it as Ctrl-C does, and wait until it has ended: its runs are closed as killed.

    Raises:
        RunNotFoundError: There is no such thing.
        StillRunningError: It did not stop in time.
    """
    folder = folder_of(root, name)
    if (found := read(root, name)).state.ended:
        return found
    (folder / _STOP).touch()
    until, asked = time.monotonic() + timeout, False
    while time.monotonic() < until:
        if not asked and (process := _process(folder)) is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
            asked = True
        if (found := read(root, name)).state.ended:
            return found
        time.sleep(0.2)
    raise StillRunningError(f"job {name} did not stop within {timeout:g} s: its log says what it is at")


# --- the process's own side ---


def read_asked(folder: Path) -> CommandRequest:
    """Return what a submission's process is to do."""
    told = _read(folder / _ASKED)
    return CommandRequest(**told | {"words": tuple(told["words"])})


def say_run(folder: Path, run_id: str) -> None:
    """Leave word of the run."""
    write_whole(folder / _RUN, run_id)


def say_progress(folder: Path, progress: Progress) -> None:
    """Leave word of how far it is."""
    _write(folder / _PROGRESS, asdict(progress))


def say_result(folder: Path, made: dict[str, Any]) -> None:
    """Leave word of what it has made."""
    _write(folder / _RESULT, made)


def say_end(folder: Path, code: int, message: str | None) -> None:
    """Leave word of the end."""
    _write(folder / _END, {"code": code, "ended": now().isoformat(), "message": message})


def folder_of(root: Path, name: str) -> Path:
    """Return the folder of something that is started in a project; it may not exist."""
    return _folder(root) / name


def _folder(root: Path) -> Path:
    return root / FOLDER / "jobs"


# --- what stands in its folder ---


def _state(folder: Path, end: dict[str, Any], *, is_alive: bool) -> State:
    is_stopped = (folder / _STOP).exists()
    if end:
        code = end.get("code")
        return State.FINISHED if code == 0 else State.STOPPED if code == _INTERRUPTED else State.FAILED
    if not is_alive:
        return State.STOPPED if is_stopped else State.DIED
    if is_stopped:
        return State.STOPPING
    has_begun = (folder / _RUN).exists() or (folder / _PROGRESS).exists()
    return State.RUNNING if has_begun else State.STARTING


def _is_recent(asked: CommandRequest) -> bool:
    """Return whether it was asked for just now: without a process, it may only be about to begin."""
    return (datetime.now(UTC) - datetime.fromisoformat(asked.started)).total_seconds() < _BEGINS


def _process(folder: Path) -> psutil.Process | None:
    """Return the process, if it lives."""
    told = _read(folder / _PROCESS)
    with suppress(psutil.Error, KeyError):
        process = psutil.Process(told["pid"])
        if abs(process.create_time() - told["began"]) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _prune(root: Path) -> None:
    """Forget the oldest of those that have ended, beyond some."""
    ended = [one for one in listed(root) if one.state.ended]
    for one in ended[KEPT:]:
        shutil.rmtree(folder_of(root, one.id), ignore_errors=True)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _read(path: Path) -> dict[str, Any]:
    """Return what a file says; nothing where it isn't there, or isn't whole."""
    with suppress(ValueError):
        found = json.loads(_text(path) or "{}")
        return found if isinstance(found, dict) else {}
    return {}


def _write(path: Path, value: dict[str, Any]) -> None:
    write_whole(path, json.dumps(value))


def folders(root: Path) -> Iterator[tuple[str, float]]:
    """Yield the name of each, and when the files in its folder last changed, as far as the folder tells."""
    with suppress(OSError), os.scandir(_folder(root)) as found:
        for one in found:
            with suppress(OSError):
                yield one.name, one.stat().st_mtime
