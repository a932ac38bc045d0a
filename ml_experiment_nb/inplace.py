"""A run around code of this very process: an inline cell, a called job."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ml_experiment_nb import drivers, notify, reports, secrecy, writing
from ml_experiment_nb.capture import Snapshot, snapshot
from ml_experiment_nb.capture.basis import Basis, basis_of
from ml_experiment_nb.capture.console import Tee
from ml_experiment_nb.capture.inputs import inputs_of, values_here
from ml_experiment_nb.endings import STOPPED, outcome_of, stopped_by, uninterrupted, whole
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.events import Log, Note, Tags
from ml_experiment_nb.identity import code_of, identity_tags
from ml_experiment_nb.masking import masked
from ml_experiment_nb.observing import ObservingOptions, observed
from ml_experiment_nb.patience import Patience
from ml_experiment_nb.plans import Spec
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.provenance import environment_of, keep_inputs, keep_notebook, keep_sources, open_for
from ml_experiment_nb.quantities import repr_of
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.repeating import repeating
from ml_experiment_nb.session import keep_session
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.sweeps import finishing, is_open, opened_store
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.work.sampling import sampled

SCRIPT = "mlexp.script"
"""The tag of a run in a script that was run by hand: the script's path and its arguments, as JSON."""

_LONG = 6000


@contextmanager
def here(
    spec: Spec,
    params: Mapping[str, Any],
    *,
    later: bool = False,
    values: Mapping[str, Any] = {},
    fully: bool = False,
) -> Iterator[OpenRun]:
    """Open a run around code of this very process, such as an inline cell; it closes with the block.

    What the code prints is recorded and still shown. An exception closes the run as failed and goes on.

    Args:
        spec: The experiment; its targets' source is recorded.
        params: Its parameters.
        later: A run that has finished is written in a moment, while the caller goes on; see `writing`.
        values: What its code reads of the notebook, by name.
        fully: Say in its record which values these are even if they are large.

    Yields:
        The open run; give it what the code reports. After the block its `record` stands in it.
    """
    notify.hide(spec.notify)
    secrecy.check(params)
    params = secrecy.recognised(dict(params))
    asked = spec.model_copy(update={"params": dict(params)})
    inputs = inputs_of(spec.data, Path.cwd(), {**values_here(spec.data), **params}, find_root())
    stands_on = partial(basis_of, spec.run, Path.cwd(), values=values, fully=fully)
    live: OpenRun | None = None
    try:
        with uninterrupted():
            store, live, taken = _open_here(spec, asked, stands_on)
        keep_sources(live, _text_of_call(asked), spec.run)
        keep_inputs(live, inputs)
        keep_notebook(live, taken.notebook)
        keep_session(live.save, lambda text: live.add(Note(text)))
        live.environment = environment_of(store, live, store.root)
        if (note := secrecy.literal_credentials(params)) is not None:
            live.add(Note(note))
        for note in secrecy.notes_of_short(secrecy.names_in(params)):
            live.add(Note(note))
        heard, watch = Tee(live.log_path, notes=live.told.notes, veil=live.veil), ObservingOptions.of(spec)
        with _looked_after(live), heard, reports.local_sink(live), sampled(live, watch), observed(live, watch):
            yield live
    except BaseException as error:
        if live is not None:
            _close_after(error, live)
        raise
    finished = Outcome(Status.FINISHED)
    if later and live.end(finished):
        writing.later(lambda: _close_here(store, live, finished), f"run {str(live.run_id)[:8]} is not written yet")
    else:
        _close_here(store, live, finished)


def _close_after(error: BaseException, live: OpenRun) -> None:
    """Close a run whose code has raised an error, or was stopped."""
    outcome = outcome_of(error)
    if outcome is STOPPED and (who := drivers.stop_asked(live.folder)):
        outcome = stopped_by(who)
    if outcome.status is Status.FAILED and outcome.failure is not None:
        live.add(Log(f"{outcome.failure.traceback}\n"))  # as in the log of a task
    try:
        if outcome.status is Status.FAILED:
            Patience().insist(whole(lambda: live.close(outcome)))
        else:  # who stops it doesn't wait
            with uninterrupted():
                live.close(outcome)
    except StoreError as gone:  # the code's own error says more
        error.add_note(str(gone))
    finally:
        live.drop()  # what could not be written is a later sweep's


def keep_script(live: OpenRun) -> None:
    """Keep the script that this process was started with, and its arguments, with a run that it makes."""
    path = Path(getattr(sys.modules["__main__"], "__file__", "")).absolute()
    try:
        live.save(f"script/{path.name}", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        live.add(Note(f"the script {path} could not be kept: {error}"))
        return
    told = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    live.add(Tags({SCRIPT: json.dumps([told, *sys.argv[1:]])}))


def _open_here(spec: Spec, asked: Spec, basis: Callable[[], Basis]) -> tuple[Store, OpenRun, Snapshot]:
    """Open a run of this process, by the store that it has open already, and again should that be out of date."""
    root, cwd = find_root(), Path.cwd()
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(snapshot, cwd)  # git is another process
        stands_on = basis()
        is_new = not is_open(root)
        store = opened_store(root, make=True)
        identity = identity_tags(asked, code_of(spec.run, cwd))
    told: dict[str, Any] = {"name": spec.name, "kind": spec.kind, "params": asked.params, "identity": identity}
    taken = replace(taking.result(), basis=stands_on)
    told |= {"taken": taken, "cwd": str(cwd), "at_once": False}
    try:
        with finishing(store):
            return store, open_for(store, spec, **told), taken
    except StoreError:
        if is_new:
            raise
    store = opened_store(root, make=True, anew=True)
    with finishing(store):
        return store, open_for(store, spec, **told), taken


def _close_here(store: Store, live: OpenRun, outcome: Outcome) -> None:
    try:
        Patience().insist(whole(lambda: live.close(outcome)))
    finally:
        live.drop()  # what could not be written is a later sweep's
    with uninterrupted():
        store.settle()


@contextmanager
def _looked_after(live: OpenRun) -> Iterator[None]:
    """Write what a run of this process has so far; interrupt its code, as Ctrl-C does, when somebody asks for that."""
    can_stop = threading.current_thread() is threading.main_thread()

    def look() -> bool:
        live.flush_if_due()
        if can_stop and drivers.stop_asked(live.folder):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return False
        return True

    with repeating(look, lambda: drivers.LOOK, name="stop"):
        yield


def _text_of_call(spec: Spec) -> str:
    """Return a spec's text, values that are long cut: a call may be given whole data sets."""
    texts = {name: masked(repr_of(value)) for name, value in spec.params.items()}
    cut = {name: text[:_LONG] for name, text in texts.items() if len(text) > _LONG}
    return spec_text(spec.model_copy(update={"params": {**spec.params, **cut}}))
