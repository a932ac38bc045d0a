"""The wheels of frozen packages: fetched from the user's index, or built from the source of a local or VCS package.

pip does both, in the kernel's interpreter and with the user's own settings and credentials, on this machine: an image
is built from wheels alone, without a network. They are kept for the next image.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ml_experiment_nb.addresses import without_credentials
from ml_experiment_nb.capture.digests import file_digests
from ml_experiment_nb.capture.packages import Package, wheel_digest
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.caches import cache, remembered, short
from ml_experiment_nb.images.code import folder_of
from ml_experiment_nb.images.environments import Environment
from ml_experiment_nb.images.files import file_of, files_in
from ml_experiment_nb.images.interpreter import Interpreter

_AT_ONCE: Final = 4  # processes of pip
_FEWEST: Final = 12  # packages for one of them: it takes half a second to start
_BUILT: Final = frozenset({"build", "dist", ".eggs"})
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


@dataclass(frozen=True)
class Wheel:
    """A package's wheel.

    Attributes:
        package: The package.
        path: The file.
        sha256: Its digest.
    """

    package: Package
    path: Path
    sha256: str

    @property
    def is_local(self) -> bool:
        """Whether it is built from a folder of this machine, and so changes from one image to the next."""
        return self.package.source.startswith("file:")


@dataclass(frozen=True)
class Gathered:
    """The wheels of an environment's packages, and what is to be said of them."""

    environment: Environment
    wheels: tuple[Wheel, ...]
    notes: tuple[str, ...] = ()


def gather(
    environment: Environment, requirements: Sequence[str] = (), *, index: Index, tell: Tell = lambda text: None
) -> Gathered:
    """Return the wheels of an environment's packages.

    Args:
        environment: The environment.
        requirements: What is to be in it besides, as requirements; of what is there already nothing changes.
        index: Where packages come from.
        tell: Is told what is being done, in a line.

    Raises:
        ImageError: A package isn't to be had any more, or can't be built. Nothing half-made is left.
    """
    python = environment.interpreter
    pip = _Pip(python, index)
    place = cache() / "wheels" / python.tag
    notes: list[str] = []
    found: dict[Package, Path] = {}
    local = [one for one in environment.packages if one.source.startswith("file:")]
    remote = [one for one in environment.packages if one.source and one not in local]
    plain = [one for one in environment.packages if not one.source]
    found |= _from_index(pip, place / "index", plain, tell)
    for one in remote:
        tell(f"{one.name} {one.version} from {one.source}")
        found[one] = _from_source(pip, place / "from" / short(one.source), one)
    for one in local:
        found[one] = _from_folder(pip, place / "local", one, tell)
        if (source := folder_of(one)) is not None and source.is_dir():
            notes += file_of(one.name, source).notes
    more = _besides(pip, place / "index", environment, requirements, tell)
    found |= more
    digests = {one.path: one.digest for one in file_digests([*found.values()], cache() / "digests.db")}
    installed = remembered("wheels", "\n".join(sorted(digests.values())), lambda: _digests_of(digests))
    for one, path in found.items():
        if one.digest and not one.source and installed[digests[path]] != one.digest:
            notes.append(f"{one.name} {one.version}: its files here are not those of the index's wheel, which goes in")
    wheels = tuple(Wheel(one, path, digests[path]) for one, path in sorted(found.items()))
    return Gathered(environment, wheels, tuple(notes))


def _digests_of(wheels: Mapping[Path, str]) -> dict[str, str]:
    """Return the digests of what wheels install, by those of their files."""
    return {sha256: wheel_digest(path) for path, sha256 in wheels.items()}


def uv_wheel(python: Interpreter, version: str, *, index: Index) -> Path:
    """Return the wheel of uv, by which packages are installed in an image.

    Raises:
        ImageError: It isn't to be had.
    """
    package = Package("uv", version)
    pip = _Pip(python, index)
    return _from_index(pip, cache() / "wheels" / python.tag / "index", [package], lambda text: None)[package]


# --- each kind of package ---


