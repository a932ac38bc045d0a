"""A run's recorded environment, made again: a virtual environment with the packages that its record lists, by uv.

It is kept in the project's folder by a digest of what is in it, so that the next replay finds it. This package itself
is linked into it as it is installed here: the two sides of a task have to be of one version.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml_experiment_nb.addresses import local_path
from ml_experiment_nb.capture.packages import (
    OWN,
    as_requirements,
    from_requirements,
    normal_name,
    packages,
    requirement_of,
)
from ml_experiment_nb.errors import ReplayError
from ml_experiment_nb.projects import home

FOLDER: Final = "environments"  # below .ml-experiment
_COMPLETE: Final = "complete"
_LINES: Final = 4  # of uv's own words that an error shows


@dataclass(frozen=True)
class Local:
    """A package that was installed from a folder or a file of the machine.

    Attributes:
        name: Its normalised name.
        path: The folder or the file.
        editable: Whether it is imported from that folder, as it is today.
        version: Its version.
        digest: That of its files; empty where the installer didn't say. See `capture.packages.Package`.
    """

    name: str
    path: Path
    editable: bool
    version: str = ""
    digest: str = ""

    def is_as(self, other: Local) -> bool:
        """Whether both are one package: where it is not editable, of one version and one build."""
        if self.name != other.name or self.editable != other.editable:
            return False
        is_same_build = not (self.digest and other.digest) or self.digest == other.digest
        return self.editable or (self.version == other.version and is_same_build)


@dataclass(frozen=True)
class EnvironmentSpec:
    """What an environment is to hold.

    Attributes:
        python: The interpreter's version.
        lines: Requirements, each of one version or address.
        local: What was installed from folders and files.
    """

    python: str
    lines: tuple[str, ...] = ()
    local: tuple[Local, ...] = ()

    @property
    def digest(self) -> str:
        """What tells it from others."""
        told = [self.python, str(_own_folder()), *self.lines, *map(str, self.local)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def wanted_by(requirements: str, python: str) -> EnvironmentSpec:
    """Return what a run's recorded requirements ask for; this package itself is not among it."""
    lines, local = [], []
    for one in from_requirements(requirements):
        if one.name == OWN:
            continue
        if one.source.startswith("file:") and (path := local_path(one.source)) is not None:
            local.append(Local(one.name, path, one.editable, one.version, one.digest))
        else:
            lines.append(requirement_of(one))
    return EnvironmentSpec(python, tuple(lines), tuple(local))


def is_here(wanted: EnvironmentSpec) -> bool:
    """Return whether this environment has all that is wanted, each in the version, and nothing else that counts."""
    if wanted.python != platform.python_version():
        return False
    here = wanted_by(as_requirements(packages()), wanted.python)
    if set(here.lines) != set(wanted.lines) or len(here.local) != len(wanted.local):
        return False
    return all(one.is_as(other) for one, other in zip(here.local, wanted.local, strict=True))  # both are sorted by name


def editable_folders(requirements: str) -> list[str]:
    """Return the folders that editable packages were installed from."""
    return [str(one.path) for one in wanted_by(requirements, "").local if one.editable]


def not_installed(requirements: str, inside: Path) -> list[str]:
    """Return the names of packages that an environment has in another way: this one, and the project's own."""
    local = wanted_by(requirements, "").local
    return [OWN, *(one.name for one in local if one.editable and one.path.is_relative_to(inside))]


def as_today(requirements: str, inside: Path) -> list[str]:
    """Return a sentence for each package of which an environment gets what is in its folder today."""
    local = wanted_by(requirements, "").local
    return [
        f"the package {one.name} is as it is today in {one.path}"
        for one in local
        if one.path.is_dir() and not (one.editable and one.path.is_relative_to(inside))
    ]


