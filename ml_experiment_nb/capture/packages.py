"""The Python packages that an interpreter sees, and where each came from."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment_nb.addresses import without_credentials

OWN = "ml-experiment-nb"
"""What this package itself is called."""

DIGEST = "  # files sha256:"
"""What stands in the requirements between a package and its digest."""

_RECORD_LARGEST = 64 << 20


@dataclass(frozen=True, order=True)
class Package:
    """An installed distribution.

    Attributes:
        name: Its normalised name, such as ``scikit-learn``.
        version: Its version.
        source: Where it was installed from when that isn't a package index, as pip reads it behind ``name @``
            and without credentials: ``git+https://host/x@commit``, ``https://host/x.whl#sha256=…`` or
            ``file:///folder``.
        editable: Whether it is imported from its source folder.
        digest: 32 hexadecimal digits, of the files that its wheel had, as its installer has recorded them; empty where
            it hasn't. Two machines that have installed one wheel, with whichever installer, have the same.
    """

    name: str
    version: str
    source: str = ""
    editable: bool = False
    digest: str = ""


def packages(*, notes: list[str] | None = None) -> tuple[Package, ...]:
    """Return the distributions that this interpreter sees, by name.

    Of two with one name it is the first on `sys.path`. They are read once, and again when `sys.path` or a
    folder on it has changed, as ``%pip install`` does.

    Args:
        notes: Gets a sentence for each distribution that can't be read.
    """
    return packages_on(sys.path, notes=notes)


def packages_on(path: Iterable[str], *, notes: list[str] | None = None) -> tuple[Package, ...]:
    """Return the distributions that an interpreter sees whose `sys.path` is this one; see `packages`."""
    folders = tuple((folder or os.curdir, _changed_at(folder or os.curdir)) for folder in path)
    found, problems = _read(folders)
    if notes is not None:
        notes.extend(problems)
    return found


def as_requirements(packages: Iterable[Package]) -> str:
    """Return the packages as text that pip reads, a line each.

    One that was installed from a local folder or file can't be had elsewhere: it becomes a comment. So does the digest
    of what is installed, at a line's end: it isn't an archive's, which pip would take for a hash to check.
    """
    return "".join(f"{requirement_of(one)}{f'{DIGEST}{one.digest}' if one.digest else ''}\n" for one in packages)


def from_requirements(text: str) -> tuple[Package, ...]:
    """Return the packages that `as_requirements` wrote; what else stands there is passed over."""
    found = []
    for line in text.splitlines():
        words, _, digest = line.partition(DIGEST)
        if (local := _LOCAL.fullmatch(words.strip())) is not None:
            found.append(Package(local[1], local[2], local[4], bool(local[3]), digest.strip()))
        elif (other := _PLAIN.fullmatch(words.strip())) is not None:
            found.append(Package(other[1], other[2] or "", other[3] or "", digest=digest.strip()))
    return tuple(sorted(found))


_LOCAL = re.compile(r"# (\S+)==(\S+) \(local(, editable)?: (\S+)\)")
_PLAIN = re.compile(r"([^\s#=]+)(?:==(\S+)| @ (.+))")


def requirement_of(package: Package) -> str:
    """Return a package as a line of requirements; see `as_requirements`."""
    if package.source.startswith("file:"):
        how = "local, editable" if package.editable else "local"
        return f"# {package.name}=={package.version} ({how}: {package.source})"
    return f"{package.name} @ {package.source}" if package.source else f"{package.name}=={package.version}"


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=8)
def _read(folders: tuple[tuple[str, int], ...]) -> tuple[tuple[Package, ...], tuple[str, ...]]:
    found: dict[str, Package] = {}
    notes: list[str] = []
    for folder, _changed in folders:
        for metadata in _metadata_folders(folder):
            try:
                package = _package(metadata)
            except Exception as error:  # its metadata may be broken in any way
                notes.append(f"the package in {metadata} can't be read: {error}")
                continue
            if package is not None:
                found.setdefault(package.name, package)
    return tuple(sorted(found.values())), tuple(notes)


def _metadata_folders(folder: str) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return  # a zip file, or a folder that is not there
    for name in names:
        if name.endswith((".dist-info", ".egg-info")) and not name.startswith("~"):  # pip's half-removed ones
            yield Path(folder, name)


def _package(metadata: Path) -> Package | None:
    """Read one distribution; None for a folder that an uninstallation left behind."""
    if metadata.suffix == ".egg-info":
        return _egg(metadata)
    files = set(os.listdir(metadata))
    if "METADATA" not in files:
        return None
    name, _, version = metadata.stem.rpartition("-")
    if not name or "_" in version:  # an old installer's spelling: the folder's name doesn't say
        name, version = _headers(metadata / "METADATA")
    source, editable = _source(metadata) if "direct_url.json" in files else ("", False)
    digest = "" if editable or "RECORD" not in files else _digest(metadata / "RECORD", _changed_at(str(metadata)))
    return Package(normal_name(name), version, source, editable, digest)


@functools.lru_cache(maxsize=4096)
def _digest(record: Path, _changed: int) -> str:
    """Return a digest of the files that a wheel had, by the installer's record of them.

    What each installer adds of its own, or writes anew for this environment, is left out: bytecode, which has no hash
    there, commands outside the packages' folder, and its notes on the installation.
    """
    return "" if record.stat().st_size > _RECORD_LARGEST else _digest_of(record.read_bytes())


def wheel_digest(wheel: Path) -> str:
    """Return the `Package.digest` that a wheel's package has when it is installed; empty where it says nothing of it.

    Raises:
        OSError: The file can't be read, or is no wheel.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next((one for one in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", one)), None)
            record = archive.read(name) if name is not None else b""
    except zipfile.BadZipFile as error:
        raise OSError(f"{wheel} is no wheel: {error}") from None
    rows = [_DATA.sub(b"", row) for row in record.splitlines() if not _ELSEWHERE.match(row)]
    return _digest_of(b"\n".join(rows))


