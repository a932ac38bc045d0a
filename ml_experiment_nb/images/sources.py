"""Wheels of local packages, built from a copy of their source, and anew only when what they are made of has changed."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.caches import filled, kept_wheels, short, working
from ml_experiment_nb.images.code import folder_of
from ml_experiment_nb.images.files import files_in
from ml_experiment_nb.images.pip import Pip

_BUILT: Final = frozenset({"build", "dist", ".eggs"})
_WORK: Final = frozenset(
    {
        *(".ipynb", ".csv", ".tsv", ".parquet", ".feather", ".arrow", ".xlsx", ".npy", ".npz", ".h5", ".hdf5", ".mat"),
        *(".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ".db", ".sqlite", ".log"),
        *(".png", ".jpg", ".jpeg", ".gif", ".pdf", ".mp4", ".wav", ".zip", ".gz", ".tar"),
    }
)
"""The suffixes of files that work on a package reads and writes, and that no build makes something else of."""


@dataclass(frozen=True)
class _Unused:
    """Files of work that a build has made nothing of: no change of theirs makes another wheel.

    Attributes:
        files: Those that were there, relative to the source.
        parts: The source's own folders and files of which something is in the wheel; None before there was a build.
    """

    files: frozenset[str] = frozenset()
    parts: frozenset[str] | None = None

    def __contains__(self, place: object) -> bool:
        if self.parts is None or not isinstance(place, str) or os.path.splitext(place)[1].lower() not in _WORK:
            return False
        return place in self.files or place.partition("/")[0] not in self.parts


def from_folder(pip: Pip, place: Path, package: Package, tell: Callable[[str], None]) -> Path:
    """Return a local package's wheel; a build writes into the folder that it is done in, so it is done in a copy.

    A notebook or data beside a package, which aren't in its wheel, can change without another build.

    Args:
        pip: What builds it.
        place: Where wheels are kept.
        package: The package.
        tell: Is told of a build.

    Raises:
        ImageError: Its source isn't there any more, or can't be built.
    """
    source = folder_of(package)
    if source is None or not source.exists():
        raise ImageError(
            f"{package.name} was installed from {source}, which isn't there any more: install it again, or leave it "
            f"out with --without {package.name}"
        )
    if source.is_file() and source.suffix == ".whl":
        return source
    files = _files(source)
    state = {place: (path.stat().st_size, path.stat().st_mtime_ns) for place, path in files.items()}
    note = place / f"{short(f'{package.name} {source}')}.json"
    if not (kept := kept_wheels(place / _key(package, state, _unused(note)))):
        tell(f"building {package.name} {package.version} from {source}")
        place.mkdir(parents=True, exist_ok=True)
        with working(place) as made:
            wheel = _built(pip, made, package, source, files)
            _write(note, _unused_by(wheel, files))
            target = place / _key(package, state, _unused(note))
            with filled(target) as folder:
                os.replace(wheel, folder / wheel.name)
        kept = kept_wheels(target)
    return next(iter(kept.values()))


def _files(source: Path) -> dict[str, Path]:
    """Return the files of a source by their places in it."""
    if source.is_file():
        return {source.name: source}
    found = {one.relative_to(source).as_posix(): one for one in files_in(source)}
    return {place: path for place, path in found.items() if not _is_built(place)}


def _is_built(place: str) -> bool:
    *folders, _ = place.split("/")
    return place.partition("/")[0] in _BUILT or any(one.endswith(".egg-info") for one in folders)


def _key(package: Package, state: Mapping[str, tuple[int, int]], unused: _Unused) -> str:
    """Return what a wheel is kept by: the state of all that it may be made of."""
    lines = [f"{place} {size} {changed}" for place, (size, changed) in state.items() if place not in unused]
    return short("\n".join([package.name, package.version, *lines]))


def _built(pip: Pip, folder: Path, package: Package, source: Path, files: Mapping[str, Path]) -> Path:
    with working() as copied:
        copy = copied / source.name
        for place, path in files.items():
            target = copy / place if source.is_dir() else copy
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        pip.wheel([str(copy)], folder, version=package.version)
    return next(iter(kept_wheels(folder).values()))


def _unused_by(wheel: Path, files: Mapping[str, Path]) -> _Unused:
    """Return what a build has made nothing of, told by the content of its wheel."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {(one.file_size, one.CRC) for one in archive.infolist()}
    sizes = {size for size, _ in inside}
    used = {place for place, path in files.items() if path.stat().st_size in sizes and _sum(path) in inside}
    parts = {place.partition("/")[0] for place in used if files[place].stat().st_size}
    return _Unused(frozenset(files.keys() - used), frozenset(parts))


def _sum(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    return len(content), zlib.crc32(content)


def _write(note: Path, unused: _Unused) -> None:
    partial = note.with_name(f".{note.name}.{os.getpid()}")
    partial.write_text(json.dumps({"files": sorted(unused.files), "parts": sorted(unused.parts or ())}))
    os.replace(partial, note)


def _unused(note: Path) -> _Unused:
    with suppress(OSError, ValueError, KeyError):
        kept = json.loads(note.read_text())
        return _Unused(frozenset(kept["files"]), frozenset(kept["parts"]))
    return _Unused()
