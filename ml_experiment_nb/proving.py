"""The process that proves a run: ``python -m ml_experiment_nb.proving FOLDER``, started by the kernel that asks for it.

It runs the slice of the session in a new kernel, in a copy of the project's folder and with a store of its own,
compares what came of it, and tags the run. It ends when the kernel that asked for it does, and says so in the tags.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ml_experiment_nb import secrecy, sqlstore
from ml_experiment_nb.events import Done
from ml_experiment_nb.masking import masked
from ml_experiment_nb.observing import ObservingOptions
from ml_experiment_nb.observing.seeding import UNSEEDED
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.plans import prepared
from ml_experiment_nb.projects import FOLDER, NOT_OF_IT, SOCKETS, STORE, home, is_environment
from ml_experiment_nb.proofs import (
    Finding,
    Proof,
    ProofAnswer,
    Ran,
    changed_cells,
    clean_text,
    differing,
    hidden,
    judged,
    order_of,
)
from ml_experiment_nb.readings import RunQuery
from ml_experiment_nb.records import Outcome, Record, Status
from ml_experiment_nb.session import as_proven, saved_notebook
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.verdicts import metric_differences
from ml_experiment_nb.work import guard
from ml_experiment_nb.work.process import Running

FILE: Final = "request.json"
HELD: Final = "lock"  # in a request's folder: locked as long as its process lives
PLACE: Final = "place"  # there, too: where the copy is that the process has made
PREFIX: Final = "mlexp-proof-"
LOCK: Final = "proofs.lock"
EXECUTED: Final = "proof.ipynb"

_LARGE = 64 << 20  # bytes of a file that is linked, and not copied
_MOST = 1 << 30  # bytes that are copied
_MANY = 20_000  # files that are
_OF_THE_RUN = (
    "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "ML_EXPERIMENT_RUN",
    "ML_EXPERIMENT_SOCKET",
)  # fmt: skip
_GUARD = "__import__('ml_experiment_nb.work.guard', fromlist=['protect']).protect()"


@dataclass(frozen=True)
class Request:
    """What is to be proven, as it is left in a folder for the process that does it.

    Attributes:
        run_id: The run.
        root: The project's root.
        store: The address of its store, where the environment names one.
        cwd: The folder that the session is in.
        metrics: What the run has come to.
        unseeded: The generators from which it drew without a seed.
        slice: The notebook of the cells that it depends on.
        ran: These cells, the run's own last.
        problems: What of them can't be traced to any cell.
        notebook: The notebook's file, where it is known.
    """

    run_id: str
    root: str
    store: str | None
    cwd: str
    metrics: Mapping[str, float]
    unseeded: str | None
    slice: str
    ran: Sequence[Ran]
    problems: Sequence[str]
    notebook: str | None

    def leave(self, folder: Path) -> None:
        """Write it into a folder."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Read what `leave` wrote."""
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(**{**data, "ran": tuple(Ran(**one) for one in data["ran"])})


def main(folder: Path) -> None:
    """Prove what is asked in a folder, tag the run, print the proof as JSON, and remove the folder."""
    request, began = Request.read(folder), time.monotonic()
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    _end_with(os.getppid())
    try:
        with _turn(Path(request.root)), tempfile.TemporaryDirectory(prefix=PREFIX, dir=SOCKETS) as place:
            (folder / PLACE).write_text(place, encoding="utf-8")
            proof = prove(request, Path(place).resolve())
            executed = Path(place, EXECUTED)
            _tag(request, proof, executed if executed.exists() else None)
    except KeyboardInterrupt:
        why = "the kernel that it was asked for in has ended before; run the cell again to prove it"
        proof = Proof(ProofAnswer.STOPPED, why, seconds=time.monotonic() - began)
        _tag(request, proof)
    except Exception as error:  # whatever it is, the run is told of it
        told = f"{type(error).__name__}: {error}"
        proof = Proof(ProofAnswer.FAILED, f"the proof itself failed with {told}", seconds=time.monotonic() - began)
        _tag(request, proof)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # nobody may be there any more
        print(masked(proof.to_json()), flush=True)


