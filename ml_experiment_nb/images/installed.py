"""What an interpreter's packages require, and which top-level modules they have: read once, and kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from typing import Final

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.images.caches import remembered
from ml_experiment_nb.images.interpreter import Interpreter

_ENDS: Final = (".py", ".so")


@dataclass(frozen=True)
class Known:
    """What is known of an installed package.

    Attributes:
        requires: Its requirements, as its metadata has them.
        places: Its top-level folders and modules, in the folder that packages are installed in.
        modules: The names of the modules that these are.
    """

    requires: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    modules: frozenset[str] = frozenset()


@lru_cache(maxsize=8)
def known(path: tuple[str, ...]) -> dict[str, Known]:
    """Return what an interpreter's packages are known by, by their normalised names.

    Args:
        path: Where it looks for modules. What was read is kept until one of these folders is changed.
    """
    key = "\n".join(f"{one} {_changed_at(one)}" for one in path)
    found = remembered("installed", key, lambda: _read(path))
    return {
        name: Known(tuple(one["requires"]), tuple(one["places"]), frozenset(one["modules"]))
        for name, one in ((name, json.loads(text)) for name, text in found.items())
    }


def having(python: Interpreter, modules: Iterable[str]) -> set[str]:
    """Return the packages that have one of some top-level modules."""
    wanted = set(modules)
    return {name for name, one in known(python.path).items() if one.modules & wanted}


def closure(
    python: Interpreter, installed: Iterable[Package], roots: Iterable[str], unneeded: Iterable[tuple[str, str]] = ()
) -> tuple[Package, ...]:
    """Return the packages that some packages need, themselves among them.

    Args:
        python: Their interpreter.
        installed: The packages to choose from.
        roots: The names of those.
        unneeded: Requirements that are passed over: who has them, and what is required.
    """
    there, passed_over = known(python.path), set(unneeded)
    environment = {"python_version": python.minor, "python_full_version": python.version}
    seen: dict[str, set[str]] = {}
    todo: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in roots]
    while todo:
        name, extras = todo.pop()
        done = seen.get(name)
        if name not in there or (done is not None and extras <= done):
            continue
        seen[name] = (done or set()) | extras
        for text in there[name].requires:
            with suppress(InvalidRequirement):
                needed = _requirement(text)
                other = str(canonicalize_name(needed.name))
                if (name, other) not in passed_over and _holds(needed.marker, environment, seen[name]):
                    todo.append((other, frozenset(needed.extras)))
    return tuple(one for one in installed if one.name in seen)


def name_of(one: Distribution) -> str:
    """Return a package's name, normalised."""
    return str(canonicalize_name(one.metadata["Name"] or ""))


@lru_cache(maxsize=4096)
def _requirement(text: str) -> Requirement:
    return Requirement(text)


def _holds(marker: Marker | None, environment: dict[str, str], extras: Iterable[str]) -> bool:
    if marker is None:
        return True
    return any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def _read(path: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in distributions(path=list(path)):
        places = _places(one)
        modules = {place.partition(".")[0] for place in places if "." not in place or place.endswith(_ENDS)}
        modules |= set((one.read_text("top_level.txt") or "").split())
        said = {"requires": list(one.requires or ()), "places": places, "modules": sorted(modules)}
        found.setdefault(name_of(one), json.dumps(said))
    return found


def _places(one: Distribution) -> list[str]:
    rows = (one.read_text("RECORD") or one.read_text("SOURCES.txt") or "").splitlines()
    files = [row.rsplit(",", 2)[0] if row.count(",") >= 2 else row for row in rows]
    tops = {file.partition("/")[0] for file in files if not file.startswith(("..", "/"))}
    return sorted(top for top in tops if not top.endswith((".dist-info", ".egg-info", ".pth")) and top != "__pycache__")


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0