def made(
    wanted: EnvironmentSpec,
    root: Path,
    *,
    inside: Path,
    cold: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Return the interpreter of an environment that holds what is wanted, which is made if it isn't there yet.

    Args:
        wanted: What it holds.
        root: The project's root.
        inside: A folder whose editable packages are not installed: those of the project come with its copy.
        cold: Make it anew.
        say: Is told what takes its time.

    Raises:
        ReplayError: uv is not there, or a package can't be had any more; says which.
    """
    folder = home(root) / FOLDER / wanted.digest
    folder.parent.mkdir(exist_ok=True)
    python = folder / "bin" / "python"
    with (folder.parent / f"{wanted.digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another replay may be making the same
        if not cold and (folder / _COMPLETE).exists() and python.exists():
            return python
        say(f"making the recorded environment: Python {wanted.python}, {len(wanted.lines)} packages")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _make(wanted, folder, inside)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / _COMPLETE).touch()
    return python


def _make(wanted: EnvironmentSpec, folder: Path, inside: Path) -> None:
    uv = _uv()
    python = folder / "bin" / "python"
    venv = [uv, "venv", "--quiet", "--no-project", "--no-config", "--python", _interpreter(wanted.python)]
    _run([*venv, str(folder)], "make it")
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in (*wanted.lines, *_missing_of_own(wanted))))
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--no-deps"]
    _run([*install, "-r", str(requirements)], "install what is recorded")
    for one in wanted.local:
        if one.editable and one.path.is_relative_to(inside):
            continue
        if not one.path.exists():
            raise ReplayError(f"{one.name} was installed from {one.path}, which is not there any more")
        _run([*install, *(["-e"] if one.editable else []), str(one.path)], f"install {one.name}")
    _link_own(folder)


def _interpreter(version: str) -> str:
    """Return what uv is to look for: this interpreter where it has the version, else that minor version of Python."""
    here = sys.version_info
    if version.split(".")[:2] == [str(here.major), str(here.minor)]:
        return str(getattr(sys, "_base_executable", sys.executable))
    return ".".join(version.split(".")[:2])


def _uv() -> str:
    if (found := shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))) is not None:
        return found
    raise ReplayError("the recorded environment needs uv, which is not installed: `pip install uv`, or take --env here")


def _run(command: Sequence[str], what: str) -> None:
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        lines = [re.sub(r"^\W+", "", line) for line in ended.stderr.splitlines() if line.strip()]
        told = "; ".join(lines[-_LINES:]) or f"exit code {ended.returncode}"
        raise ReplayError(f"the recorded environment can't be made: uv could not {what}: {told}")


# --- this package ---


def _own_folder() -> Path:
    return Path(__file__).resolve().parent.parent


def _link_own(folder: Path) -> None:
    """Have this package in an environment as it is installed here, with what it tells others of itself."""
    paths = {"base": str(folder), "platbase": str(folder)}
    version = _run_for(folder / "bin" / "python", "import sys; print('%d.%d' % sys.version_info[:2])")
    site = Path(sysconfig.get_path("purelib", "venv", paths | {"py_version_short": version}))
    (site / "ml_experiment_nb").symlink_to(_own_folder())
    own = importlib.metadata.distribution(OWN)
    info = site / f"ml_experiment_nb-{own.version}.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        if (text := own.read_text(name)) is not None:
            (info / name).write_text(text)
    (info / "INSTALLER").write_text("ml-experiment replay\n")


def _missing_of_own(wanted: EnvironmentSpec) -> Iterable[str]:
    """Return what this package needs and the record doesn't list: it may need more than it did then."""
    from packaging.requirements import Requirement

    known = {normal_name(re.split(r"==| @ ", line)[0]) for line in wanted.lines}
    for text in importlib.metadata.requires(OWN) or ():
        need = Requirement(text)
        if (need.marker is None or need.marker.evaluate({"extra": ""})) and normal_name(need.name) not in known:
            yield f"{need.name}{need.specifier}"


def _run_for(python: Path, code: str) -> str:
    ended = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True)
    if ended.returncode:
        raise ReplayError(f"the recorded environment can't be used: {ended.stderr.strip()[-200:]}")
    return ended.stdout.strip()
