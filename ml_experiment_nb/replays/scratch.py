"""A copy of a project to run in: the code as a run's record has it, everything else as it is today.

What git knows of is checked out as it was committed, with the recorded diff on top, in a clone that shares the
repository's objects. Files that git doesn't know, data among them, are copied from the project, so that relative paths
work and nothing that the code writes meets the user's own files. Of those that are too large to be copied there are
links instead: they are looked at afterwards, and one that was written to is said.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from ml_experiment_nb.capture.git import git_environment
from ml_experiment_nb.errors import ReplayError
from ml_experiment_nb.projects import NOT_OF_IT, home, is_environment

FOLDER: Final = "replays"  # below .ml-experiment: where the copies stand while they are in use
SMALL: Final = 1_000_000  # bytes of a file that is always copied
LARGE: Final = 500_000_000  # bytes of a file that is linked, not copied
MOST: Final = 2_000_000_000  # bytes that are copied of all files that are not small
FILES: Final = 100_000  # files of a project
_FICLONE: Final = 0x40049409  # Linux: a copy that shares its blocks until one is written to
_PATIENCE: Final = 600.0  # seconds that one git command may take
_SHOWN: Final = 3  # names that a note tells of many
_SOON: Final = 1.0  # seconds after a run's end in which a file's time says nothing


@dataclass(frozen=True)
class Recorded:
    """What a run's record says of the work tree that its code stood in.

    Attributes:
        ended: When the run ended: what was written before that may be its own work.
        commit: The commit; None where there was no git.
        diff: What was not committed.
        remote: The address of the repository.
    """

    ended: datetime
    commit: str | None = None
    diff: str = ""
    remote: str = ""


@dataclass(frozen=True)
class Scratch:
    """A project's copy.

    Attributes:
        origin: The project's own folder, or that of the repository which it is a part of.
        folder: The copy of that.
        changed: Files that are not as recorded but as they are today, and that have changed since the run.
        notes: What could not be had as it was, each in a sentence.
        linked: Files that are links to the user's own, with their times and sizes.
    """

    origin: Path
    folder: Path
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    linked: tuple[tuple[Path, tuple[int, int]], ...] = field(default=(), repr=False)

    def moved(self, path: str | Path) -> Path:
        """Return where a path of the project is in the copy; one that is elsewhere stays."""
        absolute = Path(os.path.normpath(self.origin / path))
        return self.folder / absolute.relative_to(self.origin) if absolute.is_relative_to(self.origin) else absolute

    def make(self, folder: Path) -> None:
        """Make a folder of the copy, if it isn't there.

        Raises:
            ReplayError: It is not within the copy, as a link leads out of it.
        """
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self.folder)):
            raise ReplayError(f"{folder} is reached through a link out of the project, and nothing is written there")
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, text: str) -> None:
        """Write a file of the copy, in the place of a link that stands there: that would lead to the user's own file.

        Raises:
            ReplayError: Its folder is not within the copy, as a link leads out of it.
        """
        self.make(path.parent)
        if path.is_symlink():
            path.unlink()
        path.write_text(text, encoding="utf-8")

    def written(self) -> list[str]:
        """Return which of the user's own files, to which there are links, are not as they were."""
        return [str(path) for path, before in self.linked if _stat(path) != before]

    def as_recorded(self, text: str) -> str:
        """Return a text in which the project's own folder stands for the copy."""
        return text.replace(str(self.folder), str(self.origin))


