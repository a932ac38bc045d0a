"""What is kept from one image to the next: wheels, and what was found in installed packages; and what isn't.

A folder that is worked in is locked as long as its process lives: the next image removes those of processes that were
killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion

_WORKING: Final = "mlexp-image-"
_LOCK: Final = "lock"


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
    with working(place.parent) as folder:
        yield folder
        for path in sorted(folder.rglob("*.whl")):
            put(path, place / path.name)


def put(path: Path, target: Path) -> None:
    """Give a file its place, unless it is taken: what another process has put there may be read by somebody now."""
    try:
        os.link(path, target)
    except FileExistsError:
        return
    except OSError:  # a disk without such links
        if not target.exists():
            os.replace(path, target)


@contextmanager
def working(place: Path | None = None) -> Iterator[Path]:
    """Give an empty folder to work in, which is gone afterwards; those that killed processes have left go first.

    Args:
        place: The folder that it is made in; by default the one for temporary files.

    Raises:
        OSError: It can't be made.
    """
    place = place or Path(tempfile.gettempdir())
    _clear_left(place)
    own = Path(tempfile.mkdtemp(prefix=_WORKING, dir=place))
    try:
        with (own / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(own / ".lock", own / _LOCK)  # nobody sees it before it is locked
            (own / "in").mkdir()
            yield own / "in"
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _clear_left(place: Path) -> None:
    for own in place.glob(f"{_WORKING}*"):
        with suppress(OSError):
            if own.stat().st_uid == os.getuid():
                with (own / _LOCK).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(own, ignore_errors=True)
