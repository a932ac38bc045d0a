"""The fork server: a small process that has imported what the work imports, and forks a child for each task.

The owner's side is `ForkServer`; the process is ``python -m ml_experiment_nb.work.forkserver FD``. They speak over
one socket pair that nobody else can reach; on request the server also listens in a private folder, so that a child
can have a sibling forked. A request carries two descriptors: where the child's output goes, and
a pipe (`life`) on which the server says the child's pid and, when it has ended with all that it started, how.

The server and each child are sub-reapers: whatever a task leaves behind comes back to the server as a child that it
doesn't know, and is killed. When the owner is gone, its end of the socket closes and the server ends with its
children.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.work import seeds

FORKS = "ML_EXPERIMENT_FORKS"  # in a task's environment: where its fork server listens
PREFIX_FILE = "prefix.json"  # beside that socket: what the setup cells have shown
LARGEST = 1 << 17  # bytes of a request
_WORD = struct.Struct("<i")
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Setup:
    """What a fork server does before it forks.

    Attributes:
        cwd: Its working directory.
        path: Folders for the front of the import path.
        modules: Modules to import; one that can't be imported is left to the task, which will say so.
        payload: A file of values to hold ready for every child.
        env: Its environment, beside its owner's.
        listen: A socket's path to take requests on besides the owner's.
        notebook: A notebook whose first `cells` cells are run in the server; its kernels begin after them.
        cells: How many cells that are.
    """

    cwd: str
    path: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    payload: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    listen: str | None = None
    notebook: str | None = None
    cells: int = 0


# ------------------------------------------------------------------------------------------------ the owner's side


class Fork:
    """A `Child` that was forked."""

    def __init__(self, pid: int, output: int, life: int) -> None:
        self.pid = pid
        self.output = output
        self.life = life
        self._code: int | None = None
        self._open = True

    def poll(self) -> int | None:
        """Return how it ended: an exit code, or a signal's number below zero; None while it lives."""
        if self._code is None and select.select([self.life], [], [], 0)[0]:
            word = os.read(self.life, _WORD.size)
            self._code = os.waitstatus_to_exitcode(_WORD.unpack(word)[0]) if word else -signal.SIGKILL
        return self._code

    def wait(self, timeout: float) -> int | None:
        """Wait until it has ended, or for `timeout` seconds, and return as `poll` does."""
        if self._code is None:
            select.select([self.life], [], [], timeout)
        return self.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, signal.SIGTERM)

    def end(self) -> None:
        """End it; the server ends what it has started before it says that it is gone."""
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, signal.SIGKILL)
        self.wait(5)

    def close(self) -> None:
        """Close the descriptors."""
        if self._open:
            os.close(self.output)
            os.close(self.life)
        self._open = False


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
        self._failed = False
        watched, self._watch = os.pipe()
        with theirs:
            self._process = subprocess.Popen(
                [python, "-u", "-P", "-m", "ml_experiment_nb.work.forkserver"]
                + [str(one) for one in (theirs.fileno(), write, watched)],
                pass_fds=[theirs.fileno(), write, watched],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=setup.cwd,
                env={**os.environ, **setup.env},
                start_new_session=True,
            )
        os.close(write)
        os.close(watched)
        ours.send(json.dumps(asdict(setup)).encode())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the setup is done, or for `timeout` seconds; return whether it is.

        Raises:
            ExecutorError: The server ended in its setup.
        """
        with self._lock:
            if self._failed:
                raise ExecutorError("the fork server ended in its setup")
            if self._ready == -1:
                return True
            if not select.select([self._ready], [], [], timeout)[0]:
                return False
            answer = os.read(self._ready, LARGEST)
            os.close(self._ready)
            self._ready = -1
        if not answer:
            self._failed = True
            raise ExecutorError("the fork server ended in its setup")
        self.unsafe = json.loads(answer)["unsafe"]
        return True

    def fork(self, arguments: list[str], *, env: Mapping[str, str], cwd: str, output: int | None = None) -> Fork:
        """Fork a child.

        Args:
            arguments: ``task`` and its request file, or ``kernel`` and its arguments.
            env: What to add to its environment.
            cwd: Its working directory.
            output: Where its output goes; by default into a pipe, whose other end the `Fork` has.

        Raises:
            ExecutorError: The server is gone.
        """
        self.wait()
        with self._lock:
            return _fork_over(self._socket, arguments, env, cwd, output)

    def close(self) -> None:
        """End the server and every child that still runs."""
        self._socket.close()
        if self._watch != -1:
            os.close(self._watch)
            self._watch = -1
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
    message = json.dumps({"arguments": arguments, "env": dict(env), "cwd": cwd}).encode()
    if len(message) > LARGEST:
        raise ExecutorError("the environment is too large to be handed over")
    ours, theirs = os.pipe() if output is None else (os.open(os.devnull, os.O_RDONLY), os.dup(output))
    life, their_life = os.pipe()
    with suppress(OSError):
        socket.send_fds(connection, [message], [theirs, their_life])
    os.close(theirs)
    os.close(their_life)
    word = os.read(life, _WORD.size)  # at its end at once, if nobody holds the other one
    if not word:
        os.close(ours)
        os.close(life)
        raise ExecutorError("the fork server is gone")
    return Fork(_WORD.unpack(word)[0], ours, life)


# ------------------------------------------------------------------------------------------------ the server's side


class _Server:
    """The loop: a packet in, a child out; a child's end in, a status out."""

    def __init__(self, control: socket.socket, listener: socket.socket | None) -> None:
        self._control = control
        self._listener = listener
        self._lives: dict[int, int] = {}
        self._wake, wakeup = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wakeup, False)
        self._descriptors = (self._wake, wakeup)
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        while True:
            poll = select.poll()
            for one in (self._control.fileno(), self._wake, *([self._listener.fileno()] if self._listener else [])):
                poll.register(one, select.POLLIN)
            for life in self._lives.values():
                poll.register(life, 0)  # it fails when nobody is left to hear of the child
            ready = {one for one, _ in poll.poll()}
            for pid, life in self._lives.items():
                if life in ready:
                    os.kill(pid, signal.SIGKILL)
            if self._wake in ready or ready & set(self._lives.values()):
                with suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                self._reap()
            if self._listener is not None and self._listener.fileno() in ready:
                with self._listener.accept()[0] as guest:
                    self._take(guest)
            if self._control.fileno() in ready and not self._take(self._control):
                self._end()
                return

    def _take(self, connection: socket.socket) -> bool:
        """Take one request, and return whether there was one."""
        message, fds, _, _ = socket.recv_fds(connection, LARGEST, 2)
        if message:
            self._fork(json.loads(message), *fds)
        return bool(message)

    def _fork(self, message: dict[str, Any], output: int, life: int) -> None:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for one in (*self._descriptors, *self._lives.values(), life):
                os.close(one)
            self._control.close()
            if self._listener is not None:
                self._listener.close()
            _become_child(message, output)
        os.close(output)
        self._lives[pid] = life
        _say(life, pid)

    def _reap(self) -> None:
        """Note who has ended, and kill what an ended task has left to us."""
        ended = {}
        while (found := _wait_for_any()) is not None:
            ended[found[0]] = found[1]
        while left := [pid for pid in _children() if pid not in self._lives and pid != _watchdog]:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        for pid, status in ended.items():
            if (life := self._lives.pop(pid, None)) is not None:
                _say(life, status)
                os.close(life)

    def _end(self) -> None:
        """The owner is gone: so are we, with every child."""
        self._lives.clear()
        while pids := _children():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _become_child(message: dict[str, Any], output: int) -> None:
    """Turn this fork into a task's process; it never returns."""
    code = 1
    try:
        os.setsid()
        _adopt_orphans()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with suppress(OSError):  # in need of memory, the task goes before its server
            Path("/proc/self/oom_score_adj").write_text("500")
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        atexit._clear()
        os.environ.update(message["env"])
        os.chdir(_setup_cwd or message["cwd"])
        seeds.renew()
        _work(*message["arguments"])
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _work(kind: str, *arguments: str) -> None:
    if kind == "kernel":
        from ml_experiment_nb.work import kernelapp

        kernelapp.main(list(arguments))
    else:
        from ml_experiment_nb.work import child

        sys.argv[1:] = arguments
        child.main()


