"""The interpreter of a kernel, as it says itself: its version, where it looks for modules, and where some are."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb.errors import ImageError

TIMEOUT: Final = 120.0  # seconds; a module finder of an editable package may be slow on a network disk

_ASKED: Final = """
import importlib.util, json, os, platform, sys, sysconfig
given = json.load(sys.stdin)
sys.path[:] = [one for one in sys.path if one not in ("", os.getcwd())]
path = list(sys.path)
sys.path[:0] = given["folders"]
def origin(name):
    if name in sys.builtin_module_names or name in getattr(sys, "stdlib_module_names", ()):
        return "stdlib"
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # the package above it may raise what it likes when it is imported
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return list(spec.submodule_search_locations)[0]
    return spec.origin
paths = sysconfig.get_paths()
json.dump({
    "executable": sys.executable, "version": platform.python_version(), "prefix": sys.prefix,
    "implementation": sys.implementation.name, "platform": sysconfig.get_platform(), "path": path,
    "site": sorted({paths["purelib"], paths["platlib"]}), "origins": {name: origin(name) for name in given["names"]},
}, sys.stdout)
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that kernels run in.

    Attributes:
        executable: Its command.
        version: Its whole version, ``3.11.7``.
        prefix: The folder of its environment.
        platform: The machine that it is for, ``linux-x86_64``.
        path: Where it looks for modules, without the folder that it is started in.
        site: The folders that packages are installed in.
        implementation: ``cpython``, usually.
    """

    executable: str
    version: str
    prefix: str
    platform: str
    path: tuple[str, ...]
    site: tuple[str, ...]
    implementation: str = "cpython"
    env: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def minor(self) -> str:
        """Its version as base images and wheels have it, ``3.11``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def tag(self) -> str:
        """What wheels that were made for it have in common, ``cp311-linux_x86_64``."""
        return f"{self.implementation[:2]}{self.minor.replace('.', '')}-{self.platform.replace('-', '_')}"

    def origins(self, names: Iterable[str], folders: Iterable[Path], cwd: Path) -> dict[str, str | None]:
        """Return where top-level modules are that code imports: a file, or a package's folder.

        None is imported for it. One of Python's own is ``stdlib``; one that isn't there is None.

        Args:
            names: The modules.
            folders: Where it looks first: the folder that the code runs in.
            cwd: That folder.

        Raises:
            ImageError: The interpreter can't be asked.
        """
        wanted = sorted(set(names))
        return dict(_asked(self.executable, wanted, folders, cwd, self.env)["origins"]) if wanted else {}


def interpreter(executable: str, cwd: Path, env: Mapping[str, str] | None = None) -> Interpreter:
    """Return what an interpreter says of itself.

    Args:
        executable: Its command.
        cwd: The folder that it is started in.
        env: What is added to its environment.

    Raises:
        ImageError: It can't be started, or doesn't answer.
    """
    env = env or {}
    said = _asked(executable, [], [], cwd, env)
    return Interpreter(
        executable=said["executable"] or executable,
        version=said["version"],
        prefix=said["prefix"],
        platform=said["platform"],
        path=tuple(said["path"]),
        site=tuple(said["site"]),
        implementation=said["implementation"],
        env=dict(env),
    )


def _asked(
    executable: str, names: list[str], folders: Iterable[Path], cwd: Path, env: Mapping[str, str]
) -> dict[str, Any]:
    given = json.dumps({"names": names, "folders": [str(one) for one in folders]})
    command = [executable, "-c", _ASKED]
    try:
        done = subprocess.run(
            command, input=given, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=TIMEOUT,
            check=True,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])  # a sitecustomize may print
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"the kernel's interpreter {executable} can't be asked what it has: {error}") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ImageError(f"the kernel's interpreter {executable} can't be asked what it has: {last}") from None
    return found
