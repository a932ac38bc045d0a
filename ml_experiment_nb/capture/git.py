"""The git work tree that a run's code stands in: its commit, and what differs from it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ml_experiment_nb.addresses import without_credentials

TIMEOUT = 5.0  # seconds that one git command may take
MAX_DIFF = 1_000_000  # bytes of diff that are kept
MAX_UNTRACKED = 1000

_MAX_OUTPUT = 4_000_000  # bytes read of any other command
# Set by git for its hooks: they would point every command at the hook's repository.
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE")
_DIFF = (
    *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index"),
    *("--submodule=short", "--ignore-submodules=untracked", "--src-prefix=a/", "--dst-prefix=b/"),
)


@dataclass(frozen=True)
class GitState:
    """A work tree at one moment.

    Attributes:
        commit: The commit that is checked out; None before the first one.
        branch: The branch that is checked out; None when HEAD is detached.
        remote: The URL of `origin` without its credentials, if there is one.
        root: The work tree's top folder.
        dirty: Whether a tracked file, staged or not, differs from the commit.
        diff: What differs from the commit, or is staged before the first one, as `git apply` reads it. A
            binary file is only named, and of a submodule the commit is given. Longer than `MAX_DIFF` bytes,
            it is cut, and its last line says so.
        changed: The paths below `root` of the tracked files that differ from the commit, by their names of now.
        untracked: Untracked, not ignored paths below `root`, at most `MAX_UNTRACKED`. A folder with nothing
            tracked in it is one path that ends in ``/``.
    """

    commit: str | None
    branch: str | None
    remote: str | None
    root: str
    dirty: bool
    diff: str
    untracked: tuple[str, ...]
    changed: tuple[str, ...] = ()


def is_tracked(root: Path, name: str) -> bool:
    """Return whether git has a file of a work tree, or is about to: one that it ignores it has not.

    Args:
        root: The work tree's top folder.
        name: The file's path below it.
    """
    try:
        return bool(_git(root, "--literal-pathspecs", "ls-files", "-z", "--", name))
    except (_GitError, OSError):
        return True  # it can't be told


def git_state(folder: Path, *, notes: list[str] | None = None) -> GitState | None:
    """Return the state of the work tree that `folder` is in, or None when it is in none.

    Nothing in the repository is written or locked, and no daemon is started.

    Args:
        folder: A folder in the work tree.
        notes: Gets a sentence for each thing that should have been recorded and isn't. A folder outside any
            work tree is no such thing.
    """
    notes = [] if notes is None else notes
    try:
        return _read(folder, notes)
    except _GitError as error:
        if error.note:
            notes.append(error.note)
    except FileNotFoundError:
        notes.append("git is not installed: no commit is recorded")
    except Exception as error:  # no repository is so broken that a run isn't recorded
        notes.append(f"no commit is recorded: {error}")
    return None


class _GitError(Exception):
    """A git command failed; `note` is empty when that only means that there is nothing to record."""

    def __init__(self, note: str) -> None:
        super().__init__(note)
        self.note = note


def _read(folder: Path, notes: list[str]) -> GitState:
    """Read the state in three commands at once, and a fourth when the tree is dirty."""
    with ThreadPoolExecutor(2) as pool:
        asked, remote = pool.submit(_git, folder, "rev-parse", "--show-toplevel"), pool.submit(_remote, folder)
        status = _git(
            *(folder, "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z"),
            *("--untracked-files=normal", "--ignore-submodules=untracked"),
        )
    headers, changed, untracked = _parse_status(_text(status))
    root = _text(asked.result()).removesuffix("\n")
    commit, branch = headers.get("branch.oid"), headers.get("branch.head")
    born = commit != "(initial)"
    if len(untracked) > MAX_UNTRACKED:
        notes.append(f"git: of the untracked files only the first {MAX_UNTRACKED} are recorded")
    return GitState(
        commit=commit if born else None,
        branch=branch if branch != "(detached)" else None,
        remote=remote.result(),
        root=root,
        dirty=bool(changed),
        diff=_diff(Path(root), "HEAD" if born else "--cached", notes) if changed else "",
        untracked=tuple(untracked[:MAX_UNTRACKED]),
        changed=tuple(changed),
    )


def _parse_status(text: str) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the headers, the tracked paths that changed, and the untracked ones of ``status -z`` output."""
    headers: dict[str, str] = {}
    untracked: list[str] = []
    changed: list[str] = []
    entries = iter(text.split("\0")[:-1])
    for entry in entries:
        match entry[:2]:
            case "# ":
                key, _, value = entry[2:].partition(" ")
                headers[key] = value
            case "? ":
                untracked.append(entry[2:])
            case "2 ":
                changed.append(_path(entry, 9))
                next(entries, None)  # a rename's old path is an entry of its own
            case "u ":
                changed.append(_path(entry, 10))
            case _:
                changed.append(_path(entry, 8))
    return headers, changed, untracked


def _path(entry: str, fields: int) -> str:
    """Return the path of an entry, which stands behind a number of fields."""
    return entry.split(" ", fields)[-1]


def _remote(folder: Path) -> str | None:
    try:
        return without_credentials(_text(_git(folder, "config", "--get", "remote.origin.url")).strip())
    except _GitError:
        return None


def _diff(root: Path, against: str, notes: list[str]) -> str:
    try:
        diff = _git(root, *_DIFF, against, limit=MAX_DIFF)
    except _GitError as error:
        notes.append(f"the diff is not recorded: {error.note}")
        return ""
    if len(diff) <= MAX_DIFF:
        return _text(diff)
    notes.append(f"git: the diff is longer than {MAX_DIFF:,} bytes and was cut")
    whole_lines = diff[: diff.rfind(b"\n", 0, MAX_DIFF) + 1]
    return _text(whole_lines) + f"[the diff was cut here: it is longer than {MAX_DIFF:,} bytes]\n"


def _git(folder: Path, *arguments: str, limit: int = _MAX_OUTPUT) -> bytes:
    """Return what a git command prints, and when that is more than `limit` bytes, its first ``limit + 1``."""
    command = ["git", "--no-pager", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, env=git_environment()
        )
        output = _read_at_most(process, limit)
        complaints.seek(0)
        complaint = _text(complaints.read())
    if process.returncode and len(output) <= limit:
        killed = process.returncode < 0
        raise _GitError(f"git took longer than {TIMEOUT:g} s" if killed else _explain(complaint, folder))
    return output


def _read_at_most(process: subprocess.Popen[bytes], limit: int) -> bytes:
    """Read up to ``limit + 1`` bytes; a process that has more, or that takes too long, is killed."""
    alarm = threading.Timer(TIMEOUT, process.kill)
    alarm.daemon = True
    alarm.start()
    with process:
        try:
            assert process.stdout is not None
            output = process.stdout.read(limit + 1)
            if len(output) <= limit:
                process.wait()
        finally:
            alarm.cancel()
            process.kill()  # does nothing to one that has ended
    return output


def git_environment() -> dict[str, str]:
    """Return the environment of a git command that locks nothing, asks nothing and is not pointed at another place."""
    kept = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    return kept | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _explain(complaint: str, folder: Path) -> str:
    if "not a git repository" in complaint or "must be run in a work tree" in complaint:
        return ""
    if "safe.directory" in complaint:
        return (
            f"git does not trust the repository of {folder}, which belongs to another user: no commit is "
            "recorded. `git config --global --add safe.directory FOLDER` allows it"
        )
    return f"git: {complaint.strip().partition(chr(10))[0] or 'failed without a word'}"


def _text(output: bytes) -> str:
    return output.decode(errors="replace")