def prove(request: Request, place: Path) -> Proof:
    """Run a slice in a new kernel, and return what that says of its run.

    Args:
        request: What is to be proven.
        place: An empty folder, for a copy of the project and all that comes of it.
    """
    began = time.monotonic()
    secrecy.learn_those_set(name for one in request.ran for name in secrecy.names_in_code(one.source))
    root, work = Path(request.root), place / "work"
    copied = copy_project(root, work)
    notebook = place / "slice.ipynb"
    notebook.write_text(as_proven(request.slice, _GUARD), encoding="utf-8")
    cwd = Path(request.cwd)
    inside = work / cwd.relative_to(root) if cwd.is_relative_to(root) else work
    outcome = _run(notebook, inside, root, place)
    findings = [*hidden(request.problems), *_places(request)]
    if outcome.status is not Status.FINISHED:
        findings.append(_failed(outcome, request, place / EXECUTED))
    else:
        again = _last_run(work)
        metrics = again.metrics if again is not None else {}
        unseeded = request.unseeded or (again.tags.get(UNSEEDED) if again is not None else None)
        findings += differing(metric_differences(request.metrics, metrics), unseeded)
    clean = clean_text(len(request.ran), len(request.metrics))
    notes = [*copied.notes(), *copied.changes()]
    return judged(findings, clean=clean, seconds=time.monotonic() - began, notes=notes)


@dataclass(frozen=True)
class Copied:
    """What a copy of a project's folder has not of its own.

    Attributes:
        linked: The files and folders that it has links to, with the times and sizes that they had.
        missing: What could not be read, and isn't in it.
    """

    linked: Mapping[Path, tuple[int, int] | None]
    missing: Sequence[str]

    def notes(self) -> list[str]:
        """Return what is to be said of it."""
        found = [f"{len(self.linked)} large files or folders were read where they are"] if self.linked else []
        more = f" and {len(self.missing) - 1} more" if len(self.missing) > 1 else ""
        left_out = [f"{self.missing[0]}{more} could not be read, and the cells ran without"] if self.missing else []
        return [*found, *left_out]

    def changes(self) -> list[str]:
        """Return what is to be said of the linked files afterwards: what isn't Python may have written to them."""
        found = [str(path) for path, before in self.linked.items() if _stat(path) != before]
        return [f"changed meanwhile: {', '.join(found)}"] if found else []


def copy_project(root: Path, work: Path) -> Copied:
    """Copy a project's folder, the shallow files first; what is too much is linked, and what can't be read left out.

    What is linked can be read; `guard` has Python's own functions write none of it.
    """
    work.mkdir()
    waiting, bytes_left, files_left = deque([(root, work)]), _MOST, _MANY
    linked: dict[Path, tuple[int, int] | None] = {}
    missing: list[str] = []
    while waiting:
        folder, copy = waiting.popleft()
        for one in _entries(folder, missing):
            target = copy / one.name
            if one.name in NOT_OF_IT or (not one.is_symlink() and not one.is_file() and not one.is_dir()):
                continue
            if one.is_dir(follow_symlinks=False) and is_environment(Path(one.path)):
                continue
            try:
                if one.is_symlink():
                    target.symlink_to(os.path.join(folder, os.readlink(one.path)))
                elif one.is_dir() and files_left > 0:
                    target.mkdir()
                    waiting.append((Path(one.path), target))
                elif one.is_file() and files_left > 0 and (size := one.stat().st_size) <= min(_LARGE, bytes_left):
                    shutil.copy2(one.path, target)
                    bytes_left, files_left = bytes_left - size, files_left - 1
                else:
                    target.symlink_to(one.path)
                    linked[Path(one.path)] = _stat(Path(one.path))
            except (FileNotFoundError, PermissionError):  # removed just now, or nobody's business
                missing.append(one.path)
    return Copied(linked, missing)


