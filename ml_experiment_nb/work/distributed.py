"""A function on several workers at once, through Ray Train: they are started, listened to and ended here.

This is the side of the task's own process. The side of a worker, and what the two say to each other, is
`ml_experiment_nb.work.ranks`.
"""

from __future__ import annotations

import codecs
import importlib
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

import cloudpickle

from ml_experiment_nb import events, reports
from ml_experiment_nb.distribution import RAY, Distributed
from ml_experiment_nb.errors import ExecutorError, TaskDiedError, TaskError, WorkerFailedError
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.work import ranks
from ml_experiment_nb.work.payload import pickled
from ml_experiment_nb.work.tree import MARK

SETTLE = 0.5  # seconds after a worker's failure in which another one's is taken for what has caused it
PATIENCE = 10.0  # seconds that Ray Train has to end the workers, before they end themselves
_TRAINERS = {
    "torch": "TorchTrainer", "tensorflow": "TensorflowTrainer",
    "xgboost": "XGBoostTrainer", "lightgbm": "LightGBMTrainer",
}  # fmt: skip
_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # two seconds would be added to the end of each run
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more for each run; a lost worker is noticed anyway
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}


def call(
    function: Callable[..., Any], arguments: Mapping[str, Any], sink: reports.Sink, asked: Distributed,
    *, record: bool = True,
) -> Any:  # fmt: skip
    """Call a function on every worker; what rank 0 reports, prints and keeps is the run's.

    Args:
        function: The function; it travels to the workers by value where they couldn't import it.
        arguments: Its arguments, the same for each worker.
        sink: Where the events go.
        asked: Which workers.
        record: Whether what it returns are the run's metrics, as with `reports.call`.

    Returns:
        Rank 0's value; None where it can't be pickled.

    Raises:
        WorkerFailedError: A worker raised, or was lost; the others have been ended.
        Pruned: The run was given up.
        ExecutorError: There is no Ray to place the workers, or the framework isn't installed.
        TaskError: Ray Train could not run the workers.
    """
    with _settings():
        trainer, config = _ray_train(asked)
        import ray

        _connect()
        hub = Hub(sink, asked.num_workers, ray.util.get_node_ip_address())
        work = ranks.Work(
            call=pickled((function, dict(arguments))),
            record=record,
            address=hub.address,
            key=hub.key,
            node=ray.get_runtime_context().get_node_id(),
            artifacts=str(sink.artifacts),
            cwd=os.getcwd(),
            path=tuple(folder for folder in sys.path if folder),
            env=dict(os.environ),
            pruning=bool(os.environ.get(reports.PRUNING)),
        )
        storage = Path(tempfile.mkdtemp(prefix="mlexp-train-"))
        fit = _Fit(trainer(ranks.train, train_loop_config={"work": work}, **config(storage)))
        try:
            fit.wait(hub)
            return hub.value()
        finally:
            hub.close()  # a worker that is left ends itself
            fit.join(PATIENCE)
            _keep_checkpoints(storage, sink.artifacts)
            shutil.rmtree(storage, ignore_errors=True)


class _Fit:
    """Ray Train at work, in a thread: it is waited for, and not longer than it is needed."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="fit", daemon=True)
        self._thread.start()

    def wait(self, hub: Hub) -> None:
        """Wait until all workers have ended.

        Raises:
            WorkerFailedError: One has failed.
            Pruned: The run was given up.
            TaskError: Ray Train could not run them.
        """
        while self._thread.is_alive() and not hub.stopped.wait(0.1):
            pass
        self._thread.join(0 if hub.stopped.is_set() else None)
        if self._error is not None:
            hub.stopped.wait(SETTLE)  # its own word may be on its way
        if hub.stopped.is_set():
            time.sleep(SETTLE)
            hub.say_goodbye()
            self._thread.join(PATIENCE)
            raise hub.cause()
        if self._error is not None and not hub.all_finished:
            lines = str(self._error).strip().splitlines() or [type(self._error).__name__]
            raise TaskError(f"Ray Train could not run the workers: {lines[-1]}") from self._error

    def join(self, timeout: float) -> None:
        """Wait until Ray Train has ended too, which gives the workers' resources back."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self._error = error