@contextmanager
def scratch_of(origin: Path, recorded: Recorded, root: Path, *, keep: bool = False) -> Iterator[Scratch]:
    """Make a copy of a project as a run had it, and remove it after the block.

    Args:
        origin: The project's folder.
        recorded: What is recorded of its work tree.
        root: The project in whose ``.ml-experiment`` the copy stands.
        keep: Leave the copy where it is.

    Raises:
        ReplayError: It can't be written, or is too much.
    """
    place = home(root) / FOLDER
    try:
        place.mkdir(exist_ok=True)
        _clear_left(place)
        own = Path(tempfile.mkdtemp(dir=place))
    except OSError as error:
        raise ReplayError(f"no copy of the project can be made in {place}: {error.strerror}") from None
    with (own / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it is in use as long as this process lives
        try:
            yield _made(origin, recorded, own)
        except OSError as error:
            if str(own) in str(error.filename or ""):
                raise ReplayError(f"the copy of the project can't be written: {error}") from error
            raise
        finally:
            if keep:
                (own / "lock").unlink(missing_ok=True)  # one that has none is left alone from now on
            else:
                shutil.rmtree(own, ignore_errors=True)


def _clear_left(place: Path) -> None:
    """Remove copies whose process was killed; one that was to be kept has no lock any more."""
    for own in place.iterdir():
        with suppress(OSError), (own / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(own, ignore_errors=True)


def _made(origin: Path, recorded: Recorded, own: Path) -> Scratch:
    note: tuple[str, ...] = ()
    if recorded.commit is not None:
        try:
            top = Path(_git(origin, "rev-parse", "--show-toplevel").strip())
            cloned = Scratch(top, own / "commit" / top.name)
            tracked = _clone(cloned, recorded)
            return _with_others(_with_diff(cloned, recorded.diff), tracked, recorded.ended)
        except _GitError as error:
            note = (f"the commit {recorded.commit[:8]} can't be had ({error}): the code is as it is today",)
    scratch = Scratch(origin, own / "today" / origin.name, notes=note)
    scratch.folder.mkdir(parents=True)
    return _with_others(scratch, frozenset(), recorded.ended)


# --- what git knows ---


class _GitError(Exception):
    """A git command failed."""


def _clone(scratch: Scratch, recorded: Recorded) -> frozenset[str]:
    """Check out the commit, and return the paths of its files."""
    commit = str(recorded.commit)
    _git(scratch.origin, "cat-file", "-e", f"{commit}^{{commit}}")
    scratch.folder.parent.mkdir()
    _git(scratch.origin, "clone", "--quiet", "--shared", "--no-checkout", str(scratch.origin), str(scratch.folder))
    _git(scratch.folder, "checkout", "--quiet", "--detach", commit)
    if recorded.remote:
        _git(scratch.folder, "remote", "set-url", "origin", recorded.remote)
    else:
        _git(scratch.folder, "remote", "remove", "origin")
    return frozenset(_git(scratch.folder, "ls-tree", "-r", "--name-only", "-z", commit).split("\0"))


def _with_diff(scratch: Scratch, diff: str) -> Scratch:
    """Apply what was not committed, file by file; of one that can't be patched the file of today is taken."""
    notes = []
    for part in re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE):
        if not part.startswith("diff --git "):
            continue
        name = part.partition("\n")[0].rpartition(" b/")[2]
        try:
            if re.search(r"^Binary files |^\[the diff was cut here", part, re.MULTILINE):
                raise _GitError("its diff is not kept")
            _git(scratch.folder, "apply", "--whitespace=nowarn", "-", stdin=part)
        except _GitError as error:
            today = scratch.origin / name
            if today.is_file():
                (scratch.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(today, scratch.folder / name)
            taken = "it is as it is today" if today.is_file() else "it is as it was committed"
            notes.append(f"{name} was changed and not committed, and {error}: {taken}")
    return replace(scratch, notes=(*scratch.notes, *notes))


def _git(folder: Path, *words: str, stdin: str | None = None) -> str:
    command = ["git", "--no-pager", "-C", str(folder), "-c", "core.hooksPath=/dev/null", *words]
    try:
        ended = subprocess.run(
            command, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL, capture_output=True,
            text=True, errors="surrogateescape", env=git_environment(), timeout=_PATIENCE,
        )  # fmt: skip
    except FileNotFoundError:
        raise _GitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise _GitError(f"git {words[0]} took longer than {_PATIENCE:g} s") from None
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"git {words[0]} failed"]
        raise _GitError(lines[-1].removeprefix("fatal: ").removeprefix("error: "))
    return ended.stdout


# --- what git doesn't know ---


def _with_others(scratch: Scratch, tracked: frozenset[str], ended: datetime) -> Scratch:
    """Copy what isn't of the commit."""
    changed: list[str] = []
    linked: list[tuple[Path, tuple[int, int]]] = []
    missing: list[str] = []
    count, left, since = 0, MOST, ended.timestamp() + _SOON
    for name in _files(scratch.origin):
        source, target = scratch.origin / name, scratch.folder / name
        if name in tracked or os.path.lexists(target):
            continue
        if (count := count + 1) > FILES:
            raise ReplayError(
                f"{scratch.origin} has more than {FILES:,} files, which are too many to copy: a project of its own, a "
                "folder with a .git or pyproject.toml, makes it small"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(_led_to(scratch, os.readlink(source)))
            continue
        found = _stat(source)
        if found[0] / 1e9 > since:
            changed.append(name)
        if found[1] > SMALL and found[1] > min(LARGE, left):
            target.symlink_to(source)
            linked.append((source, found))
            continue
        left -= found[1] if found[1] > SMALL else 0
        if not _copy(source, target):
            missing.append(name)
    notes = [*([_of_links(len(linked))] if linked else []), *([_of_missing(missing)] if missing else [])]
    return replace(
        scratch, changed=tuple(sorted(changed)), linked=tuple(linked), notes=(*scratch.notes, *notes)
    )  # fmt: skip


def _led_to(scratch: Scratch, place: str) -> str | Path:
    """Return where a link leads in the copy: one to a file of the project, to the copy of that."""
    return scratch.moved(place) if os.path.isabs(place) else place


def _of_links(count: int) -> str:
    several = "1 large file is a link" if count == 1 else f"{count} large files are links"
    return f"{several} to yours, and what the code writes there, it writes to yours"


def _of_missing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more} can't be read and {'is' if len(names) == 1 else 'are'} not in the copy"


def _files(folder: Path) -> Iterator[str]:
    """Yield the paths of a folder's files and links; nothing of environments, caches and our own folder."""
    for above, folders, names in os.walk(folder):
        links = [name for name in folders if Path(above, name).is_symlink()]
        folders[:] = sorted(
            name for name in folders if name not in {*NOT_OF_IT, *links} and not is_environment(Path(above, name))
        )
        for name in sorted([*names, *links]):
            path = Path(above, name)
            if path.is_symlink() or path.is_file():
                yield str(path.relative_to(folder))


def _copy(source: Path, target: Path) -> bool:
    """Copy a file, sharing its blocks where the file system can do that, and return whether it could be read."""
    try:
        a = source.open("rb")
    except (PermissionError, FileNotFoundError):  # nobody's business, or removed just now
        return False
    with a, target.open("wb") as b:
        try:
            fcntl.ioctl(b.fileno(), _FICLONE, a.fileno())
        except OSError:
            shutil.copyfileobj(a, b, 1 << 20)
    with suppress(OSError):
        shutil.copystat(source, target)
    return True


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def import_paths(scratch: Scratch, editable: Sequence[str]) -> tuple[str, ...]:
    """Return the folders of the copy that stand for those of editable packages, which would be imported as today.

    Args:
        scratch: The copy.
        editable: The folders that such packages were installed from.
    """
    found = []
    for folder in editable:
        moved = scratch.moved(folder)
        if moved != Path(folder):
            found += [str(one) for one in (moved / "src", moved) if one.is_dir()]
    return tuple(dict.fromkeys(found))
