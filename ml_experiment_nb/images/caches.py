"""What is kept from one image to the next: wheels, and what was found in installed packages."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion


def cache() -> Path:
    """Return the user's folder for it, below ``XDG_CACHE_HOME``."""
    told = os.environ.get("XDG_CACHE_HOME")
    return (Path(told) if told else Path.home() / ".cache") / "ml-experiment-nb"


def remembered(kind: str, key: str, find: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Return what was found before, or is found now and kept.

    Args:
        kind: What it is, for the file's name.
        key: All that it depends on.
        find: Finds it.
    """
    file = cache() / f"{kind}-{short(key)}.json"
    with suppress(OSError, ValueError):
        kept: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return kept
    found = find()
    with suppress(OSError):  # where nothing can be kept it is found anew
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as partial:
            json.dump(found, partial)
        os.replace(partial.name, file)
    return found


def short(text: str) -> str:
    """Return a digest of a text that tells it from others, as part of a file's name."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def kept_wheels(place: Path) -> dict[tuple[str, str], Path]:
    """Return the wheels of a folder by the names and versions of their packages."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(place.glob("*.whl")) if place.is_dir() else ():
        with suppress(InvalidWheelFilename, InvalidVersion):
            name, version, _, _ = parse_wheel_filename(path.name)
            found[str(name), str(version)] = path
    return found


@contextmanager
def filled(place: Path) -> Iterator[Path]:
    """Give a folder to write wheels to; they are put in their place when all of it has gone well."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent) as folder:
        yield Path(folder)
        for path in sorted(Path(folder).rglob("*.whl")):
            os.replace(path, place / path.name)