def _flush() -> None:
    """Write what files opened by the task still hold, and let its objects end, as the end of a program does."""
    if (main := sys.modules["__main__"]).__dict__ is not globals():
        main.__dict__.clear()
    for one in gc.get_objects():  # those made since the fork: the others are frozen
        with suppress(Exception):
            if isinstance(one, io.IOBase) and not one.closed:
                one.flush()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


_setup_cwd: str | None = None
"""Where the set-up cells have gone to, if they have gone anywhere."""

_watchdog = 0
"""The process that ends this one if its owner goes while it is busy with its setup."""


def _prepare(setup: Setup) -> str | None:
    """Do the setup, and return why forking is unsafe after it."""
    from ml_experiment_nb.work import payload, perform

    sys.path[:0] = [one for one in setup.path if one not in sys.path]
    if setup.listen is not None:
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as a kernel does
    seeds.watch(setup.modules)
    for name in setup.modules:
        with suppress(Exception):  # the task's own import will raise it where the user sees it
            importlib.import_module(name)
    if setup.payload is not None:
        with suppress(Exception):
            perform.held[setup.payload] = payload.read_payload(Path(setup.payload))
    if setup.notebook is not None and setup.listen is not None:
        from ml_experiment_nb.work import prefix

        global _setup_cwd
        threads, files = len(os.listdir("/proc/self/task")), _open_files()
        if (failed := prefix.run(Path(setup.notebook), setup.cells, Path(setup.listen).parent)) is not None:
            return failed
        if len(os.listdir("/proc/self/task")) > threads:
            return "the setup cells have started threads, such as OpenMP's"
        if opened := _open_files() - files:
            return f"the setup cells have left open what forks would share ({', '.join(sorted(opened))})"
        if set(_children()) - {_watchdog}:
            return "the setup cells have started processes"
        if os.getcwd() != os.path.realpath(setup.cwd):
            _setup_cwd = os.getcwd()
    seeds.hold()
    return unsafe_to_fork()


