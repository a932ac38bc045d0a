"""The data that a run reads, as it is asked for: files by their names and patterns, values by theirs."""

from __future__ import annotations

import glob
import os
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import model_validator

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.fields import Frozen
from ml_experiment_nb.projects import NOT_OF_IT


class Data(Frozen):
    """What the run reads: `files` are patterns, relative to `folder`; `values` are names of parameters or variables.

    Without patterns it is all files in the folder; `folder` may also be a file. With values alone there are no files.
    """

    folder: str = "."
    files: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str | os.PathLike):
            return {"folder": os.fspath(value)}
        if isinstance(value, list | tuple):
            return {"files": value}
        if isinstance(value, Mapping):
            return {key: [one] if key != "folder" and isinstance(one, str) else one for key, one in value.items()}
        return value

    @property
    def has_files(self) -> bool:
        """Whether files are named, and not values alone."""
        return bool(self.files) or self.folder != "." or not self.values


@dataclass(frozen=True)
class Listed:
    """What one name or pattern stands for.

    Attributes:
        name: The name or pattern, as it was given.
        place: The file, or the folder that the files are in.
        files: The files, sorted by their names.
    """

    name: str
    place: Path
    files: tuple[Path, ...]


def asked_for(words: Any, known: Container[str]) -> Any:
    """Return the key ``data`` that words ask for: each is a name of what is known, or else a file or a pattern.

    Args:
        words: One or several; a mapping is the key's own form already.
        known: The names of parameters and variables.
    """
    if isinstance(words, Mapping | Data):
        return words
    several = [words] if isinstance(words, str | os.PathLike) else list(words)
    named = [word for word in several if isinstance(word, str) and word in known]
    return {"files": [os.fspath(word) for word in several if word not in named], "values": named}


def listed(data: Data, root: Path) -> list[Listed]:
    """Return the files that are named, by name or pattern.

    Args:
        data: What is asked.
        root: What its folder is relative to.

    Raises:
        SpecError: The folder isn't there, or a name or pattern has no file.
    """
    if not data.has_files:
        return []
    folder = root / Path(data.folder).expanduser()
    if folder.is_file() and not data.files:
        return [Listed(data.folder, folder.absolute(), (folder.absolute(),))]
    if not folder.is_dir():
        siblings = os.listdir(folder.parent) if folder.parent.is_dir() else []
        raise SpecError(f"there is no folder {folder}{nearest(folder.name, siblings)}", key="data.folder")
    if not data.files:
        return [Listed(data.folder, folder.absolute(), _all_files(folder.absolute()))]
    return [_matching(pattern, folder, f"data.files[{k}]") for k, pattern in enumerate(data.files)]


def _matching(pattern: str, folder: Path, key: str) -> Listed:
    exact = (folder / Path(pattern).expanduser()).absolute()
    if exact.is_file():
        return Listed(pattern, exact, (exact,))
    if exact.is_dir():
        return Listed(pattern, exact, _all_files(exact))
    names = glob.glob(os.path.expanduser(pattern), root_dir=folder, recursive=True)
    files = tuple(sorted(path for path in ((folder / name).absolute() for name in names) if path.is_file()))
    if not files:
        siblings = os.listdir(exact.parent) if exact.parent.is_dir() else []
        raise SpecError(f"no file in {folder} matches {pattern!r}{nearest(exact.name, siblings)}", key=key)
    return Listed(pattern, folder.absolute(), files)


def _all_files(folder: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    for above, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if one not in NOT_OF_IT]
        found += [path for path in (Path(above, name) for name in names) if path.is_file()]
    return tuple(sorted(found))
