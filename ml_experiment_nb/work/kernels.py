"""Kernels that are forked in place of started: a provisioner for jupyter_client.

The kernel is a real ipykernel; only its birth differs. A slot's own fork server is used where a task tells of one,
else one that the kernel's manager keeps for as long as it lives.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import List, Unicode

from ml_experiment_nb import events, reports
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.kernelspecs import LAUNCHER, PROVISIONER, is_this_python, launcher_arguments
from ml_experiment_nb.work.forkserver import Fork, ForkServer, fork_at
from ml_experiment_nb.work.forkwire import FORKS, Setup

SETUP_LIMIT = 60.0  # seconds that a server may take to import what it preloads, before a kernel is started instead
MODULES = (
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "ml_experiment_nb.work.kernelapp",
    "IPython.core.completer",
    "IPython.core.debugger",
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "pdb",
    "sqlite3",
    "tornado.platform.asyncio",
)
"""What a kernel imports while it starts."""


class ForkedKernel:
    """A forked kernel with the part of `subprocess.Popen` that `LocalProvisioner` uses."""

    stdin = stdout = stderr = None

    def __init__(self, fork: Fork) -> None:
        self._fork = fork
        self.pid = fork.pid

    def poll(self) -> int | None:
        """Return its exit code, or a signal's number below zero; None while it lives."""
        return self._fork.poll()

    def wait(self) -> int:
        """Wait until it has ended."""
        while (code := self._fork.wait(timeout=1.0)) is None:
            pass
        self._fork.close()
        return code

    async def ended(self, timeout: float) -> None:
        """Return when it has ended, or after `timeout` seconds."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        if self.poll() is None:
            loop.add_reader(self._fork.life, heard.set)
            try:
                await asyncio.wait_for(heard.wait(), timeout)
            except TimeoutError:
                pass
            finally:
                loop.remove_reader(self._fork.life)

    def send_signal(self, signum: int) -> None:
        """Send a signal, if it still lives."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


class ForkProvisioner(LocalProvisioner):
    """Forks a kernel from a process that has imported what a kernel, and `preload`, import.

    A kernel command other than ipykernel's own is started as usual, and so is one whose server can't be forked: a
    warning says so and, in a run, its record.
    """

    preload: List[str] = List(Unicode(), help="Modules that every kernel of this kind has imported already.").tag(
        config=True
    )

    forked_after_setup = False
    """Whether the kernel goes on from where a notebook's set-up cells have left it."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork the kernel that `cmd` would start."""
        kwargs["env"] = {k: v for k, v in (kwargs.get("env") or os.environ).items() if k != FORKS}
        try:
            fork = await asyncio.to_thread(self._fork, cmd, **kwargs)  # a server's setup takes seconds
        except ExecutorError as error:
            self._tell(f"the kernel was started, not forked: {error}")
            return await super().launch_kernel(cmd, **kwargs)
        self.process = ForkedKernel(fork)  # type: ignore[assignment]  # it has what the base class uses
        self.pid = self.pgid = fork.pid
        self.cwd = kwargs.get("cwd") or os.getcwd()
        return self.connection_info

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Wait for the kernel's end as it comes; the manager would look after it ten times a second."""
        if isinstance(self.process, ForkedKernel):
            wait = self.get_shutdown_wait_time(recommended=5.0) / 2  # then the manager becomes more insistent
            await self.process.ended(wait)

    def _fork(self, cmd: list[str], **kwargs: Any) -> Fork:
        if sys.platform != "linux":
            raise ExecutorError("kernels are forked on Linux alone")
        if (given := launcher_arguments(cmd)) is None:
            raise ExecutorError(f"its command asks for more than `-m {LAUNCHER}`: {' '.join(cmd)}")
        arguments = ["kernel", *given]
        env, cwd = kwargs["env"], os.fspath(kwargs.get("cwd") or os.getcwd())  # `jupyter execute` gives a Path
        if (path := os.environ.get(FORKS)) is None:
            server = _ready_server(cmd[0], tuple(self.preload), self._spec_env(env))
            return server.fork(arguments, env=env, cwd=cwd, output=1)
        if not is_this_python(cmd[0]):
            raise ExecutorError(f"it has another interpreter than its set-up: {cmd[0]}")
        fork = fork_at(path, arguments, env=env, cwd=cwd, output=1)
        self.forked_after_setup = True
        return fork

    def _spec_env(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return what the kernelspec adds to the environment, as it stands in `env`, filled in."""
        names = getattr(self.kernel_spec, "env", {})
        return {name: env[name] for name in names if name in env}

    def _tell(self, text: str) -> None:
        self.log.warning(text)
        with suppress(OSError):  # a run that is over
            if (sink := reports.active_sink()) is not None:
                sink.send(events.Note(text))


_Kind = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]
_servers: dict[_Kind, tuple[ForkServer, float]] = {}
_starting = threading.Lock()


def _ready_server(python: str, preload: tuple[str, ...], env: Mapping[str, str]) -> ForkServer:
    """Return a server that kernels of a kind can be forked from, waiting for its setup for a while.

    Raises:
        ExecutorError: There is none.
    """
    server, started_at = _server(python, preload, env)
    while not server.wait(0.25):
        if time.monotonic() > started_at + SETUP_LIMIT:
            raise ExecutorError(f"what it preloads ({', '.join(preload)}) took longer than {SETUP_LIMIT:g} s to import")
    if server.unsafe is not None:
        raise ExecutorError(server.unsafe)
    return server


def _server(python: str, preload: tuple[str, ...], env: Mapping[str, str]) -> tuple[ForkServer, float]:
    """Return this process's server for kernels of a kind, and when it was started; it ends with this process.

    There is a new one if it was lost.
    """
    key = (python, preload, tuple(sorted(env.items())))
    with _starting:
        if key not in _servers or _servers[key][0].lost:
            server = ForkServer(Setup(cwd=os.getcwd(), modules=(*MODULES, *preload), env=dict(env)), python)
            _servers[key] = server, time.monotonic()
            atexit.register(server.close)
        return _servers[key]


def kernel_spec(display_name: str, preload: Sequence[str]) -> dict[str, Any]:
    """Return what a kernelspec of forked kernels says: ``kernel.json`` as data."""
    return {
        "argv": [sys.executable, "-m", LAUNCHER, "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": {
            "debugger": True,
            "kernel_provisioner": {"provisioner_name": PROVISIONER, "config": {"preload": list(preload)}},
        },
    }


def install_kernel(
    name: str, *, display_name: str, preload: Sequence[str] = (), prefix: str | None = None, user: bool = False
) -> str:
    """Install a kernelspec whose kernels are forked, and return its folder.

    Args:
        name: The kernelspec's name.
        display_name: What JupyterLab's launcher calls it.
        preload: Modules that its kernels have imported before they begin.
        prefix: An environment to install into; by default this interpreter's.
        user: Install for the user, in place of an environment.

    Raises:
        ExecutorError: The folder can't be written.
    """
    manager = KernelSpecManager()
    with tempfile.TemporaryDirectory() as folder:
        spec = kernel_spec(display_name, preload)
        Path(folder, "kernel.json").write_text(json.dumps(spec, indent=1))
        where = None if user else prefix or sys.prefix
        try:
            return str(manager.install_kernel_spec(folder, name, user=user, prefix=where))
        except (OSError, ValueError) as error:
            raise ExecutorError(f"the kernel {name!r} can't be installed: {error}") from error