def unsafe_to_fork() -> str | None:
    """Return why a fork of this process might hang or crash; None when nothing speaks against it."""
    others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    if others:
        return f"a thread is running ({', '.join(others)})"
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("/dev/nvidia"):
                return "a GPU is in use (CUDA does not survive a fork)"
    return None


def _open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            where = os.readlink(f"/proc/self/fd/{name}")
            if not where.startswith(("/dev/", "/proc/")):
                found.add(where)
    return found


def _watch(owner: int) -> int:
    """Fork a process that ends this one with its group once the owner's end of a pipe is closed."""
    pid = os.fork()
    if pid == 0:
        os.closerange(0, owner)
        os.closerange(owner + 1, 1024)  # it must not hold what others wait for the end of
        os.read(owner, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(0)
    os.close(owner)
    return pid


def _children() -> list[int]:
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        with suppress(OSError):
            found += map(int, Path(f"/proc/self/task/{task}/children").read_text().split())
    return found


def _wait_for_any() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _say(life: int, word: int) -> None:
    with suppress(OSError):  # the slot may have lost interest
        os.write(life, _WORD.pack(word))


def _adopt_orphans() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> None:
    """Set up, say so, and serve until the owner is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    ready = int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt_orphans()
    global _watchdog
    _watchdog = _watch(int(sys.argv[3]))
    data = json.loads(control.recv(LARGEST))
    setup = Setup(**data | {"path": tuple(data["path"]), "modules": tuple(data["modules"])})
    unsafe = _prepare(setup)
    os.kill(_watchdog, signal.SIGKILL)  # from here on the server sees to its owner itself, and ends its children first
    os.waitpid(_watchdog, 0)
    _watchdog = 0
    listener = None
    if setup.listen is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(setup.listen)
        listener.listen(16)
    gc.collect()
    gc.freeze()  # so that a child's collector does not touch, and so copy, every page
    os.write(ready, json.dumps({"unsafe": unsafe}).encode())
    os.close(ready)
    _Server(control, listener).serve()


if __name__ == "__main__":
    main()
