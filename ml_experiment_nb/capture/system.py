"""The machine and the interpreter that a run has: facts that don't change while a process lives."""

from __future__ import annotations

import functools
import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ml_experiment_nb.errors import CaptureError

_T = TypeVar("_T")
_Gpus: TypeAlias = "tuple[tuple[Gpu, ...], str, str]"  # and the versions of their driver and of its CUDA
_NO_GPUS: _Gpus = ((), "", "")


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        name: Its product name.
        memory: Its memory in bytes.
        uuid: The identity that `CUDA_VISIBLE_DEVICES` accepts; empty when the driver won't say.
    """

    name: str
    memory: int
    uuid: str = ""


@dataclass(frozen=True)
class System:
    """A machine and an interpreter. A fact that couldn't be read is an empty string or 0.

    Attributes:
        hostname: The machine's network name.
        user: Who runs the process; a number when the user has no name, as in some containers.
        os: The operating system, its release and its C library.
        cpu: The processor's model.
        cores_physical: Cores of the machine.
        cores_logical: Hardware threads of the machine.
        memory: Bytes of memory of the machine.
        gpus: All NVIDIA GPUs of the machine, whatever `CUDA_VISIBLE_DEVICES` says.
        gpu_driver: The NVIDIA driver's version; empty without one.
        cuda: The newest CUDA version that the driver supports; empty without a driver.
        python: The interpreter's version.
        executable: The interpreter's path.
        environment: The folder of the environment that the interpreter belongs to.
        environment_kind: ``venv``, ``conda``, ``system`` or ``container``, whose image is the environment then.
    """

    hostname: str
    user: str
    os: str
    cpu: str
    cores_physical: int
    cores_logical: int
    memory: int
    gpus: tuple[Gpu, ...]
    gpu_driver: str
    cuda: str
    python: str
    executable: str
    environment: str
    environment_kind: str

    def as_tags(self) -> dict[str, str]:
        """Return the known facts as ``mlexp.system.*`` tags; the GPUs are one tag."""
        facts = {key: value for key, value in vars(self).items() if value}
        if self.gpus:
            facts["gpus"] = ", ".join(f"{gpu.name} ({gpu.memory / 2**30:.1f} GiB)" for gpu in self.gpus)
        return {f"mlexp.system.{key}": str(value) for key, value in facts.items()}


def system_info(*, notes: list[str] | None = None) -> System:
    """Return the facts about this machine and interpreter, read once per process.

    Args:
        notes: Gets a sentence for each fact that should be there and couldn't be read. A machine without an
            NVIDIA driver is no such thing.
    """
    system, problems = _read()
    if notes is not None:
        notes.extend(problems)
    return system


@functools.lru_cache(maxsize=8)
def interpreter_facts(python: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the import path of another interpreter, and what differs of the system as it sees it.

    Raises:
        CaptureError: It can't be started.
    """
    try:
        told = subprocess.run([python, "-I", "-c", _ASKED], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise CaptureError(f"the interpreter {python} can't be asked: {error}") from None
    path, version, prefix = json.loads(told.stdout)
    facts: dict[str, Any] = {"python": version, "executable": python, "environment": prefix, "environment_kind": "venv"}
    return tuple(path), facts


_ASKED = "import json, platform, sys; print(json.dumps([sys.path, platform.python_version(), sys.prefix]))"


@functools.cache
def _read() -> tuple[System, tuple[str, ...]]:
    notes: list[str] = []

    def fact(what: str, read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return read()
        except Exception as error:  # each driver and library that is asked has errors of its own
            notes.append(f"{what} could not be read: {error}")
            return otherwise

    gpus, gpu_driver, cuda = fact("the GPUs", _gpus, _NO_GPUS)
    system = System(
        hostname=fact("the host's name", socket.gethostname, ""),
        user=fact("the user", _user, ""),
        os=fact("the operating system", platform.platform, ""),
        cpu=fact("the CPU's model", _cpu, ""),
        cores_physical=fact("the number of cores", lambda: _psutil().cpu_count(logical=False) or 0, 0),
        cores_logical=os.cpu_count() or 0,
        memory=fact("the memory", lambda: _psutil().virtual_memory().total, 0),
        gpus=gpus,
        gpu_driver=gpu_driver,
        cuda=cuda,
        python=platform.python_version(),
        executable=sys.executable or "",
        environment=sys.prefix,
        environment_kind=_environment_kind(),
    )
    return system, tuple(notes)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()  # ARM kernels give no model


def _environment_kind() -> str:
    if Path(sys.prefix, "conda-meta").is_dir():
        return "conda"
    return "venv" if sys.prefix != sys.base_prefix else "system"


def _psutil() -> Any:
    import psutil  # only here: child processes import this package for its console, and need no psutil

    return psutil


def _gpus() -> _Gpus:
    try:
        import pynvml
    except ImportError:
        return _NO_GPUS
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return _NO_GPUS
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
        return gpus, str(pynvml.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}"
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml: Any, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        uuid = ""
    memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    return Gpu(name=str(pynvml.nvmlDeviceGetName(handle)), memory=memory, uuid=uuid)
