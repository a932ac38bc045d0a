"""What a project declares for its image, in the files that repo2docker reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ml_experiment_nb.addresses import without_credentials
from ml_experiment_nb.errors import SpecError

FILES: Final = ("apt.txt", "requirements.txt", "environment.yml", "postBuild")
_PLACES: Final = ("binder", ".binder", "")
_DEBIAN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9]+)?(?:=\S+)?")


@dataclass(frozen=True)
class Declared:
    """What a project declares.

    Attributes:
        debian: The Debian packages of ``apt.txt``.
        requirements: What ``requirements.txt`` and the pip part of ``environment.yml`` ask for.
        conda: What ``environment.yml`` asks of conda, as requirements of pip's: ``numpy==1.20.*`` for ``numpy=1.20``.
        python: The Python that it asks for; empty where it doesn't.
        post_build: Its ``postBuild``.
        notes: What of them is not followed.
        files: The files that were read.
    """

    debian: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    conda: tuple[str, ...] = ()
    python: str = ""
    post_build: Path | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def declared(folders: Iterable[Path]) -> Declared:
    """Return what the nearest of some folders declares, in ``binder/``, ``.binder/`` or itself, as repo2docker has it.

    Raises:
        SpecError: One of the files can't be read; it says where.
    """
    for folder in (Path(one, place) for one in folders for place in _PLACES):
        found = {name: folder / name for name in FILES if (folder / name).is_file()}
        if found:
            return _read(found)
    return Declared()


def _read(found: dict[str, Path]) -> Declared:
    notes: list[str] = []
    followed: list[Path] = []
    debian = _debian(found["apt.txt"]) if "apt.txt" in found else []
    requirements: list[str] = []
    if "requirements.txt" in found:
        requirements += _requirements(found["requirements.txt"], notes, followed)
    python, conda = "", list[str]()
    if (file := found.get("environment.yml")) is not None:
        python, conda, more = _environment(file)
        requirements += _followed(file, [(f"{file.name} (pip)", one) for one in more], notes, followed)
    return Declared(
        debian=tuple(debian),
        requirements=tuple(dict.fromkeys(requirements)),
        conda=tuple(conda),
        python=python,
        post_build=found.get("postBuild"),
        notes=tuple(notes),
        files=tuple(dict.fromkeys([*found.values(), *followed])),
    )


def _debian(file: Path) -> list[str]:
    names = []
    for number, line in enumerate(_lines(file), 1):
        for word in line.partition("#")[0].split():
            if not _DEBIAN_NAME.fullmatch(word):  # it becomes part of a shell's command
                raise SpecError(f"{word!r} is no name of a Debian package", str(file), number)
            names.append(word)
    return list(dict.fromkeys(names))


def _requirements(file: Path, notes: list[str], followed: list[Path]) -> list[str]:
    followed.append(file)
    lines = [(f"{file.name}:{number}", line) for number, line in enumerate(_lines(file), 1)]
    return _followed(file, lines, notes, followed)


def _followed(file: Path, lines: Iterable[tuple[str, str]], notes: list[str], followed: list[Path]) -> list[str]:
    """Return the requirements in lines as pip has them, each with its place, and those of the files that they name."""
    found = []
    for place, line in lines:
        text = re.sub(r"(?:^|\s)#.*$", "", line).strip().removesuffix("\\").strip()
        if not text or text.startswith("--hash"):
            continue
        if (named := re.fullmatch(r"(?:-r|--requirement)[\s=]*(\S.*)", text)) is not None:
            other = Path(os.path.normpath(file.parent / named[1]))
            if not other.is_file():
                notes.append(f"{place}: there is no {other}, which is not followed")
            elif other not in followed:
                found += _requirements(other, notes, followed)
            continue
        if text.startswith("-"):
            option = re.split(r"[\s=]", text, maxsplit=1)[0]
            notes.append(f"{place}: {option} is an option of pip's, and is not followed")
            continue
        text = re.split(r"\s+--", text, maxsplit=1)[0]
        try:
            Requirement(text)
        except InvalidRequirement:
            notes.append(f"{place}: {without_credentials(text)} is no requirement by a name, and is not followed")
            continue
        found.append(text)
    return found


def _environment(file: Path) -> tuple[str, list[str], list[str]]:
    """Return the Python, conda's packages and pip's requirements of an ``environment.yml``."""
    try:
        data: Any = YAML(typ="safe", pure=True).load("\n".join(_lines(file)))
    except YAMLError as error:
        raise SpecError(f"is no YAML: {str(error).splitlines()[0]}", str(file)) from None
    if not isinstance(data, dict) or not isinstance(data.get("dependencies", []), list):
        raise SpecError("has no list `dependencies`", str(file))
    python, conda, requirements = "", [], []
    for one in data.get("dependencies", []):
        if isinstance(one, dict):
            lines = one.get("pip") or []
            if not isinstance(lines, list):
                raise SpecError("`pip` is no list", str(file))
            requirements += [str(line) for line in lines]
            continue
        text = str(one).rpartition("::")[2]
        name = re.split(r"[\s=<>!~]", text, maxsplit=1)[0]
        if name == "python":
            python = text[len(name) :].strip(" =<>!~").removesuffix(".*")
        elif name != "pip":
            conda.append(_of_conda(name, text[len(name) :]))
    return python, conda, requirements


def _of_conda(name: str, versions: str) -> str:
    """Return what conda is asked for as a requirement; of versions that Python's have no form for, the name alone."""
    said = re.sub(r"(?<![=<>!~])=(?!=)\s*([\w.]*[\w])(?:\.?\*)?(?=[,=\s]|$)", r"==\1.*", versions.strip())
    text = f"{canonicalize_name(name)}{said.partition(' ')[0]}"
    try:
        return str(Requirement(text))
    except InvalidRequirement:
        return str(canonicalize_name(name))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"can't be read: {error}", str(file)) from None
