"""A worker of a distributed run, which is one of Ray Train's: runs the function, and says what comes of it.

Each worker keeps a connection to the process that started them all, `ml_experiment_nb.work.distributed`, which has
the other end of what is written here. A message is a letter and its content:

| Letter | From | Says |
| --- | --- | --- |
| H | worker | Who it is: its rank and its process, as JSON. |
| E | rank 0 | An event, as `reports` writes it. |
| L | worker | What was printed. |
| F | rank 0 | A part of an artifact's file: its name, a line's end, and the bytes. |
| X | worker | How it ended, as an outcome; of rank 0, behind a line's end, the function's value as a pickle. |
| A | the other end | The answer that rank 0 waits for, as JSON. |
| B | the other end | Bye: the worker's end has been taken note of. |

A worker whose connection is closed by the other end has nobody left to work for, and ends itself.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import cloudpickle

from ml_experiment_nb import events, reports, wire
from ml_experiment_nb.distribution import ASKED, RANK
from ml_experiment_nb.failures import failure_of
from ml_experiment_nb.records import Failure, Outcome, Status

PIECE = 1 << 20  # bytes of a file that travel at once
_OURS = ("MLFLOW_", "ML_EXPERIMENT_")


@dataclass(frozen=True)
class Work:
    """What every worker of a run is given.

    Attributes:
        call: The function and its arguments, pickled.
        record: Whether what it returns are the run's metrics. Within a cell or another job they are its caller's.
        address: Where the process listens that started the workers.
        key: What proves to it that a worker is one of its own.
        node: The Ray node of that process.
        artifacts: Where, on that node, the run's artifacts are gathered.
        cwd: The working directory.
        path: The import path.
        env: What is set in the environment.
        pruning: Whether `report` waits for the pruner's verdict.
    """

    call: bytes
    record: bool
    address: tuple[str, int]
    key: bytes
    node: str
    artifacts: str
    cwd: str
    path: tuple[str, ...]
    env: Mapping[str, str]
    pruning: bool


class EndedEarly(Exception):
    """Raised to Ray Train by a worker that did not finish: it ends the other ones."""


def train(given: Mapping[str, Any]) -> None:
    """Do a worker's part: Ray Train's function, which runs on each of them.

    Raises:
        EndedEarly: The function raised, or the run was pruned; the other end knows why.
    """
    import ray
    import ray.train

    work: Work = given["work"]
    rank = ray.train.get_context().get_world_rank()
    scratch = Path(tempfile.mkdtemp(prefix=f"mlexp-rank-{rank}-"))
    is_there = rank == 0 and ray.get_runtime_context().get_node_id() == work.node
    link = Link(work, rank, Path(work.artifacts) if is_there else scratch / "artifacts")
    try:
        with _set_up(work, rank, scratch), _printing_to(link):
            outcome, value = _perform(work, link)
        if rank == 0 and not is_there:
            link.send_files()
        link.end(outcome, value)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if outcome.status is not Status.FINISHED:
        raise EndedEarly(str(outcome.failure or outcome.status))


class Link:
    """A worker's end of its connection. It is also the sink of what the function reports, of which rank 0's counts."""

    def __init__(self, work: Work, rank: int, artifacts: Path) -> None:
        self.artifacts = artifacts
        self.artifacts.mkdir(parents=True, exist_ok=True)
        self._counts = rank == 0
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._connection: Connection = Client(work.address, authkey=work.key)
        self.write(b"H", json.dumps({"rank": rank, "pid": os.getpid(), "host": socket.gethostname()}).encode())
        threading.Thread(target=self._listen, name="other end", daemon=True).start()

    def send(self, event: events.Event) -> None:
        """Hand one event over."""
        if self._counts:
            self.write(b"E", events.encode(event))

    def ask(self, event: events.Metrics | events.Ask) -> events.Answer:
        """Hand a question over, or metrics that ask for a verdict, and return the answer; rank 0 alone may ask."""
        if isinstance(event, events.Ask) and not self._counts:
            return events.Answer(error="only the first worker can ask for its trial: hand what it says to the others")
        with self._asking:
            self.send(event)
            return events.Answer(**json.loads(self._answers.get()[1:]))

    def write(self, letter: bytes, content: bytes) -> None:
        """Send one message."""
        with self._lock:
            self._connection.send_bytes(letter + content)

    def send_files(self) -> None:
        """Send the artifacts from a machine where they are not gathered."""
        for path in sorted(one for one in self.artifacts.rglob("*") if one.is_file()):
            head = str(path.relative_to(self.artifacts)).encode() + b"\n"
            with path.open("rb") as file:
                self.write(b"F", head)
                while piece := file.read(PIECE):
                    self.write(b"F", head + piece)

    def end(self, outcome: Outcome, value: bytes) -> None:
        """Say how the function ended, and wait until that has been taken note of."""
        self.write(b"X", events.encode(events.Done(outcome)) + (value if self._counts else b""))
        self._answers.get()

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                letter = self._connection.recv_bytes()
                self._answers.put(letter)
                if letter == b"B":
                    return
        os._exit(1)  # nobody is left to work for


def _perform(work: Work, link: Link) -> tuple[Outcome, bytes]:
    """Call the function; return how it ended, and its value as a pickle."""
    try:
        function, arguments = pickle.loads(work.call)
        with reports.local_sink(link):
            value = call(function, arguments, link, work.record)
    except reports.Pruned:
        return Outcome(Status.PRUNED), b""
    except SystemExit as error:
        if error.code in (None, 0):
            return Outcome(Status.FINISHED), b""
        return Outcome(Status.FAILED, Failure("SystemExit", str(error.code))), b""
    except BaseException as error:
        if type(error).__name__ == "TrialPruned" and type(error).__module__.startswith("optuna"):
            return Outcome(Status.PRUNED), b""
        return Outcome(Status.FAILED, failure_of(error)), b""
    try:
        return Outcome(Status.FINISHED), cloudpickle.dumps(value) if link._counts else b""
    except Exception:  # a value that can't travel: what it is for is recorded already
        return Outcome(Status.FINISHED), b""


def call(function: Any, arguments: Mapping[str, Any], sink: reports.Sink, record: bool) -> Any:
    """Call a function as a job's or, where its caller is the job, as its caller would."""
    import inspect

    if record or inspect.isgeneratorfunction(function):
        return reports.call(function, arguments, sink)
    return function(**arguments)


