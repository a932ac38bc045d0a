"""pip, which fetches and builds wheels with the user's own settings and credentials; what it says, as a sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ml_experiment_nb.addresses import without_credentials
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images import commands
from ml_experiment_nb.images.caches import cache
from ml_experiment_nb.images.interpreter import Interpreter

_UNTIL: Final = "315532800"  # 1980, the first year that a zip archive can say: a wheel built twice is the same
_OF_UV: Final = (
    ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("UV_INDEX_URL", "PIP_INDEX_URL"), ("UV_INDEX", "PIP_EXTRA_INDEX_URL"),
    ("UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"), ("UV_FIND_LINKS", "PIP_FIND_LINKS"),
)  # fmt: skip
"""What uv is told by, and by which pip is told the same."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Index:
    """Where packages come from besides what pip's and uv's own settings say.

    Attributes:
        url: The index, in place of theirs.
        extra: Indexes besides it.
    """

    url: str | None = None
    extra: tuple[str, ...] = ()


class Pip:
    """pip, in the interpreter that wheels are to fit. It runs several processes at once.

    Args:
        python: The interpreter.
        index: Where packages come from.
    """

    def __init__(self, python: Interpreter, index: Index) -> None:
        self._python = python
        self._index = index
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False

    def wheel(
        self, requirements: Sequence[str], folder: Path, done: Tell = lambda name: None, *, version: str = "",
        constraints: Path | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """Fetch or build the wheels of some requirements; return the indexes of files, where pip tells them.

        Args:
            requirements: What to have wheels of; of their dependencies only where there are `constraints`.
            folder: Where they are written.
            done: Is told each that is begun.
            version: What a package's build is to say of its version where it would ask a VCS.
            constraints: Versions that dependencies have.

        Raises:
            ImageError: One can't be had.
        """
        folder.mkdir(parents=True, exist_ok=True)
        how = ["--no-deps"] if constraints is None else ["--constraint", str(constraints)]
        command = [
            *(sys.executable, "-P", "-m", "pip", "--python", self._python.executable, "wheel", *how),
            *("--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
            *("--wheel-dir", str(folder), *self._sources(), "--", *requirements),
        ]
        said: list[str] = []
        for line in self._lines(command, _environment(version)):
            said.append(line)
            if line.startswith(("Collecting ", "Processing ")):
                done(line.split()[1])
        if said and said[-1].startswith(_FAILED):
            raise ImageError(_explained("\n".join(said[:-1]), requirements, self._where()))
        return indexes(said)

    def stop(self) -> None:
        """End what runs."""
        self._is_stopped = True
        for process in list(self._running):
            commands.kill(process)

    def _sources(self) -> list[str]:
        own = ["--index-url", self._index.url] if self._index.url else []
        return [*own, *(word for one in self._index.extra for word in ("--extra-index-url", one))]

    def _where(self) -> str:
        told = [self._index.url, *self._index.extra]
        return ", ".join(without_credentials(one) for one in told if one) or "the package index in use"

    def _lines(self, command: Sequence[str], env: Mapping[str, str]) -> Iterator[str]:
        """Yield what pip says; its last line tells of a failure."""
        if self._is_stopped:
            return
        with commands.begun(command, {**os.environ, **env}) as process:
            self._running.add(process)
            try:
                yield from commands.lines(process)
                if process.wait() != 0:
                    yield f"{_FAILED}{process.returncode}"
            finally:
                self._running.discard(process)


def indexes(said: Iterable[str]) -> dict[str, str]:
    """Return the indexes of the files that pip has fetched, without credentials, by the files' names.

    pip names a file's address but for one of PyPI's own, and the indexes that it looks in unless that is PyPI alone.

    Args:
        said: What pip has said.
    """
    places: list[str] = []
    found = {}
    for line in said:
        if line.startswith("Looking in indexes: "):
            places = [without_credentials(one) for one in line.partition(": ")[2].split(", ")]
        elif (fetched := _FETCHED.match(line)) is not None:
            found[unquote(fetched[1].rpartition("/")[2])] = _index_of(fetched[1], places or [_PYPI])
    return found


def _index_of(file: str, places: Sequence[str]) -> str:
    remote = [one for one in places if not one.startswith("file:")]
    if "://" not in file:
        of_pypi = [one for one in remote if urlsplit(one).hostname == urlsplit(_PYPI).hostname]
        return (of_pypi or remote or [_PYPI])[0]
    host = urlsplit(file).hostname
    of_host = [one for one in remote if urlsplit(one).hostname == host]
    return (of_host or (remote if len(remote) == 1 else []) or [f"{urlsplit(file).scheme}://{host}/"])[0]


_FETCHED: Final = re.compile(r"\s*(?:Downloading|Using cached) (\S+?\.(?:whl|tar\.gz|zip|tar\.bz2))(?:\s|$)")
_PYPI: Final = "https://pypi.org/simple"
_FAILED: Final = "\0pip ended with "


def _environment(version: str) -> dict[str, str]:
    """Return what pip is told by besides the user's environment: uv's settings, where pip has none of its own."""
    found = {of_pip: os.environ[of_uv] for of_uv, of_pip in reversed(_OF_UV) if os.environ.get(of_uv)}
    found = {name: value for name, value in found.items() if not os.environ.get(name)}
    found |= {"SOURCE_DATE_EPOCH": _UNTIL, "PYTHONHASHSEED": "0"}
    return found | ({"SETUPTOOLS_SCM_PRETEND_VERSION": version} if version else {})


def _explained(said: str, requirements: Sequence[str], where: str) -> str:
    """Return what is wrong in a sentence, from what pip has said."""
    if "No module named pip" in said:
        return "pip isn't installed here, which fetches packages: pip install 'ml-experiment-nb[docker]'"
    if re.search(r"No space left on device|Errno 28", said):
        return f"the disk is full: wheels are fetched to {cache()} and {tempfile.gettempdir()}"
    if re.search(r"NewConnectionError|Connection refused|Temporary failure in name|Max retries|Retrying \(Retry", said):
        return f"{where} can't be reached, and not all packages are kept here: try again when it is there"
    if re.search(r"\b(?:401|403) (?:Client )?Error|Authentication|User for ", said):
        return f"{where} wants to know who you are: give pip its credentials (keyring, .netrc, or in its settings)"
    gone = re.search(r"No matching distribution found for (\S+)|satisfies the requirement (\S+)", said)
    if gone is not None:
        name = gone[1] or gone[2]
        return (
            f"{name} is not to be had from {where}: it was taken back or comes from another index. Name that with "
            f"--extra-index-url, install a version that there is, or leave it out with --without {name.split('==')[0]}"
        )
    if re.search(r"git (?:clone|fetch|rev-parse|checkout).* did not run successfully|Cannot find command 'git'", said):
        return f"{requirements[0]} can't be fetched by git: {_last(said, 'fatal:')}"
    if (failed := re.search(r"Failed building wheel for (\S+)|Failed to build '?([\w.-]+)", said)) is not None:
        return f"no wheel can be built of {failed[1] or failed[2]}: {_last(said, 'rror:')}"
    return f"pip can't have {', '.join(requirements[:3])}: {_last(said, 'ERROR')}"


def _last(said: str, mark: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marked = [line for line in lines if mark in line]
    return without_credentials((marked or lines or ["it says nothing"])[-1])
