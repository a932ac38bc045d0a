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

from ml_experiment_nb import reports, wire
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.events import Answer, Done, Event, Log, Note, Secrets, waits
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.records import Failure, Outcome, Status, duration, size
from ml_experiment_nb.targets import Notebook
from ml_experiment_nb.work.children import Child, Fresh
from ml_experiment_nb.work.forkserver import Fork, ForkServer, tree_of
from ml_experiment_nb.work.forkwire import FORKS
from ml_experiment_nb.work.memory import MemoryWatch, Tree
from ml_experiment_nb.work.perform import Request
from ml_experiment_nb.work.sampling import Sampler
from ml_experiment_nb.work.setups import Warm
from ml_experiment_nb.work.tree import MARK

GATHER = 0.05  # seconds that events are gathered for, so that a talkative task costs its reader little
PATIENCE = 0.25  # seconds to wait for something before looking after the limits
MUCH = 1 << 20  # bytes of output that are handed on without gathering any longer
GRACE = 2.0  # seconds that a stopped task has to write what it has
_ALL_CELLS = "its kernel was started, not forked, and ran all cells"
_FRESH = "it was run in a fresh process, not in a fork"


class Running:
    """One task while it runs: a process for each of its steps, in order, failing fast.

    Args:
        task: The task. Its folder exists.
        warm: What the processes are forked from where that is safe; without it, or where it isn't, they are fresh.
    """

    def __init__(self, task: Task, warm: Warm | None = None) -> None:
        self.task = task
        self._warm = warm
        self._inbox = wire.Inbox()
        self._mark = uuid.uuid4().hex
        self._child: Child | None = None
        self._notes: list[Event] = []
        self._stopped: Outcome | None = None
        self._deadline: float | None = None
        self._memory = MemoryWatch(task.memory) if task.memory is not None else None
        self._kernels: ForkServer | None = None
        self._sampler = Sampler(task.env)

    def batches(self) -> Iterator[list[Event]]:
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
            yield [Done(self._stopped or outcome)]
        finally:
            if self._child is not None:
                self._child.end()
                self._child.close()
            self._inbox.close()

    def answer(self, answer: Answer) -> None:
        """Answer a task that waits for it."""
        self._inbox.answer(answer)

    def kill(self, outcome: Outcome) -> None:
        """Stop the task, from any thread; its last event will carry `outcome`."""
        self._stopped = self._stopped or outcome
        child = self._child
        if child is not None:
            child.terminate()

    def _perform(self, step: Step) -> Generator[list[Event], None, Outcome]:
        if self._deadline is None and self.task.timeout is not None:
            self._deadline = time.monotonic() + self.task.timeout
        child = self._start(step)
        if child is None:
            return self._stopped or Outcome(Status.KILLED)
        self._child = child
        if self._stopped is not None:  # while it was being started
            child.terminate()
        if self._notes:
            yield self._notes
            self._notes = []
        output = _Output(child.output)
        told: Outcome | None = None
        killed_at: float | None = None
        ended: int | None = None
        while True:
            text, events = self._gather(child, output)
            if ended is None and (ended := child.poll()) is not None:
                child.end()  # nothing is written any more: what can be read now is all there is
                give_up_at = time.monotonic() + GRACE
            last = ended is not None and (not self._wait(output, 0) or time.monotonic() > give_up_at)
            text += output.rest() if last else ""
            told = next((e.outcome for e in events if isinstance(e, Done)), told)
            batch: list[Event] = [e for e in events if isinstance(e, Secrets)]  # before what is printed
            batch += [Log(text)] if text else []
            batch += [e for e in events if not isinstance(e, Done | Secrets)]
            if batch:
                yield batch
            if last and ended is not None:
                self._child = None
                self._end_kernels()
                told = told or child.death(ended)
                child.close()
                return told
            if ended is None:
                self._check_memory(child, spare=isinstance(step.target, Notebook))
                killed_at = self._check_limits(child, killed_at)
                if (
                    self._sampler.is_due
                    and self._stopped is None
                    and (used := self._sampler.sample(self._trees(child)))
                ):
                    yield used

    def _start(self, step: Step) -> Child | None:
        """Start a step's process; None when the task was stopped before that."""
        folder = Path(self.task.folder)
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        request = folder / "request.pkl"
        request.write_bytes(cloudpickle.dumps(Request(step, self.task.payload, self.task.output)))
        env = self._environment()
        if self._warm is not None and isinstance(step.target, Notebook):
            self._kernels = self._kernels_of(self._warm, step.target)
            env |= {FORKS: self._kernels.setup.listen or ""} if self._kernels is not None else {}
        if (fork := self._fork(str(request), env)) is not None:
            return fork
        if self._stopped is not None:
            return None
        if self.task.container is not None:
            from ml_experiment_nb.work.container import Contained  # which loads Docker's client

            return Contained(self.task.container, self.task, str(request), env=env)
        return Fresh(str(request), env={**os.environ, **env}, cwd=self.task.cwd, python=self.task.python)

    def _kernels_of(self, warm: Warm, notebook: Notebook) -> ForkServer | None:
        """Return what a notebook's kernel can be forked from; None where it can't, and the notes say why."""
        if (why := warm.started(notebook)) is not None:
            self._note(f"{_ALL_CELLS}: {why}")
            return None
        server = self._server(notebook)
        return server if self._can_fork(server, _ALL_CELLS) else None

    def _fork(self, request: str, env: dict[str, str]) -> Fork | None:
        """Fork the step's process; None where that can't be done, and the notes say why."""
        if self._warm is None:
            return None
        why = ""
        for _ in range(2):  # the server may be lost between the look at it and the fork
            server = self._server()
            if not self._can_fork(server, _FRESH):
                return None
            try:
                return server.fork(["task", request], env=env, cwd=self.task.cwd)
            except ExecutorError as error:
                why = str(error)
        self._note(f"{_FRESH}: {why}")
        return None

    def _server(self, notebook: Notebook | None = None) -> ForkServer:
        assert self._warm is not None
        server, renewed = self._warm.server(notebook)
        if renewed:
            self._note("the fork server was killed by something: a new one was started")
        return server

    def _note(self, text: str) -> None:
        self._notes.append(Note(text))

    def _can_fork(self, server: ForkServer, otherwise: str) -> bool:
        """Wait for a server's setup, as long as nobody stops the task; note what is done otherwise."""
        try:
            while not server.wait(PATIENCE):
                self._check_deadline()
                if self._stopped is not None:
                    return False
            why = server.unsafe
        except ExecutorError as error:
            why = str(error)
        if why is not None:
            self._note(f"{otherwise}: {why}")
        return why is None

    def _environment(self) -> dict[str, str]:
        return {
            **self.task.env,
            MARK: self._mark,
            wire.SOCKET: self._inbox.path,
            wire.ARTIFACTS: str(Path(self.task.folder) / "artifacts"),
            reports.PRUNING: "1" if self.task.pruning else "",
            "PYTHONPATH": os.pathsep.join(self.task.path + tuple(filter(None, [os.environ.get("PYTHONPATH")]))),
        }

    def _gather(self, child: Child, output: _Output) -> tuple[str, list[Event]]:
        """Wait until something has come, and a little longer for more; return what was printed and what was sent."""
        text, events = "", self._inbox.read()
        until = time.monotonic() + (min(PATIENCE, self._memory.due_in) if self._memory else PATIENCE)
        while child.poll() is None and self._wait(output, until - time.monotonic(), child.life):
            until = min(until, time.monotonic() + GATHER) if not (text or events) else until
            text += output.read()
            events += self._inbox.read()
            if len(text) > MUCH or any(map(waits, events)):
                return text, events
            if not output.waitable():  # most likely it is just ending
                child.wait(GATHER)
                break
        return text + output.read(), events + self._inbox.read()

    def _wait(self, output: _Output, timeout: float, life: int | None = None) -> bool:
        """Return whether there is something to read, or the child has ended, after a while at most."""
        with selectors.DefaultSelector() as selector:
            for one in self._inbox.sockets():
                selector.register(one, selectors.EVENT_READ)
            for descriptor in (*output.waitable(), *([] if life is None else [life])):
                selector.register(descriptor, selectors.EVENT_READ)
            return timeout >= 0 and bool(selector.select(timeout))

    def _check_memory(self, child: Child, *, spare: bool) -> None:
        """End a task that uses more than its memory, at once: what it does meanwhile may cost others theirs.

        With `spare`, its process itself is only asked to end, as long as it doesn't use that much alone: the memory of
        a notebook is its kernel's, and the process that executes it has outputs to write.
        """
        if self._memory is None or self._memory.due_in > 0:
            return
        if self._stopped is not None:  # it has its grace, but no more memory for that
            if self._memory.look([child.tree()]) is not None:
                child.end()
            return
        used = self._memory.look(self._trees(child))
        if used is not None:
            text = f"stopped at its memory limit of {size(self._memory.limit)} (it used {size(used)})"
            self._stopped = Outcome(Status.FAILED, Failure("TaskMemoryError", text))
            self._end_kernels()
            if spare:
                child.end_others()
            if not spare or self._memory.look([child.tree()]) is not None:
                child.end()
            else:
                child.terminate()

    def _trees(self, child: Child) -> list[Tree]:
        """Return the task's processes: the child's, and the kernels' that were forked for it."""
        kernels = self._kernels.children(self._mark) if self._kernels is not None else []
        return [child.tree(), *map(tree_of, kernels)]

    def _end_kernels(self) -> None:
        """End the kernels that were forked for the task and have not ended with it, and wait for that."""
        until = time.monotonic() + GRACE
        while self._kernels is not None and time.monotonic() < until:
            left = self._kernels.children(self._mark)
            if not left:
                return
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def _check_limits(self, child: Child, killed_at: float | None) -> float | None:
        self._check_deadline()
        if self._stopped is not None:
            now = time.monotonic()
            killed_at = killed_at or now
            if now - killed_at > GRACE:
                child.end()
        return killed_at

    def _check_deadline(self) -> None:
        if self._stopped is None and self._deadline is not None and time.monotonic() > self._deadline:
            limit = duration(self.task.timeout or 0)
            self.kill(Outcome(Status.FAILED, Failure("TaskTimeoutError", f"stopped at its limit of {limit}")))


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

    def read(self) -> str:
        """Return what has come; of a child that never pauses, a part of it."""
        pieces: list[bytes] = []
        with suppress(BlockingIOError):
            while self._open and sum(map(len, pieces)) < MUCH:
                pieces.append(os.read(self._descriptor, 1 << 16))
                self._open = bool(pieces[-1])
        return self._decode(b"".join(pieces))

    def rest(self) -> str:
        """Return what half a character at the very end is shown as."""
        return self._decode(b"", final=True)
