"""Shared libraries that installed packages need and don't bring, and the Debian packages that have them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb.errors import ImageError

IN_EVERY_BASE: Final = frozenset(
    {
        *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libbz2-1.0", "liblzma5", "libffi8", "libssl3", "libssl3t64"),
        *("libexpat1", "libuuid1", "libsqlite3-0", "libreadline8", "libreadline8t64", "libncursesw6", "libtinfo6"),
        *("libcrypt1", "libdb5.3", "libdb5.3t64", "libnsl2", "libtirpc3", "libtirpc3t64", "libgdbm6", "libgdbm6t64"),
        *("libzstd1", "libcap2", "libselinux1", "libsystemd0", "libudev1"),
    }
)
"""The Debian packages that the slim images of Python have."""

OF_THE_DRIVER: Final = re.compile(r"lib(?:cuda|nvidia-[\w-]+|nvcuvid|cudadebugger|OpenCL)\.so(?:\.|$)")
"""The libraries that a GPU's driver brings to a container by itself."""


def needed(folders: Iterable[Path]) -> dict[str, str]:
    """Return the shared libraries that the files in some folders ask for and none of them is, each with one that asks.

    What is opened by its name while code runs (``ctypes``, ``dlopen``) can't be seen.

    Raises:
        ImageError: What reads them isn't installed.
    """
    asked: dict[str, str] = {}
    there: set[str] = set()
    for path in _shared_objects(folders):
        there.add(path.name)
        for name in _asked_by(path):
            asked.setdefault(name, str(path))
    return {name: asker for name, asker in sorted(asked.items()) if name not in there}


def debian_packages(libraries: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the Debian packages of this machine that have some libraries.

    Args:
        libraries: The libraries, each with a file that asks for it.

    Returns:
        The packages that a base image hasn't, with their versions here; a note for each library that no package has.
    """
    places = _places()
    wanted = [name for name in libraries if not OF_THE_DRIVER.match(name) and not name.startswith("ld-linux")]
    owners = _owners({places[name] for name in wanted if name in places})
    found: set[str] = set()
    notes = []
    for name in wanted:
        owner = owners.get(places.get(name, ""))
        if owner is not None:
            found.add(owner)
        elif not _is_of_libc(name):
            notes.append(
                f"{name} is needed by {Path(libraries[name]).name}, and no Debian package here has it: "
                "name one in apt.txt"
            )
    versions = _versions(found - IN_EVERY_BASE)
    return {name: versions.get(name, "") for name in sorted(found - IN_EVERY_BASE)}, notes


def _shared_objects(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in dict.fromkeys(folders):
        for parent, inner, files in os.walk(folder):
            inner.sort()
            for name in sorted(files):
                if name.endswith(".so") or ".so." in name:
                    yield Path(parent, name)


def _asked_by(path: Path) -> list[str]:
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.dynamic import DynamicSection
        from elftools.elf.elffile import ELFFile
    except ModuleNotFoundError:
        raise ImageError(
            "which libraries packages need is read by pyelftools, which isn't installed here: "
            "pip install 'ml-experiment-nb[docker]'"
        ) from None

    with suppress(OSError, ELFError, ValueError), path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".dynamic")
        if isinstance(section, DynamicSection):
            tags: Iterable[Any] = section.iter_tags("DT_NEEDED")
            return [str(tag.needed) for tag in tags]
    return []


def _is_of_libc(name: str) -> bool:
    return re.match(r"lib(?:c|m|dl|pthread|rt|util|resolv|gcc_s|stdc\+\+)\.so", name) is not None


def _places() -> dict[str, str]:
    """Return where this machine's loader finds libraries."""
    found: dict[str, str] = {}
    for command in ("ldconfig", "/sbin/ldconfig"):
        with suppress(OSError, subprocess.SubprocessError):
            text = subprocess.run([command, "-p"], capture_output=True, text=True, timeout=30, check=True).stdout
            for name, path in re.findall(r"^\s*(\S+) \(.*\) => (\S+)$", text, re.M):
                found.setdefault(name, path)
            break
    return found


def _owners(paths: Iterable[str]) -> dict[str, str]:
    """Return the Debian packages that some files are of; a file may be known by another name of its folder."""
    names = {one: path for path in paths for one in _spellings(path)}
    if not names:
        return {}
    found: dict[str, str] = {}
    with suppress(OSError, subprocess.SubprocessError):
        command = ["dpkg-query", "--search", *sorted(names)]
        text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        for owner, path in re.findall(r"^([^\s:,]+)(?::\w+)?(?:, .*)?: (/\S+)$", text, re.M):
            if path in names:
                found.setdefault(names[path], owner)
    return found


def _spellings(path: str) -> set[str]:
    real = os.path.realpath(path)
    both = {path, real, os.path.join(os.path.dirname(real), os.path.basename(path))}
    return (
        both
        | {one.removeprefix("/usr") for one in both if one.startswith("/usr/lib")}
        | {f"/usr{one}" for one in both if one.startswith("/lib")}
    )


def _versions(names: Iterable[str]) -> dict[str, str]:
    wanted = sorted(names)
    if not wanted:
        return {}
    with suppress(OSError, subprocess.SubprocessError):
        command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *wanted]
        text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    return {}