@contextmanager
def _set_up(work: Work, rank: int, scratch: Path) -> Iterator[None]:
    """Give the worker its task's surroundings. MLflow's own calls meet the run on rank 0, and nothing elsewhere."""
    env = {name: value for name, value in work.env.items() if name.startswith(_OURS)}
    env |= {RANK: str(rank), wire.ARTIFACTS: str(scratch), reports.PRUNING: "1" if work.pruning and not rank else ""}
    for name in (wire.SOCKET, ASKED):
        env.pop(name, None)
    if rank:
        env.pop("MLFLOW_RUN_ID", None)
        env["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
    for name in ("MLFLOW_RUN_ID", wire.SOCKET, ASKED):
        os.environ.pop(name, None)
    os.environ.update(env)
    sys.path[:0] = [folder for folder in work.path if folder not in sys.path]
    if os.path.isdir(work.cwd):
        os.chdir(work.cwd)
    yield


@contextmanager
def _printing_to(link: Link) -> Iterator[None]:
    """Send what this process prints, libraries' own output included."""
    reading, writing = os.pipe()
    kept = os.dup(1), os.dup(2)
    streams = sys.stdout, sys.stderr
    _flush(*streams)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, "utf-8", closefd=False) for number in (1, 2))
    thread = threading.Thread(target=_pass_on, args=(reading, link), name="output", daemon=True)
    thread.start()
    try:
        yield
    finally:
        _flush(sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = streams
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        thread.join(timeout=1)  # what the function has started may hold the other end for good


def _pass_on(reading: int, link: Link) -> None:
    while data := os.read(reading, 1 << 16):
        link.write(b"L", data)


def _flush(*streams: Any) -> None:
    for stream in streams:
        with suppress(Exception):  # the function may have closed it
            stream.flush()
