"""What is known of a run, read from the store for a comparison."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException

from ml_experiment_nb import writing
from ml_experiment_nb.comparison.differences import Evidence
from ml_experiment_nb.comparison.texts import is_notebook
from ml_experiment_nb.errors import RunNotFoundError
from ml_experiment_nb.projects import find_root, has_store
from ml_experiment_nb.records import Record, size
from ml_experiment_nb.stores import translated
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store

WAIT = 5.0  # seconds
LARGEST = 50_000_000  # bytes of a file that is read to see whether it is the same
_OURS = "record/"
_SOURCE = "record/source/"


def opened() -> Store:
    """Return the project's store; looking makes none.

    Raises:
        RunNotFoundError: There is none yet.
    """
    root = find_root()
    if not has_store(root):
        raise RunNotFoundError(f"nothing is recorded in {root} yet")
    writing.wait(WAIT)  # the last cell's run may still be written
    store = Store(root)
    sweep(store)
    return store


def read_both(store: Store, a: str | Record, b: str | Record) -> tuple[Evidence, Evidence]:
    """Read what is known of two runs; of their files, no more than is needed to tell them apart.

    Raises:
        RunNotFoundError: There is no such run, or more than one.
        StoreError: The store can't be reached.
    """
    records = [_record(store, one) for one in (a, b)]
    lists = [_list(store, record) for record in records]
    doubtful = {path for path, amount in lists[0].items() if lists[1].get(path) == amount and amount <= LARGEST}
    return (
        _evidence(store, records[0], lists[0], doubtful),
        _evidence(store, records[1], lists[1], doubtful),
    )


def _record(store: Store, run: str | Record) -> Record:
    """Return a run as the store has it: all that is compared is text then."""
    if isinstance(run, str):
        return store.record(run)
    if run.run_id is None:
        raise RunNotFoundError(f"{run.name} is a job: it was not recorded, and can't be compared")
    return store.record(run.run_id)


def _list(store: Store, record: Record) -> dict[str, int]:
    """Return a run's files and their sizes in bytes."""
    found: dict[str, int] = {}
    folders: list[str | None] = [None]
    with translated(store.uri):
        while folders:
            for one in _content(store, record, folders.pop()):
                if one.is_dir:
                    folders.append(one.path)
                else:
                    found[one.path] = int(one.file_size or 0)
    return dict(sorted(found.items()))


def _content(store: Store, record: Record, folder: str | None) -> list[FileInfo]:
    found: list[FileInfo] = store.client.list_artifacts(str(record.run_id), folder)
    return found


def _evidence(store: Store, record: Record, sizes: Mapping[str, int], doubtful: set[str]) -> Evidence:
    own = {path: amount for path, amount in sizes.items() if not path.startswith(_OURS)}
    executed = [path for path in own if is_notebook(path)]
    sources = [path for path in sizes if path.startswith(_SOURCE)]
    return Evidence(
        record,
        sources={path.removeprefix(_SOURCE): store.text(record, path) or "" for path in sources},
        notebooks={path: store.text(record, path) or "" for path in executed},
        packages=_packages(store.text(record, "record/requirements.txt") or ""),
        git_diff=(store.text(record, "record/git.diff") or "") if "record/git.diff" in sizes else "",
        data=_data(store, record),
        files={
            path: size(amount) + (_digest(record, path) if path in doubtful else "")
            for path, amount in own.items()
            if path not in executed
        },
    )


def _packages(text: str) -> dict[str, str]:
    """Return the packages of a list of requirements, each with what stands behind its name."""
    found = {}
    for line in text.splitlines():
        words = line.partition("#")[0].strip()
        for mark in ("==", " @ "):
            if mark in words:
                name, _, rest = words.partition(mark)
                found[name.strip()] = rest.strip()
                break
    return found


def _data(store: Store, record: Record) -> dict[str, str]:
    with translated(store.uri):
        inputs = store.client.get_run(str(record.run_id)).inputs
    return {one.dataset.name: one.dataset.digest for one in (inputs.dataset_inputs if inputs else ())}


def _digest(record: Record, path: str) -> str:
    """Return what tells a file's content, for one that may be the other run's too."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = Path(download_artifacts(artifact_uri=f"{record.artifact_uri}/{path}", dst_path=folder))
            with found.open("rb") as file:
                return f" sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
        except (MlflowException, OSError):
            return " (can't be read)"
