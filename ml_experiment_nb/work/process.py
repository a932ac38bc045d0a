"""A task in processes of its own: started, listened to, stopped.

This is the side of the slot. The side of the child is `ml_experiment_nb.work.child`.
"""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import cloudpickle

from ml_experiment_nb import reports
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.records import Failure, Outcome, Status, duration
from ml_experiment_nb.specs import Notebook
from ml_experiment_nb.work.children import Child, Fresh
from ml_experiment_nb.work.forkserver import FORKS, ForkServer
from ml_experiment_nb.work.perform import Request
from ml_experiment_nb.work.setups import Warm
from ml_experiment_nb.work.tree import MARK

GATHER = 0.05  # seconds that events are gathered for, so that a talkative task costs its reader little
GRACE = 2.0  # seconds that a stopped task has to write what it has


class Running:
    """One task while it runs: a process for each of its steps, in order, failing fast.

    Args:
        task: The task. Its folder exists.
        warm: What the processes are forked from where that is safe; without it, or where it isn't, they are fresh.
    """

    def __init__(self, task: Task, warm: Warm | None = None) -> None:
        self.task = task
        self._warm = warm
        self._inbox = reports.Inbox()
        self._mark = uuid.uuid4().hex
        self._child: Child | None = None
        self._notes: list[reports.Event] = []
        self._stopped: Outcome | None = None
        self._deadline: float | None = None

    def batches(self) -> Iterator[list[reports.Event]]:
        """Perform the task and yield its events as they come, in small lists; the very last one is `Done`.

        Raises:
            OSError: A process can't be started.
        """
        try:
            outcome = Outcome(Status.FINISHED)
            for step in self.task.steps:
                if self._stopped is None:
                    outcome = yield from self._perform(step)
                if outcome.status is not Status.FINISHED:
                    break
            yield [reports.Done(self._stopped or outcome)]
        finally:
            if self._child is not None:
                self._child.end()
                self._child.close()
            self._inbox.close()

    def answer(self, prune: bool) -> None:
        """Answer a task that reported metrics and waits for a verdict."""
        self._inbox.answer(prune)

    def kill(self, outcome: Outcome) -> None:
        """Stop the task, from any thread; its last event will carry `outcome`."""
        self._stopped = self._stopped or outcome
        child = self._child
        if child is not None:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)

    def _perform(self, step: Step) -> Generator[list[reports.Event], None, Outcome]:
        self._child = child = self._start(step)
        if self._deadline is None and self.task.timeout is not None:
            self._deadline = time.monotonic() + self.task.timeout
        if self._notes:
            yield self._notes
            self._notes = []
        output = _Output(child.output)
        told: Outcome | None = None
        killed_at: float | None = None
        while True:
            ended = self._wait(child, output)
            if ended is not None:
                child.end()  # nothing can be written any more: what follows is all there is
            events = self._inbox.read()
            text = output.read(final=ended is not None)
            told = next((e.outcome for e in events if isinstance(e, reports.Done)), told)
            batch: list[reports.Event] = [reports.Log(text)] if text else []
            batch += [e for e in events if not isinstance(e, reports.Done)]
            if batch:
                yield batch
            if ended is not None:
                self._child = None
                child.close()
                return told or _died(ended)
            killed_at = self._check_limits(child, killed_at)

    def _start(self, step: Step) -> Child:
        folder = Path(self.task.folder)
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        request = folder / "request.pkl"
        request.write_bytes(cloudpickle.dumps(Request(step, self.task.payload, self.task.output)))
        env = self._environment()
        if self._warm is not None and isinstance(step.target, Notebook):
            kernels = self._warm.kernels[step.target.path]
            if self._can_fork(kernels, "its kernel was started, not forked, and ran all cells"):
                env[FORKS] = kernels.setup.listen or ""
        if self._warm is not None and self._can_fork(self._warm.work, "it was run in a fresh process, not in a fork"):
            try:
                return self._warm.work.fork(["task", str(request)], env=env, cwd=self.task.cwd)
            except ExecutorError as error:
                self._notes.append(reports.Note(f"it was run in a fresh process, not in a fork: {error}"))
        return Fresh(str(request), env={**os.environ, **env}, cwd=self.task.cwd)

    def _can_fork(self, server: ForkServer, otherwise: str) -> bool:
        """Wait for a server's setup, as long as nobody stops the task; note what is done otherwise."""
        try:
            while not server.wait(0.25):
                if self._stopped is not None:
                    return False
            why = server.unsafe
        except ExecutorError as error:
            why = str(error)
        if why is not None:
            self._notes.append(reports.Note(f"{otherwise}: {why}"))
        return why is None

    def _environment(self) -> dict[str, str]:
        return {
            **self.task.env,
            MARK: self._mark,
            reports.SOCKET: self._inbox.path,
            reports.ARTIFACTS: str(Path(self.task.folder) / "artifacts"),
            reports.PRUNING: "1" if self.task.pruning else "",
            "PYTHONPATH": os.pathsep.join(self.task.path + tuple(filter(None, [os.environ.get("PYTHONPATH")]))),
        }

    def _wait(self, child: Child, output: _Output) -> int | None:
        """Wait until there is something to read, and a little longer for more. Return how the child ended, if so."""
        with selectors.DefaultSelector() as selector:
            for one in self._inbox.sockets():
                selector.register(one, selectors.EVENT_READ)
            for descriptor in (*output.waitable(), *([] if child.life is None else [child.life])):
                selector.register(descriptor, selectors.EVENT_READ)
            selector.select(timeout=0.25)
        return child.wait(GATHER) if not self.task.pruning else child.poll()

    def _check_limits(self, child: Child, killed_at: float | None) -> float | None:
        now = time.monotonic()
        if self._stopped is None and self._deadline is not None and now > self._deadline:
            limit = duration(self.task.timeout or 0)
            self.kill(Outcome(Status.FAILED, Failure("TaskTimeoutError", f"stopped at its limit of {limit}")))
        if self._stopped is not None:
            killed_at = killed_at or now
            if now - killed_at > GRACE:
                child.end()
        return killed_at


class _Output:
    """What a child prints, read as text without waiting."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._open = True
        os.set_blocking(descriptor, False)

    def waitable(self) -> list[int]:
        """Return what to wait on: nothing, once the child has closed its end."""
        return [self._descriptor] if self._open else []

    def read(self, final: bool) -> str:
        """Return what has come; `final`: nothing will come after it."""
        pieces = []
        with suppress(BlockingIOError):
            while self._open:
                piece = os.read(self._descriptor, 1 << 16)
                self._open = bool(piece)
                pieces.append(piece)
        return self._decode(b"".join(pieces), final=final)


def _died(code: int) -> Outcome:
    if code >= 0:
        message = f"the process ended with exit code {code} before its work was done"
    else:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        message = f"the process was ended by {name}{hint}"
    return Outcome(Status.FAILED, Failure("TaskDiedError", message))
