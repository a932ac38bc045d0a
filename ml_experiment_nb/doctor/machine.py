"""The machine and what is installed on it: Python, its kernel, git, disks, Ray, Docker, GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from traitlets import TraitError

from ml_experiment_nb import drivers
from ml_experiment_nb.capture.packages import OWN
from ml_experiment_nb.capture.system import system_info
from ml_experiment_nb.doctor.findings import Finding, Level
from ml_experiment_nb.errors import EngineError
from ml_experiment_nb.images import builds
from ml_experiment_nb.images.endpoints import LOCAL, endpoint
from ml_experiment_nb.images.engine import reach
from ml_experiment_nb.kernelspecs import DEFAULT_KERNEL, is_this_python
from ml_experiment_nb.projects import FOLDER, find_root
from ml_experiment_nb.records import size

_LITTLE, _TOO_LITTLE = 2_000_000_000, 200_000_000  # bytes of disk space
_PATIENCE = 10.0  # seconds that Docker's engine may take for an answer


def python(root: Path) -> Iterator[Finding]:
    """The interpreter, and this package's version with those of what it stands on."""
    names = (OWN, "mlflow", "optuna", "ray", "papermill")
    parts = ", ".join(f"{name} {version_of(name) or 'missing'}" for name in names)
    missing = [name for name in names if version_of(name) is None]
    text = f"Python {platform.python_version()} ({sys.executable}); {parts}"
    if missing:
        yield Finding("python", Level.PROBLEM, text, f"pip install {' '.join(missing)}")
    else:
        yield Finding("python", Level.OK, text)


def kernel(root: Path) -> Iterator[Finding]:
    """The kernels that headless notebooks can be run with."""
    install = f"{sys.executable} -m ipykernel install --sys-prefix"
    try:
        manager = KernelSpecManager()
        folders = manager.find_kernel_specs()
    except OSError as error:  # IPython makes its folder to look into it
        advice = "set HOME, or IPYTHONDIR, to a folder that is yours"
        yield Finding("kernel", Level.PROBLEM, f"kernels can't be looked for: {error}", advice)
        return
    faults = {name: why for name in sorted(folders) if (why := _fault(manager, name)) is not None}
    for name, why in faults.items():
        level = Level.PROBLEM if name == DEFAULT_KERNEL else Level.WARNING
        advice = f"mend it, or remove {folders[name]}; a new one: {install}"
        yield Finding("kernel", level, f"the kernel {name} {why}", advice)
    names = ", ".join(sorted(folders.keys() - faults.keys()))
    if DEFAULT_KERNEL not in folders:
        yield Finding("kernel", Level.WARNING, f"no kernel is called python3 ({names or 'there is none'})", install)
    elif DEFAULT_KERNEL not in faults:
        yield Finding("kernel", Level.OK, f"ipykernel {version_of('ipykernel')}; {names}")


def _fault(manager: KernelSpecManager, name: str) -> str | None:
    """Return why a kernel can't be started; None where nothing speaks against it."""
    try:
        spec: KernelSpec = manager.get_kernel_spec(name)
    except (NoSuchKernel, OSError, ValueError, TypeError, TraitError) as error:
        return f"has a kernel.json that can't be read: {error}"
    if not spec.argv:
        return "has no argv in its kernel.json: nothing says what to start"
    ours = is_this_python(spec.argv[0])
    program = sys.executable if ours else shutil.which(spec.argv[0].replace("{prefix}", sys.prefix))
    if program is None:
        return f"runs {spec.argv[0]}, which is not there"
    module = spec.argv[spec.argv.index("-m") + 1].partition(".")[0] if "-m" in spec.argv[:-1] else None
    if module is None or spec.language.lower() != "python":
        return None
    if find_spec(module) is not None if ours else _has_module(program, module, spec.env):
        return None
    return f"runs {program}, which has no {module}: pip install ipykernel there"


