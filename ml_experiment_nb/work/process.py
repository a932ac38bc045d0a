"""A task in a fresh process: started, listened to, stopped.

This is the side of the slot. The side of the child is `ml_experiment_nb.work.child`.
"""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import cloudpickle

from ml_experiment_nb import reports
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.records import Failure, Outcome, Status, duration
from ml_experiment_nb.work.perform import Request
from ml_experiment_nb.work.tree import MARK, end_tree

GATHER = 0.05  # seconds that events are gathered for, so that a talkative task costs its reader little
PATIENCE = 0.25  # seconds to wait for something before looking after the limits
MUCH = 1 << 20  # bytes of output that are handed on without gathering any longer
GRACE = 2.0  # seconds that a stopped task has to write what it has


class Running:
    """One task while it runs: a fresh process for each of its steps, in order, failing fast.

    Args:
        task: The task. Its folder exists.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._inbox = reports.Inbox()
        self._mark = uuid.uuid4().hex
        self._child: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._stopped: Outcome | None = None
        self._deadline = time.monotonic() + task.timeout if task.timeout else None

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
            self._end_processes()
            self._inbox.close()

    def answer(self, prune: bool) -> None:
        """Answer a task that reported metrics and waits for a verdict."""
        self._inbox.answer(prune)

    def kill(self, outcome: Outcome) -> None:
        """Stop the task, from any thread; its last event will carry `outcome`."""
        self._stopped = self._stopped or outcome
        child = self._child
        if child is not None:
            child.terminate()

    def _perform(self, step: Step) -> Generator[list[reports.Event], None, Outcome]:
        self._child = child = self._start(step)
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        told: Outcome | None = None
        killed_at: float | None = None
        ended: int | None = None
        with child.stdout as self._output:
            while True:
                piece, events = self._gather(child)
                if ended is None and (ended := child.poll()) is not None:
                    self._end_processes()
                    give_up_at = time.monotonic() + GRACE
                last = ended is not None and (not self._wait(0) or time.monotonic() > give_up_at)
                text = decode(piece, final=last)
                told = next((e.outcome for e in events if isinstance(e, reports.Done)), told)
                batch: list[reports.Event] = [reports.Log(text)] if text else []
                batch += [e for e in events if not isinstance(e, reports.Done)]
                if batch:
                    yield batch
                if last and ended is not None:
                    return told or _died(ended)
                if ended is None:
                    killed_at = self._check_limits(child, killed_at)

    def _start(self, step: Step) -> subprocess.Popen[bytes]:
        folder = Path(self.task.folder)
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        request = folder / "request.pkl"
        request.write_bytes(cloudpickle.dumps(Request(step, self.task.payload, self.task.output)))
        return subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", "ml_experiment_nb.work.child", str(request)],
            cwd=self.task.cwd,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is the driver's to handle
        )

    def _environment(self) -> dict[str, str]:
        own = {
            MARK: self._mark,
            reports.SOCKET: self._inbox.path,
            reports.ARTIFACTS: str(Path(self.task.folder) / "artifacts"),
            reports.PRUNING: "1" if self.task.pruning else "",
            "PYTHONPATH": os.pathsep.join(self.task.path + tuple(filter(None, [os.environ.get("PYTHONPATH")]))),
        }
        return {**os.environ, **self.task.env, **own}

    def _gather(self, child: subprocess.Popen[bytes]) -> tuple[bytes, list[reports.Event]]:
        """Wait until something has come, and a little longer for more; return what was printed and what was sent."""
        printed, events = b"", self._inbox.read()
        until = time.monotonic() + PATIENCE
        while child.poll() is None and self._wait(until - time.monotonic()):
            until = min(until, time.monotonic() + GATHER) if not (printed or events) else until
            printed += self._read_output()
            events += self._inbox.read()
            if len(printed) > MUCH or any(isinstance(e, reports.Metrics) and e.ask for e in events):
                return printed, events
            if self._output is None:  # most likely it is just ending
                with suppress(subprocess.TimeoutExpired):
                    child.wait(GATHER)
                break
        return printed + self._read_output(), events + self._inbox.read()

    def _wait(self, timeout: float) -> bool:
        """Return whether there is something to read, after a while at most."""
        with selectors.DefaultSelector() as selector:
            for one in self._inbox.sockets():
                selector.register(one, selectors.EVENT_READ)
            if self._output is not None:
                selector.register(self._output, selectors.EVENT_READ)
            return timeout >= 0 and bool(selector.select(timeout))

    def _read_output(self) -> bytes:
        """Return what the task has printed; of one that never pauses, a part of it."""
        pieces: list[bytes] = []
        with suppress(BlockingIOError):
            while self._output is not None and sum(map(len, pieces)) < MUCH:
                pieces.append(os.read(self._output.fileno(), 1 << 16))
                if not pieces[-1]:
                    self._output = None
        return b"".join(pieces)

    def _check_limits(self, child: subprocess.Popen[bytes], killed_at: float | None) -> float | None:
        now = time.monotonic()
        if self._stopped is None and self._deadline is not None and now > self._deadline:
            limit = duration(self.task.timeout or 0)
            self.kill(Outcome(Status.FAILED, Failure("TaskTimeoutError", f"stopped at its limit of {limit}")))
        if self._stopped is not None:
            killed_at = killed_at or now
            if now - killed_at > GRACE:
                end_tree(child.pid, self._mark)
        return killed_at

    def _end_processes(self) -> None:
        child = self._child
        if child is None:
            return
        end_tree(child.pid, self._mark, spare=child.returncode is not None)
        with suppress(subprocess.TimeoutExpired):
            child.wait(5)
        self._child = None


def _died(code: int) -> Outcome:
    if code >= 0:
        message = f"the process ended with exit code {code} before its work was done"
    else:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        message = f"the process was ended by {name}{hint}"
    return Outcome(Status.FAILED, Failure("TaskDiedError", message))
