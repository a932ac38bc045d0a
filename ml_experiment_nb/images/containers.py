"""Containers: started with limits, listened to, ended, and swept where whoever started them is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.types import DeviceRequest, LogConfig, Mount

from ml_experiment_nb.errors import EngineError
from ml_experiment_nb.images.engine import Engine

LABEL = "ml-experiment"
"""The label of every container that is started here; its value says what it is for."""

_LOG = LogConfig(type="json-file", config={"max-size": "10m"})


@dataclass(frozen=True)
class Folder:
    """A folder or file of this machine that a container sees.

    Attributes:
        source: Its path here.
        target: Its path there.
        writable: Whether the container may write to it.
    """

    source: str
    target: str
    writable: bool = False

    @classmethod
    def same(cls, path: str | Path, *, writable: bool = False) -> Folder:
        """Return a folder that is seen at its own path."""
        return cls(str(path), str(path), writable)


@dataclass(frozen=True)
class Launch:
    """What a container is started with.

    Attributes:
        image: The image's id or name.
        command: The program and its arguments, in place of the image's own entry point; empty to use that.
        arguments: Arguments of the image's own entry point, where there is no `command`.
        env: Its environment; anybody who may use the engine can read it.
        user: ``uid:gid``; None for the image's own.
        cwd: The working directory; None for the image's own.
        folders: What it sees of this machine.
        network: ``none``, ``host`` or a network's name; None for the engine's default.
        memory: Bytes that it may use.
        cpus: CPUs that it may use.
        gpus: Ids of the GPUs that it sees, or how many of them.
        labels: Labels besides our own.
    """

    image: str
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    cwd: str | None = None
    folders: tuple[Folder, ...] = ()
    network: str | None = None
    memory: int | None = None
    cpus: float | None = None
    gpus: int | tuple[str, ...] = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a container ended.

    Attributes:
        code: Its exit code.
        output: The end of what it printed.
        out_of_memory: Whether its memory limit ended something in it.
    """

    code: int
    output: str = ""
    out_of_memory: bool = False


class Container:
    """A container that was started; `remove` ends it.

    Attributes:
        id: Its id.
        pid: The process id of its first process, as the engine's machine has it.
    """

    def __init__(self, engine: Engine, id: str) -> None:
        self._engine = engine
        self.id = id
        self.pid: int = self._state()["Pid"]

    def wait(self) -> int:
        """Wait until it has ended; return its exit code.

        Raises:
            EngineError: The engine is gone.
        """
        with self._engine.translated("the container can't be waited for"):
            code: int = self._engine.client.api.wait(self.id, timeout=None)["StatusCode"]
        return code

    def kill(self, signal: str = "KILL") -> None:
        """Send its first process a signal; one that has ended is left alone."""
        with self._engine.translated("the container can't be stopped"):
            try:
                self._engine.client.api.kill(self.id, signal)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):  # it is gone, or doesn't run any more
                    raise

    def output(self, lines: int | None = None) -> str:
        """Return what it has printed, or the last lines of it."""
        with self._engine.translated("the container's output can't be read"):
            found: bytes = self._engine.client.api.logs(self.id, tail="all" if lines is None else lines)
        return found.decode("utf-8", "replace")

    def follow(self) -> Iterator[str]:
        """Yield what it prints, as it comes, until it has ended."""
        with self._engine.translated("the container's output can't be read"):
            for piece in self._engine.client.api.logs(self.id, stream=True, follow=True):
                yield piece.decode("utf-8", "replace")

    def ended(self, lines: int = 20) -> Ended:
        """Return how it ended."""
        state = self._state()
        return Ended(state["ExitCode"], self.output(lines), bool(state.get("OOMKilled")))

    def remove(self) -> None:
        """End it, and remove it with all that it wrote to no folder of this machine."""
        _remove(self._engine, self.id)

    def _state(self) -> Mapping[str, Any]:
        with self._engine.translated("the container can't be looked at"):
            state: dict[str, Any] = self._engine.client.api.inspect_container(self.id)["State"]
        return state


