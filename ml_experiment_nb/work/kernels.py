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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import List, Unicode

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.work.forkserver import Fork, ForkServer, fork_at
from ml_experiment_nb.work.forkwire import FORKS, Setup

PROVISIONER = "ml-experiment-fork"
LAUNCHER = "ipykernel_launcher"
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

    A kernel command other than ipykernel's own is started as usual, and so is one whose server can't be forked.
    """

    preload: List[str] = List(Unicode(), help="Modules that every kernel of this kind has imported already.").tag(
        config=True
    )

    forked_after_setup = False
    """Whether the kernel goes on from where a notebook's set-up cells have left it."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork the kernel that `cmd` would start."""
        kwargs["env"] = {k: v for k, v in (kwargs.get("env") or os.environ).items() if k != FORKS}
        fork = await asyncio.to_thread(self._fork, cmd, **kwargs)  # a server's setup takes seconds
        if fork is None:
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

    def _fork(self, cmd: list[str], **kwargs: Any) -> Fork | None:
        if LAUNCHER not in cmd or sys.platform != "linux":
            return None
        arguments = ["kernel", *cmd[cmd.index(LAUNCHER) + 1 :]]
        env, cwd = kwargs["env"], os.fspath(kwargs.get("cwd") or os.getcwd())  # `jupyter execute` gives a Path
        try:
            if (path := os.environ.get(FORKS)) is not None and cmd[0] == sys.executable:
                fork = fork_at(path, arguments, env=env, cwd=cwd, output=1)
                self.forked_after_setup = True
                return fork
            server = _server(cmd[0], tuple(self.preload))
            server.wait()
            if server.unsafe is None:
                return server.fork(arguments, env=env, cwd=cwd, output=1)
            self.log.warning("the kernel is started, not forked: %s", server.unsafe)
        except ExecutorError as error:
            self.log.warning("the kernel is started, not forked: %s", error)
        return None


_servers: dict[tuple[str, tuple[str, ...]], ForkServer] = {}
_starting = threading.Lock()


def _server(python: str, preload: tuple[str, ...]) -> ForkServer:
    """Return this process's server for kernels of a kind, a new one if it was lost; it ends with this process."""
    key = (python, preload)
    with _starting:
        if key not in _servers or _servers[key].lost:
            _servers[key] = ForkServer(Setup(cwd=os.getcwd(), modules=(*MODULES, *preload)), python)
            atexit.register(_servers[key].close)
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
