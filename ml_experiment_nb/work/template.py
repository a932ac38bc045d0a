"""The fork server, below: the process that has done the setup, and is forked for every task."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_experiment_nb.observing import ObservingOptions, seeding
from ml_experiment_nb.work import forkwire, seeds
from ml_experiment_nb.work.forkwire import Setup
from ml_experiment_nb.work.reaping import adopt_orphans, children, kill_but, wait_for_any, wake_on_child

_MAIN = sys.modules["__main__"]


def live(setup: Setup, line: socket.socket) -> None:
    """Set up, say so, and fork until the guardian is gone."""
    adopt_orphans()
    faulthandler.enable()
    unsafe = _prepare(setup)
    faulthandler.disable()
    gc.collect()
    _keep_what_has_a_finalizer()
    gc.freeze()  # so that a child's collector does not touch, and so copy, every page
    forkwire.send(line, {"ready": unsafe})
    _Template(line).serve()
    kill_but(())
    atexit._run_exitfuncs()  # what the setup leaves to the end of its process, such as its temporary folders


class _Template:
    """The loop: a request in, a child out; a child's end in, a status out."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._known: set[int] = set()
        self._wakes = wake_on_child()

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
        while (found := wait_for_any()) is not None:
            ended[found[0]] = found[1]
        heard = [pid for pid in ended if pid in self._known]  # the others were left to us, and are gone
        self._known -= ended.keys()
        kill_but(self._known)
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
_KERNELS = "ml_experiment_nb.work.kernelapp"
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

    asked = ObservingOptions.here()
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
        with suppress(Exception):  # the task reads it again, and says what is wrong
            perform.held[setup.payload] = payload.read_payload(Path(setup.payload))
    if setup.notebook is not None and setup.listen is not None:
        from ml_experiment_nb.work import prefix

        global _setup_cwd
        if asked.deterministic:
            seeding.deterministic()
        if asked.seed is not None:
            seeding.start(asked.seed)
        threads, files = set(os.listdir("/proc/self/task")), _open_files()
        if (failed := prefix.run(Path(setup.notebook), setup.cells, Path(setup.listen).parent)) is not None:
            return failed
        if set(os.listdir("/proc/self/task")) - threads:
            return "the setup cells have started threads, such as OpenMP's"
        if opened := _open_files() - files:
            return f"the setup cells have left open what forks would share ({', '.join(sorted(opened))})"
        if children():
            return "the setup cells have started processes"
        if os.getcwd() != os.path.realpath(setup.cwd):
            _setup_cwd = os.getcwd()
    _prepare_observers()
    if (kernels := sys.modules.get(_KERNELS)) is not None:
        kernels.note_modules()
    seeds.hold()
    return unsafe_to_fork()


def _prepare_observers() -> None:
    """Patch the libraries that the setup has imported, so that no fork has to."""
    from ml_experiment_nb.observing import VARIABLE, ObservingOptions, autologging

    if VARIABLE in os.environ:
        autologging.prepare(ObservingOptions.here().autolog)


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
        adopt_orphans()
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
    if (main := sys.modules["__main__"]) is not _MAIN:
        main.__dict__.clear()
    made = gc.get_objects()  # since the fork: the others are frozen
    files = {kind for kind in set(map(type, made)) if io.IOBase in kind.__mro__}
    for one in made:
        if type(one) in files:
            with suppress(Exception):
                if not one.closed:
                    one.flush()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
