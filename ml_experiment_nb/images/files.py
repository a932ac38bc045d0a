"""Files of a project that go into an image, or stay out: modules, and data that the code names."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.program import Program
from ml_experiment_nb.projects import NOT_OF_IT, is_environment

_NEVER: Final = (
    *(".env", ".env.*", ".envrc", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".git-credentials", ".htpasswd"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".*_history"),
    *("credentials", "credentials.json", "kaggle.json", "secrets.toml"),
)
"""Files that hold secrets by their names: they are never taken."""
_NEVER_IN: Final = frozenset({".ssh", ".aws", ".docker", ".kube", ".gnupg"})
"""Folders that do."""
_SECRET: Final = "it holds secrets by its name"
_SHOWN: Final = 3  # files that a note names


@dataclass(frozen=True)
class Excluded:
    """The files of a project that are asked to stay out.

    Attributes:
        root: The folder that patterns are relative to.
        patterns: Those of places below it, or of names: ``data/raw/*``, ``*.csv``; with a slash before it, of a place
            only: ``/a.csv``. All in a folder stays out with it.
    """

    root: Path
    patterns: tuple[str, ...] = ()

    def __contains__(self, path: object) -> bool:
        if not self.patterns or not isinstance(path, Path):
            return False
        place = path.relative_to(self.root) if path.is_relative_to(self.root) else Path(path.name)
        inner = [one for one in (place, *place.parents) if one.name]
        patterns = [os.path.normpath(one) for one in self.patterns]
        names = [name for at in inner for name in (f"/{at}", str(at), at.name)]
        return any(fnmatch.fnmatch(name, one) for name in names for one in patterns)


@dataclass(frozen=True, order=True)
class File:
    """A file or a folder that goes into an image, or stays out.

    Attributes:
        place: Its place in the image, below the program's root, or as the code names it where it stays out.
        path: Where it is here.
        size: Its bytes.
        why_out: Why it stays out; empty where it goes in.
        files: The files that it is, or that a folder has and that go in.
        left: Those in a folder that stay out though nobody asked for that, relative to it, each with why.
    """

    place: str
    path: Path
    size: int = 0
    why_out: str = ""
    files: tuple[Path, ...] = ()
    left: tuple[tuple[str, str], ...] = ()

    @property
    def notes(self) -> list[str]:
        """What is to be known of what stays out."""
        found = [f"{self.place} stays out: {self.why_out}"] if self.why_out == _SECRET else []
        for why in dict.fromkeys(one for _, one in self.left):
            names = [name for name, one in self.left if one == why]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            found.append(f"left out of {self.place}: {', '.join(names[:_SHOWN])}{more} ({why})")
        return found


def file_of(place: str, path: Path, excluded: Container[Path] = (), why_out: str = "") -> File:
    """Return a file, or a folder with its files.

    Args:
        place: Its place in the image.
        path: Where it is.
        excluded: The files that are asked to stay out.
        why_out: Why all of it stays out.
    """
    found = list(_walked(path, excluded)) if path.is_dir() else [(path, "")]
    files = tuple(one for one, why in found if not why)
    left = tuple((one.relative_to(path).as_posix(), why) for one, why in found if why)
    return File(place, path, sum(one.stat().st_size for one in files), why_out, files, () if why_out else left)


def data_files(program: Program, texts: Iterable[str], modules: Iterable[File], choices: Choices) -> Iterator[File]:
    """Yield the files and folders that the code names, or that are to go in besides.

    Args:
        program: The program.
        texts: The texts in its code, among which the names are.
        modules: What goes in as modules.
        choices: What goes in.

    Raises:
        ImageError: What is to be included isn't there, or lies outside of the project.
    """
    seen = {program.folder / program.file, *program.files, *(program.root / one for one in program.contents)}
    seen |= {one.path for one in modules}
    named = {path: text for text in sorted(texts) for path in _named(program, text)}
    named |= {path: str(path) for path in program.data}
    included = {Path(os.path.normpath(program.folder / one)): one for one in choices.include}
    excluded = Excluded(program.root, choices.exclude)
    for path in included:
        if not path.exists():
            raise ImageError(f"there is no {path} to include")
        if not path.is_relative_to(program.root):
            raise ImageError(f"{path} can't be included, for it lies outside of {program.root}: mount it")
    taken: list[Path] = []
    for path, text in sorted({**named, **included}.items()):
        if path in seen or any(path.is_relative_to(one) for one in taken):
            continue
        if not path.is_relative_to(program.root):
            outside = f"it lies outside of {program.root}: mount it, docker run -v {path}:{path}"
            yield File(text, path, why_out=_SECRET if is_secret(path) else outside)
            continue
        why = _why_out(path, program, choices, excluded, is_asked=path in included)
        if not why:
            taken.append(path)
        yield file_of(path.relative_to(program.root).as_posix(), path, excluded, why)


def _named(program: Program, text: str) -> Iterator[Path]:
    """Yield what a text in the code may name: a file, a folder, or by a pattern several."""
    if text.strip(" ./~") == "" or "://" in text:
        return
    try:
        pattern = Path(os.path.normpath(program.folder / Path(text).expanduser()))
        if any(mark in text for mark in "*?[") and pattern.is_relative_to(program.root):
            if "/" in text or "." in text:
                yield from _matching(program.folder, text)
        elif pattern.exists() and not program.folder.is_relative_to(pattern):
            is_path = "/" in text or "." in text
            if pattern.is_file() or is_path or any(pattern.iterdir()):
                yield pattern
    except (OSError, ValueError, NotImplementedError, RuntimeError):
        return  # no name of a file, or one that is not ours to read; RuntimeError: ~ of nobody, as in "~5 min"


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files that a pattern is for: many a regular expression looks like one, so nothing hidden is among them.

    One that names nothing, such as ``.*``, would be for all there is.
    """
    if re.search(r"\w", re.sub(r"\[[^]]*\]", "", pattern)) is None:
        return
    named = set(Path(pattern).parts)
    for one in folder.glob(pattern):
        parts = set(one.parts[len(folder.parts) :])
        if one.is_file() and not any(part.startswith(".") for part in parts - named):
            yield Path(os.path.normpath(one))


def _why_out(path: Path, program: Program, choices: Choices, excluded: Container[Path], *, is_asked: bool) -> str:
    parts = set(path.relative_to(program.root).parts)
    if is_secret(path) or _NEVER_IN & parts:
        return _SECRET
    if NOT_OF_IT & parts:
        return "it is a cache by its name"
    if path in excluded:
        return "it is excluded"
    if not choices.data and not is_asked:
        return "data stays out, as was asked"
    return ""


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, in order, but for caches, histories and what holds secrets by its name."""
    return (path for path, why in _walked(folder, ()) if not why)


def _walked(folder: Path, excluded: Container[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the files in a folder, in order, each with why it stays out; nothing of caches and what is excluded."""
    unread: list[OSError] = []
    for parent, inner, names in os.walk(folder, onerror=unread.append):
        folders = [Path(parent, one) for one in sorted(inner) if one not in NOT_OF_IT]
        folders = [one for one in folders if one not in excluded and not is_environment(one)]
        yield from ((one, why) for one in folders if (why := _why_left(one)))
        inner[:] = [one.name for one in folders if not _why_left(one)]
        for path in (Path(parent, name) for name in sorted(names)):
            if path not in excluded and path.suffix not in (".pyc", ".pyo"):
                yield path, _why_left(path)
    yield from ((Path(one.filename), "it can't be read") for one in unread)


def _why_left(path: Path) -> str:
    if path.is_dir():
        is_never = path.name in _NEVER_IN
        return _SECRET if is_never else "it is a link to a folder" if path.is_symlink() else ""
    if is_secret(path):
        return _SECRET
    return "" if path.is_file() else "it is no file, or a link to none"


def is_secret(path: Path) -> bool:
    """Return whether a file, or the one that it is a link to, holds secrets by its name."""
    names = {path.name, path.resolve().name} if path.is_symlink() else {path.name}
    return any(fnmatch.fnmatch(name, pattern) for name in names for pattern in _NEVER)