def _has_module(program: str, module: str, env: dict[str, str]) -> bool:
    """Ask another interpreter; one that doesn't answer as Python does is left to those who start it."""
    words = [program, "-c", "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]) is None)", module]
    given = {**os.environ, **env}
    try:
        asked = subprocess.run(words, env=given, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return True
    return asked.stdout.strip() != "True"


def git(root: Path) -> Iterator[Finding]:
    """Whether a run's commit and changes can be recorded."""
    if shutil.which("git") is None:
        yield Finding("git", Level.WARNING, "not installed: runs have no commit and no diff", "install git")
        return
    words = ["git", "-C", str(root), "rev-parse", "--is-inside-work-tree", "--short", "HEAD"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    if found.returncode == 0:
        yield Finding("git", Level.OK, f"{root} is at {found.stdout.split()[-1]}")
    elif found.stdout.startswith("true"):
        yield Finding("git", Level.WARNING, f"{root} has no commit yet", "git commit")
    elif "dubious ownership" in found.stderr:
        yield Finding(
            "git", Level.WARNING, f"git refuses {root}, which is another user's", found.stderr.split("\n\t")[-1].strip()
        )
    else:
        yield Finding("git", Level.WARNING, f"{root} is in no repository: runs have no commit and no diff", "git init")


def disk(root: Path) -> Iterator[Finding]:
    """Room where runs' files are gathered, and where temporary files go."""
    for place in dict.fromkeys((_existing(root / FOLDER), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        level = Level.PROBLEM if free < _TOO_LITTLE else Level.WARNING if free < _LITTLE else Level.OK
        advice = "" if level is Level.OK else "make room: `ml-experiment ls` says where runs' files are"
        yield Finding("disk", level, f"{size(free)} left for {place}", advice)


def project(root: Path) -> Iterator[Finding]:
    """The project's root, whether it can be written, and what was left there."""
    told = " (ML_EXPERIMENT_ROOT)" if os.environ.get("ML_EXPERIMENT_ROOT") else ""
    home = root / FOLDER
    if home.exists() and not home.is_dir():
        yield Finding(
            "project", Level.PROBLEM, f"{home} is no folder, and has the name of one that is ours", "move it away"
        )
        return
    locked = [one for one in (home / "runs", home) if one.exists() and not os.access(one, os.W_OK)]
    if locked and home.exists():
        yield Finding("project", Level.PROBLEM, f"{locked[-1]} can't be written", "change its rights, or its owner")
        return
    if not os.access(_existing(home), os.W_OK):
        yield Finding(
            "project",
            Level.PROBLEM,
            f"{root}{told} can't be written",
            "set ML_EXPERIMENT_ROOT to a folder that is yours",
        )
        return
    if find_root(root) != root and not told:
        told = " (made by the first run)"
    left = [one for one in drivers.driven(home) if not drivers.is_alive(one)]
    if left:
        yield Finding(
            "project",
            Level.WARNING,
            f"{root}{told}; drivers that died have left {len(left)} runs",
            "`ml-experiment ls` closes them",
        )
    else:
        yield Finding("project", Level.OK, f"{root}{told}")


def ray(root: Path) -> Iterator[Finding]:
    """The Ray at an address, or whether one can be started here."""
    address = os.environ.get("RAY_ADDRESS")
    if address and address not in ("local", "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            advice = "start it with `ray start --head`, or unset RAY_ADDRESS to have a local one started"
            why = "it is no HOST:PORT" if isinstance(error, ValueError) else str(error)
            yield Finding("ray", Level.PROBLEM, f"no Ray answers at RAY_ADDRESS, {address} ({why})", advice)
        else:
            yield Finding("ray", Level.OK, f"RAY_ADDRESS: somebody listens at {address}")
        return
    if address == "auto":
        yield Finding("ray", Level.OK, "RAY_ADDRESS is auto: the Ray that was started on this machine, and no other")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"a group with slots starts one here ({cores} cores)"
    ours = Path(os.path.expanduser("~"))
    if "RAY_AUTH_TOKEN_PATH" not in os.environ and not os.access(_existing(ours), os.W_OK):
        said = f"no Ray can be started, slots are plain processes: {ours}, where it keeps its token, can't be written"
        yield Finding("ray", Level.WARNING, said, "set HOME to a folder that is yours")
        return
    shared = Path("/dev/shm")
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < _TOO_LITTLE:
        advice = "give the container more, as with `--shm-size=2g`"
        yield Finding("ray", Level.WARNING, f"{text}; {size(free)} of shared memory are left", advice)
    else:
        yield Finding("ray", Level.OK, text)


def docker(root: Path) -> Iterator[Finding]:
    """Docker's engine, and what images are made with."""
    try:
        where = endpoint()
    except EngineError as error:
        yield Finding("docker", Level.WARNING, str(error), "name one that there is, or unset it")
        return
    told = f", of {where.told_by}" if where.told_by else ""
    if where.address == LOCAL and not where.told_by and not os.path.exists(LOCAL.removeprefix("unix://")):
        yield Finding("docker", Level.OK, f"no engine: there is no {LOCAL.removeprefix('unix://')}")
        return
    if where.address.startswith("ssh:"):
        yield Finding("docker", Level.OK, f"{where.address}{told}: not looked at")
        return
    try:
        with reach(timeout=_PATIENCE) as engine:
            found = engine.version
            has_buildkit = builds.has_buildkit(engine)
    except EngineError as error:
        sentence, _, advice = str(error).partition(": ")
        yield Finding("docker", Level.WARNING, sentence, advice or "pip install 'ml-experiment-nb[docker]'")
        return
    yield Finding("docker", Level.OK, f"engine {found} at {where.address}{told}")
    yield _image_tools(has_buildkit=has_buildkit)


def _image_tools(*, has_buildkit: bool) -> Finding:
    """What `ml-experiment image` needs besides an engine."""
    found = [("BuildKit", "docker buildx", "" if has_buildkit else "install Docker's buildx plugin")]
    for name in ("uv", "pip", "pyelftools"):
        version = version_of(name)
        found.append((name, version or "", "" if version else "pip install 'ml-experiment-nb[docker]'"))
    missing = [(name, advice) for name, _, advice in found if advice]
    if missing:
        text = f"no image can be made without {' and '.join(name for name, _ in missing)}"
        return Finding("docker", Level.WARNING, text, "; ".join(dict.fromkeys(advice for _, advice in missing)))
    return Finding("docker", Level.OK, f"images are made with {', '.join(f'{name} ({how})' for name, how, _ in found)}")


def gpu(root: Path) -> Iterator[Finding]:
    """NVIDIA's GPUs and their driver."""
    notes: list[str] = []
    found = system_info(notes=notes)
    if found.gpus:
        names = ", ".join(f"{one.name} ({size(one.memory)})" for one in found.gpus)
        yield Finding("gpu", Level.OK, f"{names}; driver {found.gpu_driver}, CUDA {found.cuda}")
    elif os.path.exists("/dev/nvidiactl"):
        said = "; ".join(notes) or "its driver does not answer"
        yield Finding("gpu", Level.WARNING, f"a GPU is there and can't be used: {said}", "look at `nvidia-smi`")
    else:
        yield Finding("gpu", Level.OK, "none")


def version_of(name: str) -> str | None:
    """Return a distribution's version; None where it isn't installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    """Return the nearest folder at or above a path that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
