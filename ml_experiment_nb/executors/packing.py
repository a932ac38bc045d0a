"""What a node that doesn't see this machine's files is sent: the project's folder, scripts beside it, named data.

What git ignores, or a ``.rayignore`` in its place, stays here, and so does what no code needs: environments, caches,
recorded runs.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ray._private.thirdparty.pathspec.pathspec import PathSpec

from ml_experiment_nb.datasets import listed
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import NOT_OF_IT, is_environment
from ml_experiment_nb.records import size
from ml_experiment_nb.targets import Notebook, Script

LIMIT = 100_000_000
"""Bytes that a project may have to be sent."""

_IGNORES = (".gitignore", ".rayignore")


@dataclass(frozen=True)
class Belongings:
    """What a plan's tasks read of this machine.

    Attributes:
        trees: Folders, none of them inside another.
        files: Single files, whether a tree has them or not.
        working_dir: What Ray itself sends as the working directory, or the folder that it stands for.
        excludes: Patterns, as in a ``.gitignore``, of what a tree keeps to itself.
    """

    trees: tuple[Path, ...]
    files: tuple[Path, ...] = ()
    working_dir: Path | None = None
    excludes: tuple[str, ...] = ()


def belongings(plan: Plan, root: Path) -> Belongings:
    """Return what a plan's tasks read: the project, or the working directory outside of one, and their targets."""
    cwd = Path(plan.cwd)
    runtime_env = runtime_env_of(plan)
    sent = runtime_env.get("working_dir")
    working_dir = None if sent is None else cwd if "://" in str(sent) else Path(sent).absolute()
    targets = [Path(target.path) for target in plan.targets if isinstance(target, Script)]
    notebooks = [target for target in plan.targets if isinstance(target, Notebook)]
    targets += [target.file for target in notebooks if not target.is_elsewhere]
    folders = [root if cwd.is_relative_to(root) else cwd, *(path.parent for path in targets)]
    held = [working_dir] if working_dir is not None else []
    trees: list[Path] = []
    for folder in folders if working_dir is None else folders[1:]:
        if not any(folder.is_relative_to(one) for one in (*trees, *held)):
            trees = [one for one in trees if not one.is_relative_to(folder)] + [folder]
    fetched = [target.file for target in notebooks if target.is_elsewhere]
    excludes = tuple(runtime_env.get("excludes") or ()) if working_dir is None else ()  # else they are Ray's to heed
    return Belongings(tuple(trees), (*fetched, *_data(plan)), working_dir, excludes)


def runtime_env_of(plan: Plan) -> dict[str, Any]:
    """Return the ``runtime_env`` that a spec gives Ray."""
    config = plan.spec.ray_config
    return dict((config.model_extra or {}).get("runtime_env") or {}) if config is not None else {}


def pack(what: Belongings, file: IO[bytes]) -> None:
    """Write an archive of belongings.

    Raises:
        ExecutorError: They are too large; it says what is largest, and what to do.
    """
    paths = list(dict.fromkeys([path for tree in what.trees for path in contents(tree, what.excludes)]))
    paths = list(dict.fromkeys([*paths, *what.files]))
    sizes = {path: path.lstat().st_size for path in paths}
    if (total := sum(sizes.values())) > LIMIT:
        largest = ", ".join(f"{path} ({size(sizes[path])})" for path in sorted(sizes, key=lambda p: -sizes[p])[:3])
        raise ExecutorError(
            f"{', '.join(map(str, what.trees))} has {size(total)}, and at most {size(LIMIT)} are sent to nodes that "
            f"don't see it; the largest: {largest}. Keep it on a file system that all nodes share, or name what they "
            "don't need in .gitignore, .rayignore or ray_config.runtime_env.excludes"
        )
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path in paths:
            archive.add(path, arcname=str(path).lstrip("/"), recursive=False)


def contents(tree: Path, excludes: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a folder's files and folders, without those that are ignored."""
    yield from _walk(tree, [(tree, PathSpec.from_lines("gitwildmatch", excludes))])


def _walk(folder: Path, ignored: list[tuple[Path, Any]]) -> Iterator[Path]:
    lines = [line for name in _IGNORES if (file := folder / name).is_file() for line in _lines(file)]
    ignored = [*ignored, (folder, PathSpec.from_lines("gitwildmatch", lines))] if lines else ignored
    yield folder
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            path = Path(entry.path)
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name in NOT_OF_IT or any(_matches(spec, path, above, is_folder) for above, spec in ignored):
                continue
            if is_folder and not is_environment(path):
                yield from _walk(path, ignored)
            elif entry.is_file() or entry.is_symlink():
                yield path


def _matches(spec: Any, path: Path, above: Path, is_folder: bool) -> bool:
    """Return whether the last pattern that matches says so, as git has it."""
    name = str(path.relative_to(above))
    names = (name, name + "/") if is_folder else (name,)
    for pattern in reversed(spec.patterns):
        if pattern.include is not None and any(pattern.regex.match(one) for one in names):
            return bool(pattern.include)
    return False


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines()


def _data(plan: Plan) -> Iterator[Path]:
    """Yield the files that a spec names as its data: they are sent even if git ignores them."""
    data = plan.spec.data
    if data is None:
        return
    for one in listed(data, Path(plan.spec.root_path or plan.cwd)):
        yield from one.files