def start(engine: Engine, launch: Launch) -> Container:
    """Start a container; if it can't be started, none is left.

    Raises:
        ImageError: Its image isn't there, or hasn't the program.
        EngineError: The engine can't start it: a limit, a folder, a GPU.
    """
    api = engine.client.api
    with engine.translated(f"a container of {launch.image!r} can't be started"):
        made = api.create_container(
            launch.image,
            entrypoint=[launch.command[0]] if launch.command else None,
            command=list(launch.command[1:] if launch.command else launch.arguments),
            environment=dict(launch.env),
            user=launch.user,
            working_dir=launch.cwd,
            labels={LABEL: "", **launch.labels},
            host_config=_host_config(engine, launch),
        )["Id"]
        try:
            api.start(made)
            return Container(engine, made)
        except BaseException:
            _remove(engine, made)
            raise


@contextmanager
def started(engine: Engine, launch: Launch) -> Iterator[Container]:
    """Start a container that is removed at the end of the block, whatever happens; see `start`."""
    container = start(engine, launch)
    try:
        yield container
    finally:
        container.remove()


def run(engine: Engine, launch: Launch) -> Ended:
    """Run a container to its end; nothing of it is left. Raises as `start` does."""
    with started(engine, launch) as container:
        container.wait()
        return container.ended(lines=10_000)


def labelled(engine: Engine, labels: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return the ids and labels of all containers with some labels, whether they run or not."""
    wanted = [f"{name}={value}" for name, value in labels.items()]
    with engine.translated("the engine's containers can't be listed"):
        found = engine.client.api.containers(all=True, filters={"label": [LABEL, *wanted]})
    return [(one["Id"], one["Labels"]) for one in found]


def remove(engine: Engine, ids: Sequence[str]) -> None:
    """End and remove containers; those that are gone are no mistake."""
    for one in ids:
        _remove(engine, one)


def _host_config(engine: Engine, launch: Launch) -> dict[str, Any]:
    # Mounts, unlike binds, don't make a folder that isn't there.
    mounts = [Mount(one.target, one.source, type="bind", read_only=not one.writable) for one in launch.folders]
    # An engine takes no more than it has, and a limit above that limits nothing.
    cpus = None if launch.cpus is None else min(launch.cpus, float(engine.info.get("NCPU") or launch.cpus))
    made: dict[str, Any] = engine.client.api.create_host_config(
        mounts=mounts,
        network_mode=launch.network,
        mem_limit=launch.memory,
        memswap_limit=launch.memory,
        nano_cpus=None if cpus is None else max(10_000_000, int(cpus * 1e9)),
        device_requests=_gpus(launch.gpus),
        init=True,  # it hands signals on, and fetches what a task leaves behind
        log_config=_LOG,
        security_opt=["no-new-privileges"],
    )
    return made


def _gpus(gpus: int | tuple[str, ...]) -> list[DeviceRequest] | None:
    if not gpus:
        return None
    which = {"count": gpus} if isinstance(gpus, int) else {"device_ids": list(gpus)}
    return [DeviceRequest(driver="nvidia", capabilities=[["gpu"]], **which)]


def _remove(engine: Engine, id: str) -> None:
    for attempt in range(3):  # one that is just ending by itself may be busy for a moment
        try:
            with engine.translated("the container can't be removed"):
                engine.client.api.remove_container(id, force=True, v=True)
        except EngineError as error:
            if isinstance(error.__cause__, docker.errors.NotFound) or "is already in progress" in str(error):
                return
            if attempt == 2:
                raise
            time.sleep(0.2)
        else:
            return


def caller(engine: Engine) -> str:
    """Return the user that a container runs as so that what it writes is the caller's."""
    return "0:0" if engine.is_rootless else f"{os.getuid()}:{os.getgid()}"
