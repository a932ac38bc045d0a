"""What keeps a process from writing into a folder, whatever its code does: for a proof, which may change nothing.

Python itself is asked before it opens, removes or renames a file (its audit events). Programs that the code starts, and
libraries that write without Python, aren't seen.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

FOLDER: Final = "ML_EXPERIMENT_PROTECTED"
"""The environment variable that names the folder."""
SPARED: Final = "ML_EXPERIMENT_SPARED"
"""The one that names a folder that may be written all the same, should it lie within."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS: Final = {
    "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),), "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.chmod": ((0, 2),), "os.utime": ((0, 3),),
    "os.truncate": ((0, None),), "shutil.rmtree": ((0, 1),), "sqlite3.connect": ((0, None),),
}  # fmt: skip
"""Of events that change files, which arguments are paths, and which the folders, open already, that these lie in."""


def protect(folder: str | None = None) -> None:
    """Have this process fail, with a PermissionError, where it would write into a folder; for good.

    Args:
        folder: The folder; by default the one that the environment names.
    """
    named = folder or os.environ.get(FOLDER)
    if named:
        root, spared = os.path.realpath(named), os.path.realpath(os.environ.get(SPARED) or os.devnull)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            for path in _written(event, args):
                _refuse(path, root, spared)

        sys.addaudithook(hook)


def _written(event: str, args: tuple[Any, ...]) -> list[Any]:
    if event == "open":
        path, mode, flags = args
        changes = isinstance(flags, int) and flags & _WRITES
        return [path] if changes or (isinstance(mode, str) and set(mode) & set("wax+")) else []
    places = _PATHS.get(event, ())
    return [
        _below(args[path], args[folder] if folder is not None and folder < len(args) else None)
        for path, folder in places
    ]


def _below(path: Any, folder: Any) -> Any:
    if not isinstance(folder, int) or folder < 0 or not isinstance(path, str | bytes):
        return path
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
    except OSError:
        return path


def _refuse(path: Any, root: str, spared: str) -> None:
    if not isinstance(path, str | bytes | os.PathLike):  # a descriptor that is open already
        return
    where = os.path.realpath(os.fsdecode(path))
    if _is_in(where, root) and not _is_in(where, spared) and not _is_of_a_program(os.path.relpath(where, root)):
        raise PermissionError(f"a proof changes no files of the project, and this would be written: {where}")


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_of_a_program(inside: str) -> bool:
    """Whether a path lies in a hidden folder, as programs have for what they keep: ``.cache`` where it is a home."""
    first, *rest = inside.split(os.sep)
    return first.startswith(".") and bool(rest)
