"""Files and folders as a page names them: below the server's own folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.projects import find_root

_LONGEST = 4096


def inside(root: Path, asked: str, name: str) -> Path:
    """Return the path that `asked` names below a folder, wherever links lead.

    Args:
        root: The folder; it is resolved.
        asked: The path, with slashes.
        name: What to call it in an error.

    Raises:
        Refused: It is no path, or leads out of the folder.
    """
    if len(asked) > _LONGEST or not asked.isprintable():
        raise Refused(400, f"{name} is no path")
    try:
        found = (root / asked.strip("/")).resolve()
    except (OSError, RuntimeError, ValueError):
        raise Refused(400, f"{name} is no path") from None
    if not found.is_relative_to(root):
        raise Refused(403, f"{name} leads out of the server's folder")
    return found


def folder(root: Path, asked: str) -> Path:
    """Return the folder that ``path`` names.

    Raises:
        Refused: There is none.
    """
    found = inside(root, asked, "path")
    if not is_there(found, folder=True):
        raise Refused(404, f"there is no folder {asked!r}")
    return found


def project(folder: Path) -> Path:
    """Return the root of a folder's project.

    Raises:
        Refused: The folder can't be looked into.
    """
    try:
        return find_root(folder)
    except OSError as error:
        raise Refused(403, f"the folder can't be looked into: {error.strerror}") from None


def notebook(root: Path, asked: str) -> Path:
    """Return the notebook that a page names.

    Raises:
        Refused: There is none.
    """
    found = inside(root, asked, "notebook")
    if found.suffix != ".ipynb":
        raise Refused(400, f"notebook is no notebook's name: {asked[:200]!r} doesn't end in .ipynb")
    if not is_there(found):
        raise Refused(404, f"there is no notebook {asked!r}: save it first")
    return found


def shown(root: Path, path: Path | str | None) -> str | None:
    """Return a path as a page names it; None for one that isn't below the server's folder."""
    if path is None or not Path(path).is_relative_to(root):
        return None
    return Path(path).relative_to(root).as_posix()


def artifact(asked: str) -> str:
    """Return the path of one of a run's files.

    Raises:
        Refused: It is none, or leads out of the run's files.
    """
    parts = PurePosixPath(asked).parts
    if not parts or len(asked) > _LONGEST or not asked.isprintable() or "\\" in asked:
        raise Refused(400, "that is no file's path")
    if asked.startswith("/") or ".." in parts:
        raise Refused(403, "the path leads out of the run's files")
    return str(PurePosixPath(*parts))


def is_there(path: Path, *, folder: bool = False) -> bool:
    """Return whether there is such a file, or folder, that may be looked at."""
    try:
        return path.is_dir() if folder else path.is_file()
    except OSError:
        return False