class Hub:
    """The end of the workers' connections in the process that started them.

    Args:
        sink: Where rank 0's events go.
        count: How many workers there will be.
        host: The address to listen at: this node's, as Ray knows it.
    """

    def __init__(self, sink: reports.Sink, count: int, host: str) -> None:
        self.key = secrets.token_bytes(32)
        self.stopped = threading.Event()
        self._sink = sink
        self._count = count
        self._ends: dict[int, Outcome] = {}
        self._lost: dict[int, str] = {}
        self._value = b""
        self._connections: list[Connection] = []
        self._failed: list[Connection] = []
        self._parting = False
        self._closed = False
        self._listener = Listener((host, 0), backlog=64)
        address: Any = self._listener.address
        self.address: tuple[str, int] = (address[0], address[1])
        threading.Thread(target=self._accept, name="workers", daemon=True).start()

    @property
    def all_finished(self) -> bool:
        """Whether every worker has said that it has done its part."""
        return len(self._ends) == self._count and all(one.status is Status.FINISHED for one in self._ends.values())

    def value(self) -> Any:
        """Return what the function returned on rank 0."""
        return cloudpickle.loads(self._value) if self._value else None

    def cause(self) -> BaseException:
        """Return what has stopped the run; a lost worker makes the others fail, and not the other way round."""
        for rank, who in self._lost.items():
            text = f"rank {rank} of {self._count} ({who}) was lost before its work was done: killed, out of memory, "
            return WorkerFailedError(TaskDiedError.__name__, text + "or it ended itself")
        for rank, outcome in self._ends.items():
            if outcome.status is Status.PRUNED:
                return reports.Pruned("pruned")
            if (failure := outcome.failure) is not None:
                error = WorkerFailedError(failure.type, f"rank {rank}: {failure.message}", failure.traceback)
                error.add_note(f"On rank {rank}:\n{failure.traceback}")  # for who called the job themselves
                return error
        raise AssertionError("a run that was stopped has a cause")

    def say_goodbye(self) -> None:
        """Let the workers that have failed go: Ray Train hears of it and ends the others."""
        self._parting = True
        for connection in self._failed:
            with suppress(OSError):
                connection.send_bytes(b"B")

    def close(self) -> None:
        """Close every connection: a worker that is left ends itself."""
        self._parting = self._closed = True
        with suppress(OSError):
            socket.create_connection(self.address, timeout=1).close()  # wakes the thread that accepts
        for connection in self._connections:
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)  # closing alone says nothing while a thread reads

    def _accept(self) -> None:
        with self._listener:
            while not self._closed:
                connection = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), name="worker", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        """Listen to one worker until it has ended; who hasn't the key is turned away."""
        rank, who, shown = -1, "", None
        with connection, suppress(AuthenticationError, EOFError, OSError):
            deliver_challenge(connection, self.key)
            answer_challenge(connection, self.key)
            self._connections.append(connection)
            while not self._closed:
                data = connection.recv_bytes()
                letter, content = data[:1], data[1:]
                match letter:
                    case b"H":
                        hello = json.loads(content)
                        rank, who = hello["rank"], f"process {hello['pid']} on {hello['host']}"
                        shown = _Shown(rank, self._sink.artifacts)
                    case b"E":
                        self._take(events.decode(content), connection)
                    case b"L" if shown is not None:
                        shown.write(content)
                    case b"F":
                        self._take_file(content)
                    case b"X":
                        self._end(rank, content, connection)
        if rank >= 0 and rank not in self._ends and not self._parting:
            self._lost[rank] = who
            self.stopped.set()

    def _take(self, event: events.Event, connection: Connection) -> None:
        if events.waits(event):
            answer = self._sink.ask(event)
            connection.send_bytes(b"A" + json.dumps({"value": answer.value, "error": answer.error}).encode())
        else:
            self._sink.send(event)

    def _take_file(self, content: bytes) -> None:
        name, _, piece = content.partition(b"\n")
        path = self._sink.artifacts / name.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if piece else "wb") as file:
            file.write(piece)

    def _end(self, rank: int, content: bytes, connection: Connection) -> None:
        line, _, value = content.partition(b"\n")
        done = events.decode(line)
        assert isinstance(done, events.Done)
        self._ends[rank] = done.outcome
        self._value = value or self._value
        if done.outcome.status is Status.FINISHED:
            connection.send_bytes(b"B")
        else:
            self._failed.append(connection)
            self.stopped.set()


class _Shown:
    """What a worker prints: rank 0's is this process's own, the others' stands in a file each."""

    def __init__(self, rank: int, artifacts: Path) -> None:
        self._path = artifacts / "record" / f"rank-{rank}.txt" if rank else None
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def write(self, data: bytes) -> None:
        """Take what has come."""
        if self._path is None:
            sys.stdout.write(self._decode(data))
            sys.stdout.flush()
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(data)


@contextmanager
def _settings() -> Iterator[None]:
    """Set Ray Train up for the time of a run; the settings of the user come first."""
    new = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _ray_train(asked: Distributed) -> tuple[Callable[..., Any], Callable[[Path], dict[str, Any]]]:
    """Return the framework's trainer, and what makes its configuration."""
    try:
        from ray.train import RunConfig, ScalingConfig

        found = getattr(importlib.import_module(f"ray.train.{asked.framework}"), _TRAINERS[asked.framework])
    except ImportError as error:
        extras = f"distributed,{asked.framework}"
        raise ExecutorError(f"{error}: `pip install 'ml-experiment-nb[{extras}]'`") from error

    def trainer(*args: Any, **kwargs: Any) -> Any:
        made = found(*args, **kwargs)
        if (usual := getattr(made, "_create_default_callbacks", None)) is not None:
            # It is a process that stays when the run is killed, to remove a placement group that Ray removes itself.
            made._create_default_callbacks = lambda: [
                one for one in usual() if type(one).__name__ != "PlacementGroupCleanerCallback"
            ]
        return made

    scaling = ScalingConfig(
        num_workers=asked.num_workers, use_gpu=asked.gpus_per_worker > 0, resources_per_worker=asked.resources
    )
    return trainer, lambda storage: {
        "scaling_config": scaling,
        "run_config": RunConfig(name="run", storage_path=str(storage)),
    }


def _connect() -> None:
    """Be connected to the Ray that the task was given; the workers bear the task's mark, by which they are found."""
    import logging

    import ray

    if ray.is_initialized():
        return
    if RAY not in os.environ:
        raise ExecutorError("there is no Ray to place the workers")
    given = json.loads(os.environ[RAY])
    marked = {**given["runtime_env"].get("env_vars", {}), MARK: os.environ.get(MARK, "")}
    ray.init(
        address=given["address"],
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={**given["runtime_env"], "env_vars": marked},
    )


def _keep_checkpoints(storage: Path, artifacts: Path) -> None:
    """Keep with the run's artifacts what the function has given to Ray Train's own ``report``."""
    for folder in sorted(storage.glob("run/checkpoint_*")):
        if folder.is_dir():
            shutil.move(folder, artifacts / "checkpoints" / folder.name)
