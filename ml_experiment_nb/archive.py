"""What can be read of a store: the records of its runs and their files, whichever way it is reached.

`Archive` is what every store answers. `Tables` reads a database by SQL and files from the disk, and imports no MLflow;
`tracking.Store` is MLflow's client, for all else.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ml_experiment_nb import sqlstore
from ml_experiment_nb.addresses import local_path
from ml_experiment_nb.drivers import folders
from ml_experiment_nb.projects import FOLDER
from ml_experiment_nb.readings import DataSet, Point, RunQuery
from ml_experiment_nb.records import Record

LOG = "record/log.txt"
SPEC = "record/spec.yaml"


class Archive(ABC):
    """The runs of a store, as they are read.

    Attributes:
        root: The project's root.
        uri: The store's address.
    """

    root: Path
    uri: str

    @abstractmethod
    def listed(self, wanted: RunQuery) -> list[Record]:
        """Return the records that are wanted.

        Raises:
            RunNotFoundError: There is no such experiment.
            StoreError: The store can't be reached.
        """

    @abstractmethod
    def record(self, run_id: str) -> Record:
        """Return the record of a run, by its id or the beginning of it.

        Raises:
            RunNotFoundError: None, or more than one, has it.
            StoreError: The store can't be reached.
        """

    @abstractmethod
    def history(self, record: Record, metric: str | None = None) -> list[Point]:
        """Return all that a run has reported of its metrics, or of one, in the order of their names and steps.

        Raises:
            StoreError: The store can't be reached.
        """

    @abstractmethod
    def data_sets(self, record: Record) -> list[DataSet]:
        """Return the data that a run says to have read.

        Raises:
            StoreError: The store can't be reached.
        """

    @abstractmethod
    def files(self, record: Record) -> dict[str, int]:
        """Return the paths of a run's artifacts, in order, and their sizes in bytes.

        Raises:
            StoreError: They can't be listed.
        """

    @abstractmethod
    def kept_content(self, record: Record, path: str) -> bytes | None:
        """Return one of the artifacts that the store has of a run; see `content`."""

    def records(
        self, *, experiment: str | None = None, parent_id: str | None = None, status: str | None = None,
        tags: Mapping[str, str] | None = None, limit: int | None = 50,
    ) -> list[Record]:  # fmt: skip
        """Return the newest runs first, with all of their tags.

        Args:
            experiment: Only those of this MLflow experiment.
            parent_id: Only the children of this run; of a trial that was tried again, the last try.
            status: Only those that ended so.
            tags: Only those with these tags.
            limit: At most so many.
        """
        tagged = tuple((tags or {}).items())
        return self.listed(RunQuery(experiment, None, parent_id, status, limit=limit, tags=True, tagged=tagged))

    def children(self, run_id: str) -> list[Record]:
        """Return the records of all runs that belong to a run, the oldest first."""
        return self.records(parent_id=run_id, limit=None)[::-1]

    def input_files(self, record: Record) -> dict[str, str]:
        """Return the digests of the local files that a run is recorded to have read, by their addresses."""
        found = [one for one in self.data_sets(record) if one.kind == "local"]
        return {json.loads(one.source)["uri"]: one.digest for one in found}

    def content(self, record: Record, path: str) -> bytes | None:
        """Return one of a run's artifacts, of one that goes on too; None when there is none, or it can't be read."""
        if ".." in PurePosixPath(path).parts or path.startswith("/"):
            return None
        live = folders(self.root / FOLDER) / str(record.run_id) / "artifacts" / path
        with suppress(OSError):
            return live.read_bytes()
        return self.kept_content(record, path)

    def text(self, record: Record, path: str) -> str | None:
        """Return the text of one of a run's artifacts; see `content`."""
        found = self.content(record, path)
        return None if found is None else found.decode(errors="replace").replace("\r\n", "\n")

    def kept(self, record: Record, name: str) -> str | None:
        """Return what the record of a run keeps under a name, or that of the group that a trial belongs to."""
        found = self.text(record, f"record/{name}")
        if found is None and record.kind == "trial" and record.parent_id:
            return self.text(self.record(record.parent_id), f"record/{name}")
        return found

    def log_text(self, record: Record) -> str:
        """Return what a run has printed so far."""
        return self.text(record, LOG) or ""

    def artifacts(self, record: Record) -> list[str]:
        """Return the paths of a run's artifacts.

        Raises:
            StoreError: They can't be listed.
        """
        return list(self.files(record))

    def digest(self, record: Record, path: str) -> str | None:
        """Return the SHA-256 of one of a run's artifacts; None when it can't be read."""
        found = self.content(record, path)
        return None if found is None else hashlib.sha256(found).hexdigest()


class Tables(Archive):
    """A store that is a database, read by SQL, and its files where they lie on the disk.

    Args:
        root: The project's root.
        uri: The store's address.
        otherwise: Opens it by MLflow's client, for what can't be read so: tables of another MLflow, files elsewhere.
    """

    def __init__(self, root: Path, uri: str, otherwise: Callable[[], Archive]) -> None:
        self.root = root
        self.uri = uri
        self._otherwise = otherwise

    def listed(self, wanted: RunQuery) -> list[Record]:
        """Return the records that are wanted; see `Archive.listed`."""
        found = sqlstore.listed(self.uri, wanted)
        return self._otherwise().listed(wanted) if found is None else found

    def record(self, run_id: str) -> Record:
        """Return the record of a run; see `Archive.record`."""
        return sqlstore.record(self.uri, run_id) or self._otherwise().record(run_id)

    def history(self, record: Record, metric: str | None = None) -> list[Point]:
        """Return what a run has reported; see `Archive.history`."""
        found = sqlstore.history(self.uri, record, metric)
        return self._otherwise().history(record, metric) if found is None else found

    def data_sets(self, record: Record) -> list[DataSet]:
        """Return the data that a run says to have read; see `Archive.data_sets`."""
        found = sqlstore.data_sets(self.uri, str(record.run_id))
        return self._otherwise().data_sets(record) if found is None else found

    def files(self, record: Record) -> dict[str, int]:
        """Return a run's artifacts and their sizes; see `Archive.files`."""
        folder = self._folder(record)
        if folder is not None:
            with suppress(OSError):  # MLflow's client says what is wrong with it
                return dict(sorted(_walk(folder)))
        return self._otherwise().files(record)

    def kept_content(self, record: Record, path: str) -> bytes | None:
        """Return one of the artifacts that the store has of a run; see `Archive.content`."""
        folder = self._folder(record)
        if folder is None:
            return self._otherwise().kept_content(record, path)
        with suppress(OSError):
            return (folder / path).read_bytes()
        return None

    def _folder(self, record: Record) -> Path | None:
        """Return the folder of a run's files, also where its project is mounted or was moved; None if it is no path."""
        folder = local_path(record.artifact_uri)
        if folder is None or folder.exists():
            return folder
        _, known, rest = str(folder).rpartition(f"/{FOLDER}/artifacts/")
        here = self.root / FOLDER / "artifacts" / rest
        return here if known and here.exists() else folder


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the files below a folder that is there, with their sizes."""

    def fail(error: OSError) -> None:
        raise error

    for where, _, names in os.walk(folder, followlinks=True, onerror=fail if folder.exists() else None):
        for name in names:
            file = Path(where, name)
            yield file.relative_to(folder).as_posix(), file.stat().st_size
