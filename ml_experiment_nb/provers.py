"""Runs that are being proven, as the kernel that asked for it sees them: a process for each, and a thread that waits.

The process takes its turn, writes what it finds into the run's record, and ends when this kernel does: see `proving`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_experiment_nb import writing
from ml_experiment_nb.capture.notebook import this_notebook
from ml_experiment_nb.entries import key_of
from ml_experiment_nb.masking import masked
from ml_experiment_nb.observing.seeding import UNSEEDED
from ml_experiment_nb.projects import find_root, home
from ml_experiment_nb.proofs import PROOF, RUNNING, Proof, ProofAnswer
from ml_experiment_nb.proving import HELD, PLACE, PREFIX, Request
from ml_experiment_nb.records import Record
from ml_experiment_nb.session import sliced, started_in
from ml_experiment_nb.sweeps import opened_store

FOLDER = "proofs"  # below .ml-experiment

_untold: list[str] = []


def prove(request: Request, told: Callable[[Proof], None]) -> None:
    """Have a run proven by another process, and go on.

    Args:
        request: What is to be proven.
        told: Is told what that has come to, in a thread.

    Raises:
        OSError: The process can't be started.
    """
    above = home(Path(request.root)) / FOLDER
    above.mkdir(exist_ok=True)
    clear_left(above)
    folder = Path(tempfile.mkdtemp(prefix=f"{request.run_id[:8]}-", dir=above))
    try:
        request.leave(folder)
        with (folder / HELD).open("w") as lock:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)  # the process inherits it, and has it as long as it lives
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ml_experiment_nb.proving", str(folder)],
                env=first_environment(), cwd=request.cwd, text=True, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(lock.fileno(),),
            )  # fmt: skip
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    arguments = process, told, request, folder
    threading.Thread(target=_wait, args=arguments, name="ml-experiment-proof", daemon=True).start()


def clear_left(above: Path) -> None:
    """Remove what is left of proofs whose processes were killed, and say so in their runs."""
    for folder in above.iterdir():
        with suppress(OSError, ValueError, LookupError, TypeError), (folder / HELD).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _drop(
                Request.read(folder), folder, Proof(ProofAnswer.STOPPED, "the process that was to prove it was killed")
            )


def _drop(request: Request, folder: Path, proof: Proof) -> None:
    """Remove what a process has left that was killed; its run, if it says yet that it is being proven, says why not."""
    with suppress(OSError):
        place = Path((folder / PLACE).read_text(encoding="utf-8"))
        if place.name.startswith(PREFIX):
            shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    writing.later(lambda: _tag(Path(request.root), request.run_id, proof), "why a run is not proven")


def _tag(root: Path, run_id: str, proof: Proof) -> None:
    store = opened_store(root)
    if store.record(run_id).tags.get(PROOF) == RUNNING:
        store.set_tags(run_id, {name: masked(text) for name, text in proof.tags().items()})


def begin(shell: Any, record: Record, told: Callable[[Proof], None]) -> str | None:
    """Have the run of a shell's present cell proven, and return why that can't be done, if it can't.

    Args:
        shell: IPython's shell.
        record: The run, which has finished.
        told: Is told what that has come to, in a thread.
    """
    found = sliced(shell)
    if found is None or record.run_id is None:
        why: str | None = "its session was not kept"
    else:
        notebook = this_notebook()
        request = Request(
            run_id=record.run_id,
            root=str(find_root()),
            store=os.environ.get("MLFLOW_TRACKING_URI"),
            cwd=started_in(found.text) or os.getcwd(),
            metrics={key_of(name): value for name, value in record.metrics.items()},
            unseeded=record.tags.get(UNSEEDED),
            slice=found.text,
            ran=found.ran,
            problems=found.problems,
            notebook=None if notebook is None else str(notebook.absolute()),
        )
        try:
            prove(request, told)
            return None
        except OSError as error:
            why = f"no process could be started for it: {error}"
    _tag_unproven(record, told, str(why))
    return why


def _tag_unproven(record: Record, told: Callable[[Proof], None], why: str) -> None:
    proof = Proof(ProofAnswer.STOPPED, why)
    told(proof)
    if record.run_id is not None:
        run_id = record.run_id
        writing.later(lambda: opened_store().set_tags(run_id, proof.tags()), "why a run is not proven")


def untold() -> list[str]:
    """Return what has come of proofs since this was asked last, a line for each."""
    found = _untold[:]
    del _untold[: len(found)]
    return found


def tell(line: str) -> None:
    """Keep a line for whoever asks for it by `untold`."""
    _untold.append(line)


def first_environment() -> Mapping[str, str]:
    """Return the environment that this process was started with, where the system says it: cells may change it."""
    with suppress(OSError, UnicodeDecodeError, ValueError):
        entries = Path("/proc/self/environ").read_bytes().decode(errors="surrogateescape").split("\0")
        if found := dict(one.split("=", 1) for one in entries if "=" in one):
            return found
    return dict(os.environ)


def _wait(process: subprocess.Popen[str], told: Callable[[Proof], None], request: Request, folder: Path) -> None:
    out, err = process.communicate()
    lines = out.splitlines()
    try:
        proof = Proof.from_json(lines[-1])
    except (IndexError, ValueError, KeyError, TypeError):
        last = next(iter(err.strip().splitlines()[-1:]), f"exit code {process.returncode}")
        proof = Proof(ProofAnswer.STOPPED, f"the process that was to prove it has died: {last}")
        _drop(request, folder, proof)
    with suppress(Exception):  # the front end may be gone
        told(proof)