def _entries(folder: Path, missing: list[str]) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, PermissionError):
        missing.append(str(folder))
        return []


def _stat(path: Path) -> tuple[int, int] | None:
    """Return a file's time and size; None of what is no file, whose time says nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _run(notebook: Path, cwd: Path, root: Path, place: Path) -> Outcome:
    """Run a notebook as a job that is recorded nowhere; what it records itself goes to a store of its own."""
    for name in _OF_THE_RUN:
        os.environ.pop(name, None)
    own = {"ML_EXPERIMENT_ROOT": str(place / "work"), guard.FOLDER: str(root), guard.SPARED: str(place)}
    os.environ |= {**own, "PYTHONDONTWRITEBYTECODE": "1"}
    home(place / "work")
    spec = spec_from_mapping({"kind": "job", "name": "proof", "run": str(notebook), "system_metrics": False})
    [task] = make_plan(spec, cwd=str(cwd), output=str(place / EXECUTED)).tasks()
    running = Running(prepared(task, folder=str(place / "task"), payload=None, env=ObservingOptions.of(spec).as_env()))
    outcome = Outcome(Status.KILLED)
    batches = running.batches()
    assert isinstance(batches, Generator)
    with closing(batches):  # ends its processes, should this one be stopped meanwhile
        for event in (one for batch in batches for one in batch):
            outcome = event.outcome if isinstance(event, Done) else outcome
    return outcome


def _places(request: Request) -> list[Finding]:
    """Return what the notebook's file says of the cells now."""
    saved = None if request.notebook is None else saved_notebook(Path(request.notebook))
    return [] if saved is None else [*changed_cells(request.ran, saved), *order_of(request.ran, saved)]


def _failed(outcome: Outcome, request: Request, executed: Path) -> Finding:
    """Return that the slice could not be run, with the cell at which that was."""
    why = f"{outcome.failure.type}: {outcome.failure.message}" if outcome.failure else str(outcome.status)
    why = " ".join(why.split())
    with suppress(OSError, ValueError, KeyError):
        for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
            if cell["metadata"].get("papermill", {}).get("status") == "failed":
                number = int(str(cell["id"]).removeprefix("in-"))
                errors = [one for one in cell.get("outputs", ()) if one["output_type"] == "error"]
                why = f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else why
                ran = next(one for one in request.ran if one.number == number)
                return Finding(ProofAnswer.FAILED, f"in a new kernel {ran} raises {why}", (number,))
    return Finding(ProofAnswer.FAILED, f"its cells can't be run in a new kernel: {why}")


def _last_run(work: Path) -> Record | None:
    """Return the run that the slice's last cell has made, in the store of its own."""
    found = sqlstore.listed(f"sqlite:///{work / FOLDER / STORE}", RunQuery(limit=1, tags=True))
    return found[0] if found else None


def _tag(request: Request, proof: Proof, executed: Path | None = None) -> None:
    """Write into the run's record what its proof has come to."""
    from ml_experiment_nb.stores import translated
    from ml_experiment_nb.tracking import Store

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if request.store is not None:
        os.environ["MLFLOW_TRACKING_URI"] = request.store
    store = Store(Path(request.root))
    store.set_tags(request.run_id, {name: masked(text) for name, text in proof.tags().items()})
    if executed is not None:
        executed.write_text(masked(executed.read_text(encoding="utf-8")), encoding="utf-8")
        with translated(store.uri):
            store.client.log_artifact(request.run_id, str(executed), "record")
    store.settle()


@contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Wait until no other run of the project is being proven."""
    with (home(root) / LOCK).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)
            except OSError:  # a file system without locks
                break
        yield


def _end_with(parent: int) -> None:
    """Interrupt this process when the one that has started it is no more."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=look, name="parent", daemon=True).start()


if __name__ == "__main__":
    with suppress(OSError):
        os.nice(5)
    main(Path(sys.argv[1]))
