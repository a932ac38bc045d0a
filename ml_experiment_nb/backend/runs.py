"""What is answered of runs, and done to them."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ml_experiment_nb.addresses import local_path
from ml_experiment_nb.archive import Archive, Tables
from ml_experiment_nb.backend import places
from ml_experiment_nb.backend.asks import ComparisonAsked, DiffAsked, FormAsked, Nothing, RunsAsked
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.drivers import folders
from ml_experiment_nb.projects import FOLDER
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.submissions import end_of
from ml_experiment_nb.whole_files import write_whole

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record

LISTED = 5000  # files of one run, at most
LARGEST = 64_000_000  # bytes of one file
TAIL = 200_000  # bytes of a log's end
EXECUTED = "executed"  # where notebooks are copied that JupyterLab can't open as they lie


@dataclass(frozen=True)
class Where:
    """Where a question comes from.

    Attributes:
        root: The server's own folder, below which all is that a page may name.
        folder: The folder that was asked in.
        route: The parts of the address that name something, such as ``run``.
    """

    root: Path
    folder: Path
    route: dict[str, str]

    @property
    def run(self) -> str:
        """The id of the run that is asked for."""
        return self.route["run"]


@dataclass(frozen=True)
class Content:
    """A file that is the answer. `is_temporary`: whoever has read it removes its folder."""

    path: Path
    is_temporary: bool = False


def listing(project: Project, where: Where, asked: RunsAsked) -> dict[str, Any]:
    """List runs, the newest first."""
    from ml_experiment_nb.listing import listed

    end = asked.offset + asked.limit
    which = wanted(
        experiment=asked.experiment, kind=asked.kind, status=asked.status, condition=asked.where,
        order_by=asked.order_by, limit=end + 1,
    )  # fmt: skip
    found = listed(project.root, which, group=asked.group)
    return {"runs": [one_run(record) for record in found[asked.offset : end]], "more": len(found) > end}


def one_run(record: Record) -> dict[str, Any]:
    """Return a record as it is answered with."""
    made: dict[str, Any] = json.loads(record.to_json())
    return made


def run(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Give a run's record."""
    store = project.archive()
    record = store.record(where.run)
    if not isinstance(store, Tables) and project.store().is_deleted(where.run):
        raise Refused(404, f"{record.name} ({where.run[:8]}) was deleted; it can be restored")
    return one_run(record)