def _from_index(pip: _Pip, place: Path, packages: Sequence[Package], tell: Tell) -> dict[Package, Path]:
    kept = _kept(place)
    found = {one: path for one in packages if (path := kept.get((one.name, _version(one.version)))) is not None}
    missing = [one for one in packages if one not in found]
    if not missing:
        return found
    tell(f"fetching {len(missing)} of {len(packages)} packages")
    done: list[str] = []

    def one_more(name: str) -> None:
        done.append(name)
        tell(f"fetched {len(done)} of {len(missing)} packages")

    with _filled(place) as folder, ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = _parts(missing, min(_AT_ONCE, max(1, len(missing) // _FEWEST)))
        running = [
            pool.submit(pip.wheel, [f"{one.name}=={one.version}" for one in part], folder / str(number), one_more)
            for number, part in enumerate(parts)
        ]
        try:
            for future in running:
                future.result()
        except BaseException:
            pip.stop()
            raise
    kept = _kept(place)
    for one in missing:
        path = kept.get((one.name, _version(one.version)))
        if path is None:
            raise ImageError(f"pip made no wheel of {one.name}=={one.version}")
        found[one] = path
    return found


def _from_source(pip: _Pip, place: Path, package: Package) -> Path:
    kept = _kept(place)
    if not kept:
        with _filled(place) as folder:
            pip.wheel([f"{package.name} @ {package.source}"], folder)
        kept = _kept(place)
    return next(iter(kept.values()))


def _from_folder(pip: _Pip, place: Path, package: Package, tell: Tell) -> Path:
    """Build a local package from a copy of its source: a build writes into the folder that it is done in."""
    source = folder_of(package)
    if source is None or not source.exists():
        raise ImageError(
            f"{package.name} was installed from {source}, which isn't there any more: install it again, or leave it "
            f"out with --without {package.name}"
        )
    if source.is_file() and source.suffix == ".whl":
        return source
    files = [source] if source.is_file() else [one for one in files_in(source) if not _is_built(one, source)]
    state = [f"{one.relative_to(source)} {one.stat().st_size} {one.stat().st_mtime_ns}" for one in files]
    place = place / short("\n".join([package.name, package.version, *state]))
    if not (kept := _kept(place)):
        tell(f"building {package.name} {package.version} from {source}")
        with _filled(place) as folder, tempfile.TemporaryDirectory(prefix="mlexp-") as copied:
            copy = Path(copied, source.name)
            for one in files:
                target = copy / one.relative_to(source) if source.is_dir() else copy
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(one, target)
            pip.wheel([str(copy)], folder, version=package.version)
        kept = _kept(place)
    return next(iter(kept.values()))


def _is_built(path: Path, source: Path) -> bool:
    parts = path.relative_to(source).parts
    return parts[0] in _BUILT or any(part.endswith(".egg-info") for part in parts[:-1])


def _besides(
    pip: _Pip, place: Path, environment: Environment, requirements: Sequence[str], tell: Tell
) -> dict[Package, Path]:
    """Return the wheels of what is asked for besides, with all that it needs and that isn't there."""
    there = {one.name: one for one in environment.packages}
    asked = [one for one in requirements if _name(one) not in there]
    if not asked:
        return {}
    tell(f"fetching {', '.join(asked)}")
    pinned = [f"{one.name}=={one.version}" for one in environment.packages if not one.source]
    with tempfile.TemporaryDirectory(prefix="mlexp-") as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(pinned) + "\n")
        pip.wheel(asked, Path(folder, "made"), constraints=constraints)
        found: dict[Package, Path] = {}
        place.mkdir(parents=True, exist_ok=True)
        for wheel in sorted(Path(folder, "made").glob("*.whl")):
            name, version, _, _ = parse_wheel_filename(wheel.name)
            if str(name) not in there:
                _put(wheel, place / wheel.name)
                found[Package(str(name), str(version))] = place / wheel.name
    return found


# --- pip ---


class _Pip:
    """pip, in the interpreter that wheels are to fit. It runs several processes at once.

    Args:
        python: The interpreter.
        index: Where packages come from.
    """

    def __init__(self, python: Interpreter, index: Index) -> None:
        self._python = python
        self._index = index
        self._running: set[subprocess.Popen[str]] = set()
        self._is_stopped = False

    def wheel(
        self, requirements: Sequence[str], folder: Path, done: Tell = lambda name: None, *, version: str = "",
        constraints: Path | None = None,
    ) -> None:  # fmt: skip
        """Fetch or build the wheels of some requirements.

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
            *(sys.executable, "-m", "pip", "--python", self._python.executable, "wheel", *how),
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

    def stop(self) -> None:
        """End what runs."""
        self._is_stopped = True
        for process in list(self._running):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

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
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._running.add(process)
        try:
            assert process.stdout is not None
            yield from (line.rstrip() for line in process.stdout)
            if process.wait() != 0:
                yield f"{_FAILED}{process.returncode}"
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._running.discard(process)


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


# --- where wheels are kept ---


def _kept(place: Path) -> dict[tuple[str, str], Path]:
    """Return the wheels of a folder by the names and versions of their packages."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(place.glob("*.whl")) if place.is_dir() else ():
        with suppress(InvalidWheelFilename, InvalidVersion):
            name, version, _, _ = parse_wheel_filename(path.name)
            found[str(name), str(version)] = path
    return found


@contextmanager
def _filled(place: Path) -> Iterator[Path]:
    """Give a folder to write wheels to; they are put in their place when all of it has gone well."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as folder:
        yield Path(folder)
        for path in sorted(Path(folder).rglob("*.whl")):
            os.replace(path, place / path.name)


def _put(path: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(path, partial)
    os.replace(partial, target)


def _parts(packages: Sequence[Package], count: int) -> list[list[Package]]:
    length = math.ceil(len(packages) / count)
    return [list(packages[at : at + length]) for at in range(0, len(packages), length)]


def _version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        return text


def _name(requirement: str) -> str:
    return str(canonicalize_name(re.split(r"[\s\[<>=!~;@]", requirement, maxsplit=1)[0]))


def requirements_of(wheels: Iterable[Wheel]) -> str:
    """Return wheels as requirements with their hashes, one a line: each a name, a version and the wheel's SHA-256."""
    lines = []
    for one in wheels:
        version = parse_wheel_filename(one.path.name)[1]
        said = f"  # {one.package.source}" if one.package.source and not one.is_local else ""
        lines.append(f"{one.package.name}=={version} --hash=sha256:{one.sha256}{said}\n")
    return "".join(lines)