_DATA = re.compile(rb"^[^/,]+\.data/(?:pure|plat)lib/")
_ELSEWHERE = re.compile(rb"[^/,]+\.data/(?!purelib/|platlib/)")


def _digest_of(record: bytes) -> str:
    rows = [row for row in record.splitlines() if b",sha256=" in row and _is_of_wheel(row)]
    return hashlib.sha256(b"\n".join(sorted(rows))).hexdigest()[:32] if rows else ""


def _is_of_wheel(row: bytes) -> bool:
    if row.startswith((b"..", b'"..', b"/")) or b"__pycache__/" in row:
        return False
    return b".dist-info/" not in row or b".dist-info/METADATA," in row


def _egg(metadata: Path) -> Package | None:
    """Read what setuptools left: a folder or a file, or beside its sources when it is editable."""
    file = metadata / "PKG-INFO" if metadata.is_dir() else metadata
    if not file.is_file():
        return None
    name, version = _headers(file)
    editable = (metadata / "SOURCES.txt").is_file() and not (metadata / "installed-files.txt").is_file()
    return Package(normal_name(name), version, metadata.parent.resolve().as_uri() if editable else "", editable)


def _headers(file: Path) -> tuple[str, str]:
    headers: dict[str, str] = {}
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in itertools.takewhile(str.strip, lines):
            key, _, value = line.partition(":")
            headers.setdefault(key.lower(), value.strip())
    if not headers.get("name") or not headers.get("version"):
        raise ValueError("it has no name or no version")
    return headers["name"], headers["version"]


def _source(metadata: Path) -> tuple[str, bool]:
    """Return the source and whether it is editable, from what PEP 610 has an installer write."""
    said: dict[str, Any] = json.loads((metadata / "direct_url.json").read_text(encoding="utf-8"))
    url = without_credentials(said["url"])
    if url.startswith("file:") and _installer(metadata) == "conda":
        return "", False  # the folder of the machine that built it
    if vcs := said.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    archive = said.get("archive_info") or {}
    hashes = archive.get("hashes") or dict([(archive.get("hash") or "=").split("=", 1)])  # as it was written before
    fragment = {"subdirectory": said.get("subdirectory")} | hashes
    parts = "&".join(f"{key}={value}" for key, value in fragment.items() if value)
    return url + (f"#{parts}" if parts else ""), bool(said.get("dir_info", {}).get("editable"))


def _installer(metadata: Path) -> str:
    try:
        return (metadata / "INSTALLER").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def normal_name(name: str) -> str:
    """Return a package's name as all of its spellings are written: ``scikit-learn``."""
    return re.sub(r"[-_.]+", "-", name).lower()