def log(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Give the end of what a run has printed."""
    from ml_experiment_nb.archive import LOG  # MLflow takes seconds to import

    store = project.archive()
    record = store.record(where.run)
    for folder in filter(None, (_live(store, record), local_path(record.artifact_uri))):
        with suppress(OSError):  # it isn't there
            text, whole = end_of(folder / LOG, TAIL)
            return {"text": text.replace("\r\n", "\n"), "whole": whole}
    text = store.log_text(record)
    return {"text": text[-TAIL:], "whole": len(text) <= TAIL}


def metrics(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Give the histories of a run's metrics."""
    from ml_experiment_nb.backend.curves import curves

    store = project.archive()
    return {"metrics": curves(store.history(store.record(where.run)))}


def artifacts(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """List a run's files."""
    store = project.archive()
    found = _files(store, store.record(where.run))
    some = list(found.items())[:LISTED]
    return {"artifacts": [{"path": path, "size": size} for path, size in some], "whole": len(some) == len(found)}


def artifact(project: Project, where: Where, asked: Nothing) -> Content:
    """Give one of a run's files."""
    store = project.archive()
    record, path = store.record(where.run), places.artifact(where.route["file"])
    for folder in filter(None, (_live(store, record), local_path(record.artifact_uri))):
        if places.is_there(folder / path):
            found = places.inside(folder.resolve(), path, "the path")
            _check_size(path, found.stat().st_size)
            return Content(found)
    local = local_path(record.artifact_uri)
    sizes = {} if local is not None and local.exists() else store.files(record)
    if path not in sizes:
        raise Refused(404, f"{record.name} ({where.run[:8]}) has no file {path!r}")
    _check_size(path, sizes[path])
    return _fetched(store, record, path)


def form(project: Project, where: Where, asked: FormAsked) -> dict[str, Any]:
    """Give what a run was asked by."""
    from ml_experiment_nb.archive import SPEC
    from ml_experiment_nb.command_requests.forms import form_of

    store = project.archive()
    record = store.record(where.run)
    found = form_of(record, store.text(record, SPEC), asked.as_, partial(store.kept, record))
    return {"text": found.text.rstrip("\n") + "\n", "losses": list(found.losses)}


def notebook(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Say where a run's executed notebook can be opened, copied where it can't be as it lies."""
    store = project.archive()
    record = store.record(where.run)
    path = _executed(_files(store, record))
    if path is None:
        raise Refused(404, f"{record.name} ({where.run[:8]}) has kept no executed notebook")
    local = local_path(record.artifact_uri)
    as_it_lies = places.shown(where.root, local / path) if local is not None else None
    if as_it_lies is not None and not any(part.startswith(".") for part in PurePosixPath(as_it_lies).parts):
        return {"path": as_it_lies}
    content = store.content(record, path)
    if content is None:
        raise Refused(503, f"{path} of {record.name} can't be read")
    name = f"{EXECUTED}/{PurePosixPath(path).stem}-{where.run[:8]}.ipynb"
    file = places.inside(where.root, f"{places.shown(where.root, where.folder)}/{name}", EXECUTED)
    try:
        if not file.parent.exists():
            file.parent.mkdir()
            file.with_name(".gitignore").write_text("*\n")  # looking at a run leaves the work tree clean
        _put(file, content)
    except OSError as error:
        raise Refused(409, f"the notebook can't be written to {file.parent}: {error.strerror}") from None
    return {"path": places.shown(where.root, file)}


def page(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Say where a run is in MLflow's page."""
    return {"address": project.page(project.archive().record(where.run).run_id or "")}


def start_page(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Say it, and start that page if it isn't there."""
    return {"address": project.page(project.store().record(where.run).run_id or "", start=True)}


def stop(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Stop a run, and wait until it has ended."""
    from ml_experiment_nb import groups

    store = project.store()
    before = store.record(where.run)
    record = groups.stop(where.run, store=store)
    had = "had" if before.status.ended else "has"
    return {"text": f"{record.name} ({where.run[:8]}) {had} ended: {record.status}"}


def delete(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Delete a run, a group with its trials."""
    from ml_experiment_nb import removal

    return {"runs": removal.delete(project.store(), where.run)}


def restore(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Bring back what `delete` has deleted."""
    from ml_experiment_nb import removal

    return {"runs": removal.restore(project.store(), where.run)}


def compare(project: Project, where: Where, asked: ComparisonAsked) -> dict[str, Any]:
    """Lay runs side by side."""
    from ml_experiment_nb.comparison.view import compare as compared

    return {"html": compared(*asked.runs.split(","), store=project.archive())._repr_html_()}


def diff(project: Project, where: Where, asked: DiffAsked) -> dict[str, Any]:
    """Say why two runs differ."""
    from ml_experiment_nb.comparison.differences import differences
    from ml_experiment_nb.comparison.evidence import read_both
    from ml_experiment_nb.comparison.shown import as_html

    return {"html": as_html(differences(*read_both(project.archive(), asked.a, asked.b)))}


# --- a run's files ---


def _files(store: Archive, record: Record) -> dict[str, int]:
    """Return the paths and sizes of a run's files; of one that goes on, those that are there already."""
    found = {} if not record.status.ended and local_path(record.artifact_uri) is not None else store.files(record)
    live = _live(store, record)
    with suppress(OSError):
        found |= {path.relative_to(live).as_posix(): path.stat().st_size for path in live.rglob("*") if path.is_file()}
    return dict(sorted(found.items()))


def _live(store: Archive, record: Record) -> Path:
    """Return where the files of a run are that goes on; it may not be there."""
    return folders(store.root / FOLDER) / str(record.run_id) / "artifacts"


def _check_size(path: str, size: int) -> None:
    if size > LARGEST:
        raise Refused(413, f"{path} is of {size:,} bytes, and {LARGEST:,} are sent at most: fetch it by MLflow's page")


def _fetched(store: Archive, record: Record, path: str) -> Content:
    content = store.content(record, path)
    if content is None:
        raise Refused(503, f"{path} of {record.name} can't be read")
    file = Path(tempfile.mkdtemp(prefix="mlexp-"), PurePosixPath(path).name)
    try:
        file.write_bytes(content)
    except OSError as error:
        shutil.rmtree(file.parent, ignore_errors=True)
        raise Refused(503, f"{path} can't be fetched: {error.strerror}") from None
    return Content(file, is_temporary=True)


def _put(file: Path, content: bytes) -> None:
    """Write a copy, or write it again where the run has gone on since; what somebody has edited stays."""
    written = file.with_name(f".{file.stem}.sha256")  # of what was written last
    if file.exists():
        there = file.read_bytes()
        if there == content or not written.exists() or written.read_text() != sha256(there).hexdigest():
            return
    write_whole(written, sha256(content).hexdigest())
    write_whole(file, content)


def _executed(files: dict[str, int]) -> str | None:
    """Return which of a run's files is its executed notebook: of several the last, as they ran in that order."""
    found = [path for path in files if path.endswith(".ipynb") and not path.startswith("record/")]
    sessions = [path for path in ("record/session.ipynb", "record/slice.ipynb") if path in files]
    return (found[-1:] or sessions[:1] or [None])[0]
