"""The files of a group on a node that doesn't see those of its driver: copies of them, and what goes back."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ml_experiment_nb.events import Note
from ml_experiment_nb.paths import is_elsewhere
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.targets import Notebook, Script, Target

CHUNK = 4 << 20  # bytes of a file that travel at once


@dataclass(frozen=True)
class Piece:
    """A part of a file that a task has left: the driver puts it where the file is wanted.

    Attributes:
        path: Where that is, on the driver's machine.
        data: The bytes; None for a folder.
        first: Whether the file begins with them.
    """

    path: str
    data: bytes | None
    first: bool = True

    def put(self) -> None:
        """Write it.

        Raises:
            OSError: It can't be written.
        """
        if self.data is None:
            os.makedirs(self.path, exist_ok=True)
            return
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "wb" if self.first else "ab") as file:
            file.write(self.data)


class Copies:
    """A folder of this node that stands for the driver's files."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="mlexp-node-"))
        self._places: dict[Path, Path] = {}  # of the driver's, and of ours in their stead
        self._all = False  # whether they stand for the project too, and not for the values alone

    def unpack(self, chunks: Iterable[bytes], working_dir: str | None) -> None:
        """Take the archive of the driver's files.

        Args:
            chunks: The archive.
            working_dir: The driver's folder that this process's working directory stands for, if Ray sent it.
        """
        archive = self._take("archive", chunks)
        with tarfile.open(archive) as found:
            found.extractall(self._home / "files", filter="tar")
        archive.unlink()
        if working_dir is not None:
            self._places[Path(working_dir)] = Path.cwd()
        self._places[Path("/")] = self._home / "files"
        self._all = True

    def take_payload(self, path: str, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Take the file of values that travel, once."""
        if Path(path) not in self._places:
            self._places[Path(path)] = self._take(Path(path).name, chunks())

    def of(self, task: Task) -> Task:
        """Return a task as it can be performed here."""
        payload = None if task.payload is None else str(self._here(task.payload))
        if not self._all:
            return replace(task, payload=payload)
        folder = self._home / "runs" / uuid.uuid4().hex
        self._places[Path(task.folder)] = folder
        root = task.env.get("ML_EXPERIMENT_ROOT")
        path = [here for one in task.path if (here := self._here(one)).exists()]
        return replace(
            task,
            cwd=str(self._here(task.cwd)),
            path=tuple(map(str, path)),
            steps=tuple(Step(self._target(step.target), step.params) for step in task.steps),
            payload=payload,
            output=str(folder / "output.ipynb") if _is_file(task.output) else task.output,
            env={**task.env, **({"ML_EXPERIMENT_ROOT": str(self._here(root))} if root else {})},
            folder=str(folder),
        )

    def pieces(self, task: Task) -> Iterator[Sequence[Piece | Note]]:
        """Yield what a task has left, in pieces, and remove it here."""
        if not self._all:
            return
        folder = self._places.pop(Path(task.folder))
        artifacts = folder / "artifacts"
        places = [
            (one, os.path.join(task.folder, str(one.relative_to(folder)))) for one in sorted(artifacts.rglob("*"))
        ]
        if task.output is not None and _is_file(task.output):
            places.append((folder / "output.ipynb", task.output))
        for one, place in places:
            try:
                for piece in _pieces(one, place):
                    yield [piece]
            except OSError as error:
                yield [Note(f"{os.path.basename(place)} could not be brought back: {error}")]
        shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove all that was sent."""
        shutil.rmtree(self._home, ignore_errors=True)

    def _take(self, name: str, chunks: Iterable[bytes]) -> Path:
        path = self._home / name
        with path.open("wb") as file:
            file.writelines(chunks)
        return path

    def _here(self, path: str) -> Path:
        """Return our own path in place of one of the driver's."""
        given = Path(path)
        for one in (given, *given.parents):
            if (here := self._places.get(one)) is not None:
                return here / given.relative_to(one)
        return given

    def _target(self, target: Target) -> Target:
        match target:
            case Notebook(is_elsewhere=True):
                return target.fetched(str(self._here(str(target.file))))
            case Script() | Notebook():
                return target.model_copy(update={"path": str(self._here(target.path))})
        return target


def _pieces(path: Path, place: str) -> Iterator[Piece]:
    if path.is_dir():
        yield Piece(place, None)
    elif path.is_file():
        with path.open("rb") as file:
            yield Piece(place, file.read(CHUNK))
            while data := file.read(CHUNK):
                yield Piece(place, data, first=False)


def _is_file(output: str | None) -> bool:
    return output is not None and not is_elsewhere(output)


class Beacon:
    """Files by which a node can tell whether it sees those of the driver.

    Args:
        root: The project's ``.ml-experiment`` folder.
        paths: Files and folders that the tasks read.
    """

    def __init__(self, root: Path, paths: Iterable[Path]) -> None:
        self._marks: list[str] = []
        for folder in (root, Path(tempfile.gettempdir())):
            descriptor, mark = tempfile.mkstemp(prefix="beacon-", dir=folder)
            os.close(descriptor)
            self._marks.append(mark)
        self._looks = {str(path): _look(str(path)) for path in paths}

    def seen(self) -> tuple[bool, bool]:
        """Return whether the process that asks sees the project's files, and the temporary ones."""
        project, temporary = map(os.path.exists, self._marks)
        return project and all(_look(path) == look for path, look in self._looks.items()), temporary

    def end(self) -> None:
        """Remove the files."""
        for mark in self._marks:
            with suppress(OSError):
                os.unlink(mark)


def _look(path: str) -> tuple[int, ...]:
    """Return what a folder, or a file, is known by on every machine that sees it."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_ino,) if os.path.isdir(path) else (found.st_ino, found.st_size, found.st_mtime_ns)
