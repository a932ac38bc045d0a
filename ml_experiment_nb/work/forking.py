"""The fork server's own side: ``python -m ml_experiment_nb.work.forking FD READY``.

It is two processes. The *template* does the setup and forks the children; it is their parent, so that a child may do
it harm. The *guardian* stands above it, runs no code but ours, and talks to the owner. If the template is lost, the
children that it has forked go on: they come to the guardian, which sees to them until they end.

Both are sub-reapers, and so is each child: whatever a task leaves behind comes back to the template as a child that
it doesn't know, and is killed. When the owner is gone, its end of the socket closes, and all of them end.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import gc
import importlib
import io
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_experiment_nb.work import forkwire, seeds
from ml_experiment_nb.work.forkwire import LARGEST, Setup

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 2.0  # seconds that a guest may take to say what it wants
_LAST_WORDS = 1 << 14  # bytes of what a setup has printed that are kept for the case that it ends there


def main() -> None:
    """Fork the template, and be its guardian until the owner is gone."""
    control, ready = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt_orphans()
    setup = Setup.decode(control.recv(LARGEST))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    errors, printed = os.pipe()
    guardian = os.getpid()
    pid = os.fork()
    if pid == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:
            os._exit(1)
        os.dup2(printed, 2)
        for one in (errors, printed, ready):
            os.close(one)
        control.close()
        ours.close()
        _live(setup, theirs)
        os._exit(0)
    theirs.close()
    os.close(printed)
    _Guardian(control, _listen(setup), ours, pid, errors, ready).serve()
    if setup.listen is not None:  # an owner that was killed could not
        shutil.rmtree(os.path.dirname(setup.listen), ignore_errors=True)


# ------------------------------------------------------------------------------------------------ the guardian


class _Guardian:
    """The loop: requests go down to the template, a child's pid and its end come up."""

    def __init__(
        self, control: socket.socket, listener: socket.socket | None, line: socket.socket, template: int,
        errors: int, ready: int,
    ) -> None:  # fmt: skip
        self._control = control
        self._listener = listener
        self._line: socket.socket | None = line
        self._template = template
        self._errors = errors
        self._ready = ready
        self._last_words = b""
        self._waiting: deque[tuple[int, str]] = deque()
        self._lives: dict[int, int] = {}
        self._marks: dict[int, str] = {}
        self._wake, _ = _wake_on_child()
        os.set_blocking(errors, False)

    def serve(self) -> None:
        self._reap()  # it may have ended before we listened for that
        while True:
            ready = self._wait()
            if self._errors in ready:
                self._read_errors()
            if self._line is not None and self._line.fileno() in ready:
                self._hear_template()
            for pid, life in self._lives.items():
                if life in ready:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                self._reap()
            if self._listener is not None and self._listener.fileno() in ready:
                with self._listener.accept()[0] as guest:
                    guest.settimeout(_PATIENCE)
                    self._take(guest)
            if self._control.fileno() in ready and not self._take(self._control):
                self._end()  # the owner is gone: so are we, with every child
                return

    def _end(self) -> None:
        """End every child, and then the template: by itself once its setup is done, so that it can tidy up."""
        for pid in self._lives:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._line is not None and self._ready == -1:
            self._line.close()
            until = time.monotonic() + _PATIENCE
            while not os.waitpid(self._template, os.WNOHANG)[0] and time.monotonic() < until:
                time.sleep(0.005)
        _kill_but(())

    def _wait(self) -> set[int]:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        for one in (self._listener, self._line):
            if one is not None:
                poll.register(one, select.POLLIN)
        if self._errors != -1:
            poll.register(self._errors, select.POLLIN)
        for life in self._lives.values():
            poll.register(life, 0)  # it fails when nobody is left to hear of the child
        return {one for one, _ in poll.poll()}

    def _take(self, connection: socket.socket) -> bool:
        """Take one request, and return whether there was one."""
        message, descriptors = forkwire.receive(connection)
        if message is None:
            return False
        if "whose" in message:
            pids = [pid for pid, mark in self._marks.items() if mark == message["whose"]]
            with suppress(OSError):
                os.write(descriptors[0], json.dumps(pids).encode())
            os.close(descriptors[0])
            return True
        output, life = descriptors
        if self._line is not None and forkwire.send(self._line, message, output):
            self._waiting.append((life, message["mark"]))
        else:
            os.close(life)
        os.close(output)
        return True

    def _hear_template(self) -> bool:
        """Take one thing that the template says, and return whether it said anything."""
        assert self._line is not None
        said, _ = forkwire.receive(self._line)
        match said:
            case {"ready": unsafe}:
                self._answer({"unsafe": unsafe})
            case {"forked": pid}:
                life, mark = self._waiting.popleft()
                forkwire.say(life, pid)
                if pid > 0:
                    self._lives[pid], self._marks[pid] = life, mark
                else:
                    os.close(life)
            case {"ended": pid, "status": status}:
                self._forget(pid, status)
        return said is not None

    def _reap(self) -> None:
        """See whether the template has ended, and to the children that it has left to us then."""
        ended = {}
        while (found := _wait_for_any()) is not None:
            ended[found[0]] = found[1]
        if self._template in ended:
            self._lose(ended[self._template])
        if self._line is None:
            _kill_but(self._lives.keys())
            present = _children()
            for pid in list(self._lives):
                if pid in ended or pid not in present:  # one that is gone unheard was told of by nobody
                    self._forget(pid, ended.get(pid, signal.SIGKILL))

    def _lose(self, status: int) -> None:
        """Note that the template is gone: nothing can be forked any more."""
        self._read_errors()
        assert self._line is not None
        while self._hear_template():
            pass
        self._line.close()
        self._line = None
        self._answer({"failed": self._why(status)})
        for life, _ in self._waiting:
            os.close(life)
        self._waiting.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        forkwire.send(self._control, {"lost": True})

    def _forget(self, pid: int, status: int) -> None:
        life = self._lives.pop(pid)
        del self._marks[pid]
        forkwire.say(life, status)
        os.close(life)

    def _answer(self, answer: dict[str, Any]) -> None:
        """Say how the setup went, once."""
        if self._ready != -1:
            with suppress(OSError):
                os.write(self._ready, json.dumps(answer).encode())
            os.close(self._ready)
            self._ready = -1

    def _read_errors(self) -> None:
        with suppress(BlockingIOError):
            while self._errors != -1:
                piece = os.read(self._errors, 1 << 16)
                self._last_words = (self._last_words + piece)[-_LAST_WORDS:]
                if not piece:
                    os.close(self._errors)
                    self._errors = -1

    def _why(self, status: int) -> str:
        """Return how a setup ended, with the last that it printed."""
        code = os.waitstatus_to_exitcode(status)
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        lines = [one.strip() for one in self._last_words.decode(errors="replace").splitlines() if one.strip()]
        fatal = next((k for k, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
        if fatal is None:
            lines = lines[-3:]
        else:  # Python's own words on a crash: its name, and where it happened
            lines = [lines[fatal], *[line for line in lines[fatal:] if line.startswith("File ")][:1]]
        return how + (f" ({' | '.join(lines)[-500:]})" if lines else "")


def _listen(setup: Setup) -> socket.socket | None:
    if setup.listen is None:
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(setup.listen)
    listener.listen(16)
    return listener


# ------------------------------------------------------------------------------------------------ the template


def _live(setup: Setup, line: socket.socket) -> None:
    """Set up, say so, and fork until the guardian is gone."""
    _adopt_orphans()
    faulthandler.enable()
    unsafe = _prepare(setup)
    faulthandler.disable()
    gc.collect()
    _keep_what_has_a_finalizer()
    gc.freeze()  # so that a child's collector does not touch, and so copy, every page
    forkwire.send(line, {"ready": unsafe})
    _Template(line).serve()
    _kill_but(())
    atexit._run_exitfuncs()  # what the setup leaves to the end of its process, such as its temporary folders


class _Template:
    """The loop: a request in, a child out; a child's end in, a status out."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._known: set[int] = set()
        self._wakes = _wake_on_child()

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        poll.register(self._wakes[0], select.POLLIN)
        while True:
            ready = {one for one, _ in poll.poll()}
            if self._wakes[0] in ready:
                with suppress(BlockingIOError):
                    os.read(self._wakes[0], 4096)
                self._reap()
            if self._line.fileno() in ready:
                message, descriptors = forkwire.receive(self._line)
                if message is None:
                    return
                self._fork(message, *descriptors)

    def _fork(self, message: dict[str, Any], output: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for one in self._wakes:
                os.close(one)
            self._line.close()
            _become_child(message, output)
        os.close(output)
        if pid > 0:
            self._known.add(pid)
        forkwire.send(self._line, {"forked": pid})

    def _reap(self) -> None:
        """Note who has ended, and kill what an ended task has left to us, before anybody hears of its end."""
        ended = {}
        while (found := _wait_for_any()) is not None:
            ended[found[0]] = found[1]
        heard = [pid for pid in ended if pid in self._known]  # the others were left to us, and are gone
        self._known -= ended.keys()
        _kill_but(self._known)
        for pid in heard:
            forkwire.send(self._line, {"ended": pid, "status": ended[pid]})


def _keep_what_has_a_finalizer() -> None:
    """Keep what the setup has made from being finalized in a child: the others, and the template, need it still."""
    made = gc.get_objects()
    types = {id(type(one)): type(one) for one in made}
    ending = {key for key, one in types.items() if any("__del__" in vars(base) for base in one.__mro__)}
    _kept.extend(one for one in made if id(type(one)) in ending)


_kept: list[object] = []
_NOTEBOOKS = "ml_experiment_nb.work.notebook"
_setup_cwd: str | None = None
"""Where the set-up cells have gone to, if they have gone anywhere."""
_setup_env: dict[str, str | None] = {}
"""What the setup has set in the environment, and, as None, what it has deleted."""


def _prepare(setup: Setup) -> str | None:
    """Do the setup, and return why forking is unsafe after it."""
    sys.path[:0] = [one for one in setup.path if one not in sys.path]
    if setup.listen is not None:
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as a kernel does
    before = dict(os.environ)
    try:
        return _set_up(setup)
    finally:
        changed = {name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)}
        _setup_env.update((name, os.environ.get(name)) for name in changed)


def _set_up(setup: Setup) -> str | None:
    from ml_experiment_nb.work import payload, perform

    seeds.watch(setup.modules)
    for name in setup.modules:
        try:
            importlib.import_module(name)
        except Exception:  # the task's own import will raise it where the user sees it
            continue
        except BaseException as error:
            return f"importing {name} raised {type(error).__name__}: {error}"
    if _NOTEBOOKS in setup.modules:
        from ml_experiment_nb.work import notebook

        notebook.rehearse()
    if setup.payload is not None:
        with suppress(Exception):
            perform.held[setup.payload] = payload.read_payload(Path(setup.payload))
    if setup.notebook is not None and setup.listen is not None:
        from ml_experiment_nb.work import prefix

        global _setup_cwd
        threads, files = set(os.listdir("/proc/self/task")), _open_files()
        if (failed := prefix.run(Path(setup.notebook), setup.cells, Path(setup.listen).parent)) is not None:
            return failed
        if set(os.listdir("/proc/self/task")) - threads:
            return "the setup cells have started threads, such as OpenMP's"
        if opened := _open_files() - files:
            return f"the setup cells have left open what forks would share ({', '.join(sorted(opened))})"
        if _children():
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


def _become_child(message: dict[str, Any], output: int) -> None:
    """Turn this fork into a task's process; it never returns."""
    code = 1
    try:
        os.setsid()
        _adopt_orphans()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(OSError):  # in need of memory, the task goes before its server
            Path("/proc/self/oom_score_adj").write_text("500")
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        _disown_what_ends_with_the_template()
        _take_environment(message["env"])
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


def _take_environment(env: dict[str, str]) -> None:
    """Set the task's environment, and on top of it what the setup, which a cold task would run itself, made of it."""
    os.environ.update(env)
    for name, value in _setup_env.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _disown_what_ends_with_the_template() -> None:
    """Forget the setup's exit functions and `weakref.finalize`s, of which the template runs each one once."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]  # for those of the task


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


def _wake_on_child() -> tuple[int, int]:
    """Return a pipe that can be read from when a child has ended."""
    wake, wakeup = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake, wakeup


def _kill_but(known: Collection[int]) -> None:
    """Kill every child that is none of those, and what comes to us when it is gone."""
    while left := [pid for pid in _children() if pid not in known]:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


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


def _adopt_orphans() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
