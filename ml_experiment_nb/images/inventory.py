"""What a frozen program puts into an image, in rows with sizes: its packages, modules and data."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from typing import Final

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.images.code import folder_of
from ml_experiment_nb.images.environments import Environment
from ml_experiment_nb.images.files import files_in
from ml_experiment_nb.images.freeze import Frozen
from ml_experiment_nb.images.installed import name_of

INDEX: Final = "index"
LOCAL: Final = "local"
VCS: Final = "vcs"
URL: Final = "url"
DEBIAN: Final = "debian"
_KB = 1024  # dpkg tells sizes in these


@dataclass(frozen=True)
class Row:
    """A package that goes into an image.

    Attributes:
        name: Its name.
        version: Its version; empty where it is that of the day, as of a package of ``apt.txt``.
        kind: Where it comes from: ``index``, ``local``, ``vcs``, ``url`` or ``debian``.
        source: Its folder, commit or address, where that is no index.
        size: Bytes of its files as they are installed here; None where nothing tells.
        of: The environment that has it, ``env`` or ``runner``; empty for one of Debian.
    """

    name: str
    version: str
    kind: str
    source: str = ""
    size: int | None = None
    of: str = ""


def package_rows(frozen: Frozen) -> list[Row]:
    """Return the packages of a frozen program, those of Python first."""
    rows = [row for one in frozen.environments for row in _of_environment(one)]
    sizes = _debian_sizes(name for name, _ in frozen.debian)
    return [*rows, *(Row(name, version, DEBIAN, size=sizes.get(name)) for name, version in frozen.debian)]


def kind_of(package: Package) -> str:
    """Return where a package comes from."""
    if not package.source:
        return INDEX
    if package.source.startswith("file:"):
        return LOCAL
    return VCS if "+" in package.source.partition("://")[0] else URL


def _of_environment(environment: Environment) -> list[Row]:
    found: dict[str, Distribution] = {}
    for one in distributions(path=list(environment.interpreter.path)):
        found.setdefault(name_of(one), one)
    return [
        Row(one.name, one.version, kind_of(one), _shown(one), _size(one, found.get(one.name)), environment.name)
        for one in environment.packages
    ]


def _shown(package: Package) -> str:
    folder = folder_of(package)
    return str(folder) if folder is not None else package.source


def _size(package: Package, installed: Distribution | None) -> int | None:
    """Return the bytes of a package: by its installer's record, or of its source where it is imported from there."""
    folder = folder_of(package)
    with suppress(OSError):
        if package.editable and folder is not None and folder.is_dir():
            return sum(one.stat().st_size for one in files_in(folder))
        if installed is not None and installed.version == package.version:
            return _recorded(installed.read_text("RECORD"))
    return None


def _recorded(record: str | None) -> int | None:
    """Return the bytes that a RECORD tells of; bytecode, which is made anew in the image, has none there."""
    sizes = [int(row[2]) for row in csv.reader((record or "").splitlines()) if len(row) == 3 and row[2].isdigit()]
    return sum(sizes) if sizes else None


def _debian_sizes(names: Iterable[str]) -> Mapping[str, int]:
    """Return what Debian packages take when they are installed, of those that this machine has."""
    wanted = sorted(names)
    if not wanted:
        return {}
    with suppress(OSError, subprocess.SubprocessError):
        command = ["dpkg-query", "--show", "--showformat", "${Package} ${Installed-Size}\n", *wanted]
        text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        pairs = (line.split() for line in text.splitlines())
        return {pair[0]: int(pair[1]) * _KB for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    return {}
