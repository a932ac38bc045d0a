"""Files of a project that go into an image, or stay out: modules, and data that the code names."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.program import Program

_NEVER: Final = (
    *(".env", ".env.*", ".netrc", "_netrc", ".pypirc", ".git-credentials", "*.pem", "*.key", "*.p12", "*.pfx"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "credentials", "credentials.json", "kaggle.json", ".htpasswd"),
)
"""Files that hold secrets by their names: they are never taken."""
SKIPPED: Final = frozenset({"__pycache__", ".git", ".hg", ".ml-experiment", ".ipynb_checkpoints", "node_modules",
                             ".venv", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache"})  # fmt: skip


@dataclass(frozen=True, order=True)
class File:
    """A file or a folder that goes into an image, or stays out.

    Attributes:
        place: Its place in the image, below the program's root, or as the code names it where it stays out.
        path: Where it is here.
        size: Its bytes.
        why_out: Why it stays out; empty where it goes in.
    """

    place: str
    path: Path
    size: int
    why_out: str = ""


def data_files(program: Program, texts: Iterable[str], modules: Iterable[File], choices: Choices) -> Iterator[File]:
    """Yield the files and folders that the code names, or that are to go in besides.

    Args:
        program: The program.
        texts: The texts in its code, among which the names are.
        modules: What goes in as modules.
        choices: What goes in.

    Raises:
        ImageError: What is to be included isn't there.
    """
    seen = {program.folder / program.file, *program.files, *(program.root / one for one in program.contents)}
    seen |= {one.path for one in modules}
    named = {path: text for text in sorted(texts) for path in _named(program, text)}
    named |= {path: str(path) for path in program.data}
    included = {(program.folder / one).absolute(): one for one in choices.include}
    for path in included:
        if not path.exists():
            raise ImageError(f"there is no {path} to include")
    taken: list[Path] = []
    for path, text in sorted({**named, **included}.items()):
        if path in seen or any(path.is_relative_to(one) for one in taken):
            continue
        why = _why_out(path, program, choices, is_asked=path in included)
        if not why:
            taken.append(path)
        place = path.relative_to(program.root).as_posix() if path.is_relative_to(program.root) else text
        yield File(place, path, size_of(path), why)


def _named(program: Program, text: str) -> Iterator[Path]:
    """Yield what a text in the code may name: a file, a folder, or by a pattern several."""
    if text.strip(" ./~") == "" or "://" in text:
        return
    pattern = Path(os.path.normpath(program.folder / Path(text).expanduser()))
    try:
        if any(mark in text for mark in "*?[") and pattern.is_relative_to(program.root):
            if "/" in text or "." in text:
                yield from (one for one in program.folder.glob(text) if one.is_file())
        elif pattern.exists() and not program.folder.is_relative_to(pattern):
            is_path = "/" in text or "." in text
            if pattern.is_file() or is_path or any(pattern.iterdir()):
                yield pattern
    except (OSError, ValueError, NotImplementedError):
        return  # no name of a file, or one that is not ours to read


def _why_out(path: Path, program: Program, choices: Choices, *, is_asked: bool) -> str:
    if is_secret(path) or SKIPPED & set(path.parts[len(program.root.parts) :]):
        return "it holds secrets or a cache by its name"
    if not path.is_relative_to(program.root):
        return f"it lies outside of {program.root}: mount it, docker run -v {path}:{path}"
    place = path.relative_to(program.root).as_posix()
    if any(fnmatch.fnmatch(place, one) or fnmatch.fnmatch(path.name, one) for one in choices.exclude):
        return "it is excluded"
    if not choices.data and not is_asked:
        return "data stays out, as was asked"
    return ""


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of those in a folder that are taken."""
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in files_in(path))


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder, in order, but for caches, histories and what holds secrets by its name."""
    for parent, inner, names in os.walk(folder):
        inner[:] = sorted(one for one in inner if one not in SKIPPED and not Path(parent, one, "pyvenv.cfg").is_file())
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not is_secret(path) and not name.endswith((".pyc", ".pyo")):
                yield path


def is_secret(path: Path) -> bool:
    """Return whether a file holds secrets by its name."""
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in _NEVER)
