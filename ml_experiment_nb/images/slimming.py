"""What an image does without of the packages that it has: files that nothing reads when code runs.

It is told from what is installed here, package by package. A folder of tests goes in all the same where a module that
is no test imports it, or names it as a place of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from ml_experiment_nb import quantities
from ml_experiment_nb.images.caches import remembered
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.environments import Environment

TESTS: Final = "tests"
SOURCES: Final = "sources of compiled modules"
MAPS: Final = "source maps"
JAVA: Final = "Ray's workers for Java"
PAGE: Final = "a web page that runs don't need"

_RULES: Final = "1"  # told apart from what other rules have found
_NAMES: Final = frozenset({"tests", "test", "_tests"})
_TEST_FILE = re.compile(r"test_.*\.py|.*_tests?\.py|conftest\.py")
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+([^\n]*)|import[ \t]+([^\n]*))", re.M)
_TEXT = re.compile(rb"""["']([\w./-]*\b_?tests?\b[\w./-]*)["']""")
_PLACE = re.compile(rb"join|Path|__file__|files\(|/ *[\"']")
_COMPILED: Final = (".c", ".cpp", ".pyx")
_PARTS: Final = {"ray/jars": JAVA}
_PAGES: Final = ("mlflow/server/js", "ray/dashboard/client")
_JAVA = re.compile(r"(?:^|-)(?:jre|jdk)(?:-|$)")


@dataclass(frozen=True, order=True)
class Spare:
    """A file or a folder of an installed package that an image does without.

    Attributes:
        package: The package.
        place: Where it is, below the folder that packages are installed in.
        why: What it is.
        size: Its bytes.
    """

    package: str
    place: str
    why: str
    size: int


def spared(
    environment: Environment, choices: Choices, code: Iterable[str] = (), debian: Iterable[str] = ()
) -> tuple[Spare, ...]:
    """Return what an image does without of an environment's packages.

    Of packages that are built from folders of this machine, or are installed here in another version, it is nothing.

    Args:
        environment: The environment.
        choices: What goes in.
        code: The user's own code, which may import a package's tests.
        debian: The Debian packages that the image gets: with a Java among them, what is for Java goes in.
    """
    if choices.whole:
        return ()
    what = [f"{one.name} {one.version} {one.digest}" for one in environment.packages]
    key = "\n".join([_RULES, *environment.interpreter.site, *what])
    found = remembered("spare", key, partial(_found, environment))
    wanted = {JAVA} if any(_JAVA.search(one) for one in debian) else set[str]()
    wanted |= set() if choices.only_imports else {PAGE}
    spare = _read(found)
    tests = {one.place for one in spare if one.why == TESTS}
    used = {place for piece in code for place in _used(piece.encode(), (), tests)}
    return tuple(sorted(one for one in spare if one.why not in wanted and one.place not in used))


def told(spare: Sequence[Spare]) -> list[tuple[str, str]]:
    """Return what is spared as names and texts: a line for each kind of it."""
    lines = []
    for why in dict.fromkeys(one.why for one in sorted(spare, key=lambda one: -one.size)):
        these = [one for one in spare if one.why == why]
        sizes = {one.package: 0 for one in these}
        for one in these:
            sizes[one.package] += one.size
        names = sorted(sizes, key=lambda name: (-sizes[name], name))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(("without", f"{why}, {quantities.size(sum(sizes.values()))}: {', '.join(names[:3])}{more}"))
    return lines


def _read(found: Mapping[str, str]) -> list[Spare]:
    rows = [(place, *text.split("\t")) for place, text in found.items()]
    return [Spare(package, place, why, int(size)) for place, package, why, size in rows]


# --- what is found in the packages that are installed here ---


@dataclass(frozen=True)
class _File:
    package: str
    site: Path
    size: int


def _found(environment: Environment) -> dict[str, str]:
    files = dict(_files(environment))
    sizes: dict[tuple[str, str, str], int] = {}
    tests = _tests(files)
    compiled = {_stem(place) for place in files if place.endswith(".so")}
    for place, file in files.items():
        folder = _above(place, tests)
        spare, why = (folder, TESTS) if folder else _other(place, compiled)
        if why:
            sizes[spare, file.package, why] = sizes.get((spare, file.package, why), 0) + file.size
    return {place: f"{package}\t{why}\t{size}" for (place, package, why), size in sorted(sizes.items())}


def _files(environment: Environment) -> Iterator[tuple[str, _File]]:
    """Yield the files that the installer has recorded of an environment's packages, by their places."""
    wanted = {(one.name, one.version) for one in environment.packages if not one.source.startswith("file:")}
    for site in map(Path, environment.interpreter.site):
        for record in sorted(site.glob("*.dist-info/RECORD")):
            name, _, version = record.parent.name.removesuffix(".dist-info").rpartition("-")
            if (str(canonicalize_name(name)), version) not in wanted:
                continue
            for row in record.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
                place, _, size = row.rsplit(",", 2) if row.count(",") >= 2 else (row, "", "")
                if size and not place.startswith(("..", "/", '"')):
                    yield place, _File(str(canonicalize_name(name)), site, int(size))


def _tests(files: Mapping[str, _File]) -> set[str]:
    """Return the folders of tests that no other module needs."""
    tests = set()
    for place in files:
        parts = place.split("/")
        at = next((number for number, part in enumerate(parts[:-1]) if part in _NAMES), None)
        if at is not None and _TEST_FILE.fullmatch(parts[-1]):
            tests.add("/".join(parts[: at + 1]))
    used: set[str] = set()
    for place, file in files.items():
        *parents, name = place.split("/")
        if name.endswith(".py") and name != "conftest.py" and not _above(place, tests):
            try:
                text = (file.site / place).read_bytes()
            except OSError:
                continue
            if b"test" in text:
                used |= _used(text, parents, tests)
    return tests - used


def _above(place: str, folders: set[str]) -> str:
    """Return which of some folders a file lies in; empty for none."""
    parts = place.split("/")
    return next((one for at in range(1, len(parts)) if (one := "/".join(parts[:at])) in folders), "")


def _used(text: bytes, parents: Sequence[str], tests: set[str]) -> set[str]:
    """Return the folders of tests that a module's text imports, or has the places of.

    Args:
        text: The module's text.
        parents: The folders that it is in.
        tests: The folders.
    """
    found = set()
    for imported in _IMPORT.finditer(text):
        if b"test" in imported[0]:
            found |= {folder for name in _modules(imported, parents) if (folder := _above(f"{name}/x", tests))}
    for named in _TEXT.finditer(text):
        said = named[1].decode()
        if "/" not in said and "." in said:
            found |= {folder for folder in [_above(f"{said.replace('.', '/')}/x", tests)] if folder}
        elif "/" in said or _is_place(text, named.start()):
            words = [one for one in said.split("/") if one not in ("", ".", "..")]
            inner = ["/".join([*parents, *words[at:]]) for at in range(len(words))]
            found |= {folder for one in inner if (folder := _above(f"{one}/x", tests))}
    return found


def _modules(imported: re.Match[bytes], parents: Sequence[str]) -> Iterator[str]:
    """Yield what a statement may import, as places of modules."""
    if imported[1] is None:
        for one in imported[3].decode(errors="replace").split(","):
            yield one.strip().partition(" ")[0].replace(".", "/")
        return
    said = imported[1].decode()
    inner = said.lstrip(".")
    level = len(said) - len(inner)
    base = [*parents[: len(parents) - level + 1]] if level else []
    module = "/".join([*base, *filter(None, inner.split("."))])
    yield module
    for name in re.findall(r"\w+", imported[2].decode(errors="replace")):
        yield f"{module}/{name}"


def _is_place(text: bytes, at: int) -> bool:
    """Whether a text stands in a line that makes a path of it, which is no example in a docstring."""
    begin, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
    line = text[begin : end if end >= 0 else None]
    return _PLACE.search(line) is not None and not line.lstrip().startswith((b">>>", b"..."))


def _other(place: str, compiled: set[str]) -> tuple[str, str]:
    """Return what a file is that is no test's, and may be done without: its place, or its folder's, and why.

    Args:
        place: The file's place.
        compiled: The places of compiled modules, without what stands behind their names.
    """
    for folder, why in (*_PARTS.items(), *((one, PAGE) for one in _PAGES)):
        if place.startswith(f"{folder}/"):
            return folder, why
    if place.endswith(_COMPILED) and _stem(place) in compiled:
        return place, SOURCES
    return (place, MAPS) if place.endswith((".js.map", ".css.map")) else ("", "")


def _stem(place: str) -> str:
    """Return a module's place without what stands behind its name: ``a/b`` of ``a/b.cpython-311.so``."""
    folder, slash, name = place.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"
