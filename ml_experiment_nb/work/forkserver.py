"""A fork server, as its owner sees it: a process that has done a setup, and forks a child for each task.

Its own side is `ml_experiment_nb.work.guardian`. When the owner is gone, its end of their socket closes, and the server
ends with its children.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.records import Outcome
from ml_experiment_nb.work import forkwire
from ml_experiment_nb.work.children import death
from ml_experiment_nb.work.forkwire import LARGEST, Setup
from ml_experiment_nb.work.memory import Tree, descendants, parent
from ml_experiment_nb.work.tree import MARK, end_all, end_tree


class ForkServer:
    """A running fork server.

    Args:
        setup: What it does first; it goes on in the background, and the first `fork` waits for it.
        python: The interpreter; this package can be imported there.

    Attributes:
        unsafe: After the setup: why it can't be forked safely; None when it can.
    """

    def __init__(self, setup: Setup, python: str = sys.executable) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.setup = setup
        self._socket = ours
        self._lock = threading.Lock()
        self._ready, write = os.pipe()
        self.unsafe: str | None = None
        self._failed: str | None = None
        with theirs:
            self._process = subprocess.Popen(
                [python, "-u", "-P", "-m", "ml_experiment_nb.work.guardian", str(theirs.fileno()), str(write)],
                pass_fds=[theirs.fileno(), write],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=setup.cwd,
                env={**os.environ, **setup.env},
                start_new_session=True,
            )
        os.close(write)
        ours.send(setup.encode())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the setup is done, or for `timeout` seconds; return whether it is.

        Raises:
            ExecutorError: The server ended in its setup.
        """
        with self._lock:
            if self._ready != -1:
                if not _has_word(self._ready, timeout):
                    return False
                answer = json.loads(os.read(self._ready, LARGEST) or b'{"failed": "it was killed"}')
                os.close(self._ready)
                self._ready = -1
                self._failed, self.unsafe = answer.get("failed"), answer.get("unsafe")
            if self._failed is not None:
                raise ExecutorError(f"the fork server ended in its setup: {self._failed}")
            return True

    @property
    def lost(self) -> bool:
        """Whether its setup was done, and it can't fork any more: somebody has killed it."""
        if self._ready != -1 or self._failed is not None or self._socket.fileno() == -1:
            return False
        return _has_word(self._socket.fileno(), 0)  # it only ever says that it is gone

    def fork(self, arguments: list[str], *, env: Mapping[str, str], cwd: str, output: int | None = None) -> Fork:
        """Fork a child.

        Args:
            arguments: ``task`` and its request file, or ``kernel`` and its arguments.
            env: What to add to its environment.
            cwd: Its working directory.
            output: Where its output goes; by default into a pipe, whose other end the `Fork` has.

        Raises:
            ExecutorError: The server is gone, or can't fork.
        """
        self.wait()
        with self._lock:
            return _fork_over(self._socket, arguments, env, cwd, output)

    def children(self, mark: str) -> list[int]:
        """Return the children that were forked for the task of this mark, by anybody, and that live."""
        read, write = os.pipe()
        with os.fdopen(read, "rb") as answer:
            forkwire.send(self._socket, {"whose": mark}, write)
            os.close(write)
            found: list[int] = json.loads(answer.read() or b"[]")
        return found

    def close(self) -> None:
        """End the server and every child that still runs."""
        self._socket.close()
        if self.setup.listen is not None:
            shutil.rmtree(os.path.dirname(self.setup.listen), ignore_errors=True)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._ready != -1:
            os.close(self._ready)
            self._ready = -1


def _has_word(descriptor: int, timeout: float | None) -> bool:
    """Wait until something can be read, or the other end is gone; unlike `select` for descriptors of any number."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))


def tree_of(pid: int) -> Tree:
    """Return a child of a fork server with what it has started; nothing that it starts gets away from it."""
    return Tree(descendants(pid), parent(pid))


def fork_at(path: str, arguments: list[str], *, env: Mapping[str, str], cwd: str, output: int) -> Fork:
    """Have a child forked by the server that listens at `path`; see `ForkServer.fork`.

    Raises:
        ExecutorError: Nobody listens there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            raise ExecutorError("the fork server is gone") from error
        return _fork_over(connection, arguments, env, cwd, output)


def _fork_over(
    connection: socket.socket, arguments: list[str], env: Mapping[str, str], cwd: str, output: int | None
) -> Fork:
    message = {"arguments": arguments, "env": dict(env), "cwd": cwd, "mark": env.get(MARK, "")}
    if len(json.dumps(message)) > LARGEST:
        raise ExecutorError("the environment is too large to be handed over")
    ours, theirs = os.pipe() if output is None else (os.open(os.devnull, os.O_RDONLY), os.dup(output))
    life, their_life = os.pipe()
    forkwire.send(connection, message, theirs, their_life)
    os.close(theirs)
    os.close(their_life)
    pid = forkwire.hear(life)  # None at once, if nobody holds the other end
    if pid is None or pid < 0:
        os.close(ours)
        os.close(life)
        raise ExecutorError(f"the fork server {'is gone' if pid is None else f'can not fork: {os.strerror(-pid)}'}")
    return Fork(pid, ours, life, env.get(MARK, ""))


class Fork:
    """A `Child` that was forked."""

    def __init__(self, pid: int, output: int, life: int, mark: str) -> None:
        self.pid = pid
        self.output = output
        self.life = life
        self._mark = mark
        self._code: int | None = None
        self._open = True
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return how it ended: an exit code, or a signal's number below zero; None while it lives."""
        with self._lock:  # the word is said once: another thread would wait for a second one, or hear of no one
            if self._code is None and _has_word(self.life, 0):
                status = forkwire.hear(self.life)
                if status is None:  # somebody has killed the server: nobody else ends what it has left
                    end_tree(self.pid, self._mark)
                self._code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
            return self._code

    def wait(self, timeout: float) -> int | None:
        """Wait until it has ended, or for `timeout` seconds, and return as `poll` does."""
        if self._code is None:
            _has_word(self.life, timeout)
        return self.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """End it; the server ends what it has started before it says that it is gone."""
        self._signal(signal.SIGKILL)
        self.wait(5)

    def end_others(self) -> None:
        """End all that it started: none of that leaves it."""
        for _ in range(5):  # a process may start another while we look
            if not (found := descendants(self.pid)[1:]):
                return
            end_all(found)

    def tree(self) -> Tree:
        """Return it with what it has started."""
        return tree_of(self.pid)

    def death(self, code: int) -> Outcome:
        """Return what came of it."""
        return death(code)

    def close(self) -> None:
        """Close the descriptors."""
        if self._open:
            os.close(self.output)
            os.close(self.life)
        self._open = False

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)
