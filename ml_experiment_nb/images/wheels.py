"""The wheels of frozen packages: fetched from the user's index, or built from the source of a local or VCS package.

pip does both, in the kernel's interpreter and with the user's own settings and credentials, on this machine: an image
is built from wheels alone, without a network. They are kept for the next image.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ml_experiment_nb.capture.digests import file_digests
from ml_experiment_nb.capture.packages import Package, wheel_digest
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.caches import cache, filled, kept_wheels, put, remembered, short, working
from ml_experiment_nb.images.code import folder_of
from ml_experiment_nb.images.environments import Environment
from ml_experiment_nb.images.files import file_of
from ml_experiment_nb.images.interpreter import Interpreter
from ml_experiment_nb.images.pip import Index, Pip, Tell
from ml_experiment_nb.images.sources import from_folder

_AT_ONCE: Final = 4  # processes of pip
_FEWEST: Final = 12  # packages for one of them: it takes half a second to start


@dataclass(frozen=True)
class Wheel:
    """A package's wheel.

    Attributes:
        package: The package.
        path: The file.
        sha256: Its digest.
        index: The index that it is from, where that is known.
    """

    package: Package
    path: Path
    sha256: str
    index: str = ""

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
    pip = Pip(python, index)
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
        found[one] = from_folder(pip, place / "local", one, tell)
        if (source := folder_of(one)) is not None and source.is_dir():
            notes += file_of(one.name, source).notes
    more = _besides(pip, place / "index", environment, requirements, tell)
    found |= more
    # The contexts of other images that are made just now have links to the same wheels.
    told = file_digests([*found.values()], cache() / "digests.db", linked=True)
    digests = {one.path: one.digest for one in told}
    installed = remembered("wheels", "\n".join(sorted(digests.values())), lambda: _digests_of(digests))
    for one, path in found.items():
        if one.digest and not one.source and installed[digests[path]] != one.digest:
            notes.append(f"{one.name} {one.version}: its files here are not those of the index's wheel, which goes in")
    wheels = tuple(Wheel(one, path, digests[path], _index_of(path)) for one, path in sorted(found.items()))
    return Gathered(environment, wheels, tuple(notes))


def _digests_of(wheels: Mapping[Path, str]) -> dict[str, str]:
    """Return the digests of what wheels install, by those of their files."""
    return {sha256: wheel_digest(path) for path, sha256 in wheels.items()}


def _index_of(wheel: Path) -> str:
    """Return the index that a kept wheel is from; empty where that isn't known."""
    with suppress(OSError):
        return _note_of(wheel).read_text(encoding="utf-8")
    return ""


def _note_of(wheel: Path) -> Path:
    return wheel.with_name(f"{wheel.name}.index")


def _note_indexes(place: Path, wheels: Iterable[Path], indexes: Mapping[str, str]) -> None:
    """Keep which indexes wheels are from; one that was built is from the index of its source."""
    by_package = {_package_of(file): index for file, index in indexes.items()}
    for wheel in wheels:
        if index := by_package.get(_package_of(wheel.name)):
            _put(index.encode(), _note_of(place / wheel.name))


def _package_of(file: str) -> str:
    """Return the name and version in the name of a package's file: ``a-1.0.tar.gz``, ``a-1.0-py3-none-any.whl``."""
    if file.endswith(".whl"):
        name, version, _, _ = parse_wheel_filename(file)
        return f"{name} {version}"
    name_, _, version_ = re.sub(r"\.(?:tar\.(?:gz|bz2)|zip)$", "", file).rpartition("-")
    return f"{canonicalize_name(name_)} {_version(version_)}"


def uv_wheel(python: Interpreter, version: str, *, index: Index) -> Path:
    """Return the wheel of uv, by which packages are installed in an image.

    Raises:
        ImageError: It isn't to be had.
    """
    package = Package("uv", version)
    pip = Pip(python, index)
    return _from_index(pip, cache() / "wheels" / python.tag / "index", [package], lambda text: None)[package]


# --- each kind of package ---


def _from_index(pip: Pip, place: Path, packages: Sequence[Package], tell: Tell) -> dict[Package, Path]:
    kept = kept_wheels(place)
    found = {one: path for one in packages if (path := kept.get((one.name, _version(one.version)))) is not None}
    missing = [one for one in packages if one not in found]
    if not missing:
        return found
    tell(f"fetching {len(missing)} of {len(packages)} packages")
    done: list[str] = []

    def one_more(name: str) -> None:
        done.append(name)
        tell(f"fetched {len(done)} of {len(missing)} packages")

    with filled(place) as folder, ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = _parts(missing, min(_AT_ONCE, max(1, len(missing) // _FEWEST)))
        running = [
            pool.submit(pip.wheel, [f"{one.name}=={one.version}" for one in part], folder / str(number), one_more)
            for number, part in enumerate(parts)
        ]
        try:
            indexes = {file: index for future in running for file, index in future.result().items()}
        except BaseException:
            pip.stop()
            raise
    kept = kept_wheels(place)
    _note_indexes(place, kept.values(), indexes)
    for one in missing:
        path = kept.get((one.name, _version(one.version)))
        if path is None:
            raise ImageError(f"pip made no wheel of {one.name}=={one.version}")
        found[one] = path
    return found


def _from_source(pip: Pip, place: Path, package: Package) -> Path:
    kept = kept_wheels(place)
    if not kept:
        with filled(place) as folder:
            pip.wheel([package.source], folder)  # `name @ git+file:///x` is no requirement to pip
        kept = kept_wheels(place)
    return next(iter(kept.values()))


def _besides(
    pip: Pip, place: Path, environment: Environment, requirements: Sequence[str], tell: Tell
) -> dict[Package, Path]:
    """Return the wheels of what is asked for besides, with all that it needs and that isn't there."""
    there = {one.name: one for one in environment.packages}
    asked = [one for one in requirements if _name(one) not in there]
    if not asked:
        return {}
    pinned = [f"{one.name}=={one.version}" for one in environment.packages if not one.source]
    key = "\n".join([str(place), *asked, "", *pinned, *(f"{one.name} @ {one.source}" for one in there.values())])
    for is_again in (False, True):
        find = partial(_fetched, pip, place, asked, pinned, there.keys(), tell)
        names = find() if is_again else remembered("besides", key, find)
        kept = kept_wheels(place)
        if all(one in kept for one in names.items()):
            break  # otherwise somebody has removed wheels that were kept
    return {Package(name, version): kept[name, version] for name, version in names.items()}


def _fetched(
    pip: Pip, place: Path, asked: Sequence[str], pinned: Sequence[str], there: Container[str], tell: Tell
) -> dict[str, str]:
    """Fetch what is asked for with all that it needs, and return the names and versions of what isn't there."""
    tell(f"fetching {', '.join(asked)}")
    found = {}
    with working() as folder:
        constraints = folder / "constraints.txt"
        constraints.write_text("\n".join(pinned) + "\n")
        indexes = pip.wheel(asked, folder / "made", constraints=constraints)
        place.mkdir(parents=True, exist_ok=True)
        for wheel in sorted((folder / "made").glob("*.whl")):
            name, version, _, _ = parse_wheel_filename(wheel.name)
            if str(name) not in there:
                put(wheel, place / wheel.name)
                _note_indexes(place, [wheel], indexes)
                found[str(name)] = str(version)
    return found


def _put(content: bytes, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.write_bytes(content)
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
