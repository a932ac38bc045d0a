"""A run while it goes on: what its driver is told of it, written to MLflow.

A run is opened, fed events and closed by the process that drives it, through the store's client with explicit ids; no
global active run is touched. What is ours stands in tags under ``mlexp.`` and in artifacts under ``record/``; the
user's own artifacts stand at the run's root.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Param
from mlflow.exceptions import MlflowException

from ml_experiment_nb import absences, drivers, dues, events, secrecy
from ml_experiment_nb.absences import Absence, waiting
from ml_experiment_nb.archive import LOG
from ml_experiment_nb.capture.artifacts import kept_files
from ml_experiment_nb.capture.console import Collapser
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.drivers import Driver, Hold
from ml_experiment_nb.dues import Due
from ml_experiment_nb.entries import (
    METRICS,
    PARAMS,
    TAGS,
    TO_MLFLOW,
    run_tags,
)
from ml_experiment_nb.errors import StoreError, StoreLostError
from ml_experiment_nb.hearing import heard
from ml_experiment_nb.masking import Veil, masked
from ml_experiment_nb.records import Outcome, Record, now
from ml_experiment_nb.secrecy import secrets_seen
from ml_experiment_nb.stores import check, is_gone, is_refusal, translated
from ml_experiment_nb.told import Told
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.trials import Fixed, answered

FLUSH_SECONDS = 1.0
WITHHELD = "withheld"  # below .ml-experiment: files of runs that hold secrets which can't be taken out of them


class OpenRun:
    """A run while it goes on, as its driver sees it. It is also the sink of code that runs in the driver itself.

    Args:
        first: What is known at the start.
        folder: Where its files are gathered; it is removed in the end.
        store: Where it is recorded; None for a job, which isn't.
        hold: The driver's hold on the folder.
    """

    def __init__(self, first: Record, folder: Path, store: Store | None, hold: Hold | None = None) -> None:
        self.first = first
        self._hold = hold
        self._ended: datetime | None = None
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self._lock = threading.RLock()  # of what is gathered; never held while `_writes` is waited for
        self.environment: dict[str, str] = {}  # where it is this process's code that is recorded
        self._store = store
        self._id = first.run_id or ""
        self._writes = threading.RLock()  # a run of this process may be looked after by a thread
        self._notes_there: dict[str, str] = {}  # the tag of the notes, as the store has it
        self._flushed = self._lived = time.monotonic()
        self._collapser = Collapser()
        self._absence = Absence(folder)
        self._kept = False
        self._is_looked_through = True
        self.veil = Veil()
        self.told = Told(self.veil, self.save)
        self._printed = self.veil.stream("its output")
        (self.artifacts / "record").mkdir(parents=True, exist_ok=True)
        self.log_path = self.artifacts / LOG
        self.record: Record | None = None
        self.files: dict[str, int] = {}
        """The files that the code has kept, and how many bytes each has; known when the run has ended."""

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None when it isn't tracked."""
        return self.first.run_id

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters so far."""
        return self.told.params

    @property
    def client(self) -> Any:
        """The client that the run is written by; None where it isn't tracked."""
        return self._store.client if self._store is not None else None

    def send(self, event: events.Event) -> None:
        """Take an event of code in this process, of any thread; what it prints is masked in order."""
        with self._lock:
            self._add(self.veiled(event))
        self.flush_if_due()

    def ask(self, event: events.Metrics | events.Ask) -> events.Answer:
        """Take an event of code in this process that waits for an answer."""
        self.send(event)
        return self.judge(event)

    def judge(self, event: events.Metrics | events.Ask) -> events.Answer:
        """Answer for a run that is no trial of a study: it is never pruned, and nothing is drawn for it."""
        if isinstance(event, events.Metrics):
            return events.Answer(False)
        return answered(event, Fixed(self.params, self.first.number), self)

    def veiled(self, event: events.Event) -> events.Event:
        """Return an event of the code as it may be shown and recorded."""
        return heard(event, self.veil, self._printed, self.folder)

    def add(self, event: events.Event) -> None:
        """Take an event, of any thread: autologging has some of its own."""
        with self._lock:
            self._add(event)
        self.flush_if_due()

    def _add(self, event: events.Event) -> None:
        match event:
            case events.Log(text):
                self._append(self._collapser.feed(text))
            case events.Metrics():
                self.told.add_metrics(event)
            case events.Params(values, autologged):
                self.told.add_autologged(values) if autologged else self.told.add_params(values)
            case events.Note(text):
                self.told.note(text)
            case events.Tags(values):
                self.told.set(values)
            case events.Reads(inputs):
                self.use([Input(**one) for one in inputs])

    def flush_if_due(self) -> None:
        """Write what has gathered, if the last time is a while ago.

        It stays on disk as well while the store is away, or lets another thread wait.
        """
        if time.monotonic() - self._lived > FLUSH_SECONDS:
            self._lived = time.monotonic()
            with suppress(OSError):
                os.utime(self.artifacts)  # a sign of life: should its driver die, that is when it ended
        if time.monotonic() - self._flushed > FLUSH_SECONDS + self._absence.pause:
            if self._writes.acquire(blocking=False):
                try:
                    with suppress(StoreError):  # it is tried again, and for the last time by `close`
                        self.flush()
                finally:
                    self._writes.release()
            else:
                self._keep_waiting()
        elif self._absence.lasts:
            self._keep_waiting()

    def _keep_waiting(self) -> None:
        with self._lock:
            self._absence.keep(self.told.waiting())

    def save(self, name: str, text: str) -> None:
        """Keep a file of the record itself, such as its source."""
        path = self.artifacts / "record" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.veil.text(text, f"record/{name}"), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self.told.note(f"record/{name} could not be written: {error.strerror}")

    def use(self, inputs: Sequence[Input]) -> None:
        """Say which data the run reads."""
        inputs = [Input(**self.veil.data(vars(one), "what it reads")) for one in inputs] if secrets_seen else inputs
        with self._lock:
            self.told.use(inputs)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, and write what has gathered."""
        with self._lock:
            self.told.set({name: masked(text) for name, text in tags.items()})
        self.flush()

    def flush(self, tags: Mapping[str, str] | None = None) -> None:
        """Write what has gathered, and tags with it; what another thread adds meanwhile is left for the next time.

        Raises:
            StoreError: It can't be written; it is kept for the next time.
        """
        self._flushed = time.monotonic()
        with self._writes:
            with self._lock:
                own, inputs, noted = dict(self.told.new_tags), list(self.told.new_inputs), self.told.noted()
            rest = list(run_tags({**own, **({} if noted == self._notes_there else noted), **(tags or {})}))
            if self._store is None or not (self.told.pending or self.told.new_params or inputs or rest):
                return
            try:
                with translated(self._store.uri):
                    check(self._store.uri)
                    while self.told.pending or self.told.new_params or rest:
                        metrics, params = self.told.pending[:METRICS], self.told.new_params[:PARAMS]
                        refused = self._store.log_batch(self._id, metrics, params, rest[:TAGS])
                        del rest[:TAGS]
                        with self._lock:
                            for text in refused:
                                self.told.note(text)
                            self._absence.wrote(len(metrics), len(params))
                            del self.told.pending[: len(metrics)], self.told.new_params[: len(params)]
                    if inputs:
                        self._store.log_inputs(self._id, inputs)
                    with self._lock:
                        self._absence.wrote(0, 0, len(inputs))
                        del self.told.new_inputs[: len(inputs)]
                        self.told.new_tags = {n: text for n, text in self.told.new_tags.items() if own.get(n) != text}
                    self._notes_there = noted
            except StoreError as error:
                if not is_refusal(error):
                    self._is_away(time.monotonic() - self._flushed)
                raise
            with self._lock:
                if self.told.is_written and (note := self._absence.end()):
                    self.told.note(note)

    def _is_away(self, took: float) -> None:
        with self._lock:
            self._absence.begin(self.told.waiting(), took)

    def close(self, outcome: Outcome, tags: Mapping[str, str] | None = None) -> Record:
        """End the run and return its record. It is closed in the store even if its files can't be written.

        Raises:
            StoreError: The store can't be written; what was recorded stays in `folder`.
        """
        outcome, tags = self.veil.outcome(outcome), {name: masked(text) for name, text in (tags or {}).items()}
        if self._ended is None:
            self._end(outcome, now())
        ended = self._ended or now()
        final = {"mlexp.status": outcome.status.value, **tags}
        if outcome.failure is not None:
            final["mlexp.error"] = str(outcome.failure)
        if self._store is not None:
            try:
                final |= self._write(outcome, final, ended)
            except StoreError as error:
                self._is_away(0.0)
                self._leave(outcome, tags)
                if (self.folder / drivers.FILE).exists() or not is_gone(self._store.uri):
                    raise
                raise StoreLostError(
                    f"{self.folder.parents[1]} was deleted while {self.first.name} ran: this run is not recorded"
                ) from error
        self._let_go()
        self.record = self._record(outcome, ended, final)
        return self.record

    def _record(self, outcome: Outcome, ended: datetime, final: Mapping[str, str]) -> Record:
        return Record(
            **{name: getattr(self.first, name) for name in _KEPT},
            status=outcome.status,
            params=dict(self.told.params),
            metrics=self.told.metrics_by_worth(),
            autologged=dict(self.told.autologged),
            seconds=max(0.0, (ended - self.first.started).total_seconds()),  # a clock may be set back
            failure=outcome.failure,
            tags={**self.first.tags, **self.told.tags, **final},
            notes=tuple(self.told.notes),
        )

    def end(self, outcome: Outcome) -> bool:
        """End the run with its record, before it is written; return whether `close` can do that later, or a sweep."""
        self.settle(outcome)
        self.record = self._record(outcome, self._ended or now(), {"mlexp.status": outcome.status.value})
        return (self.folder / dues.FILE).exists()

    def settle(self, outcome: Outcome) -> None:
        """Leave in the folder what is to be written of the run's end, should the driver die before it is written."""
        outcome = self.veil.outcome(outcome)
        self._end(outcome, now())
        self._leave(outcome, {})

    def drop(self) -> None:
        """Let go of a run that can't be closed now: a later sweep does it, with what stands in the folder."""
        if self._hold is not None:
            self._hold.drop()

    def close_late(self, driver: Driver, outcome: Outcome, ended: datetime) -> Record:
        """Close a run that another process drove; see `sweeps`."""
        left, due = waiting(self.folder), dues.left(self.folder)
        params = {**driver.params, **{one.key: one.value for one in left.params}}
        self.told.take_over(replace(left, params=[Param(*one) for one in params.items()]))
        tags = dict(left.tags)
        if due is not None:
            self.told.take_over(due.waiting)
            outcome, ended, tags = due.outcome, due.ended, {**tags, **due.waiting.tags}
        self._ended = ended
        if missing := secrecy.learn_those_left(self.folder):
            self.told.note(
                f"its files were not looked through for {', '.join(missing)}: not set where the run was closed, "
                "after its driver had died"
            )
        self._mask_files()
        return self.close(outcome, tags)

    def _end(self, outcome: Outcome, ended: datetime) -> None:
        self._ended = ended
        self._append(self._collapser.feed(self._printed.flush()) + self._collapser.flush())
        if outcome.failure is not None and outcome.failure.traceback:
            self.save("error.txt", outcome.failure.traceback)
        self._mask_files()
        self.files = kept_files(self.artifacts)

    def _mask_files(self) -> None:
        try:
            aside = self.folder.parent.parent / WITHHELD / self.folder.name if self._store is not None else None
            self.veil.folder(self.artifacts, aside)
            self._is_looked_through = True
        except OSError as error:
            self._is_looked_through = False
            self.told.note(f"its files could not all be looked through for secrets: {error}")
        for note in self.veil.notes():
            self.told.note(note)

    def _leave(self, outcome: Outcome, tags: Mapping[str, str]) -> None:
        if self._store is None or self._ended is None:
            return
        left = self.told.waiting()
        try:
            dues.leave(self.folder, Due(outcome, self._ended, replace(left, tags={**left.tags, **tags})))
        except OSError as error:
            self.told.note(f"{self.folder} can't be written: {error.strerror}")

    def _let_go(self) -> None:
        """Remove what nobody needs any more, the driver's file last: until then a sweep would finish the work."""
        if not self._kept:
            clear(self.folder)
        if self._hold is not None:
            self._hold.release()
        with suppress(OSError):  # what an unfinished group leaves stays
            self.folder.rmdir()

    def _append(self, text: str) -> None:
        try:
            with self.log_path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.write(text)
        except OSError as error:
            self.told.note(f"not all of the log could be written: {error.strerror}")

    def _write(self, outcome: Outcome, tags: Mapping[str, str], ended: datetime) -> dict[str, str]:
        """Write the rest, end the run, and return the tags that came of it."""
        try:
            return self._write_all(outcome, tags, ended)
        except StoreError as error:
            if not is_refusal(error):
                raise
            self._keep(f"the store takes nothing more of this run, which may have been deleted there: {error}")
            return self.told.noted()

    def _write_all(self, outcome: Outcome, tags: Mapping[str, str], ended: datetime) -> dict[str, str]:
        """See `_write`.

        All goes in one batch: of trials there may be many a second, and each call costs them.
        """
        assert self._store is not None
        store = self._store
        self._kept = False
        with translated(store.uri, f"; what was recorded stays in {self.folder}"):
            try:
                self.flush(tags)
                self.flush()  # what was noted meanwhile
            except StoreError as error:
                if not is_refusal(error):
                    raise
                self._keep(f"not all parameters and metrics could be recorded: {error}")
                store.client.log_batch(self._id, tags=run_tags({**tags, **self.told.noted()}))
            try:
                if not self._is_looked_through:
                    self._keep("files were not sent to the store, for they may hold secrets")
                    store.client.log_batch(self._id, tags=run_tags(self.told.noted()))
                elif self.artifacts.exists():  # else they were sent before the store went away
                    store.take_files(self.first, self.artifacts)
            except (MlflowException, OSError) as error:
                check(store.uri)
                self._keep(f"files could not be sent to the store: {error}")
                store.client.log_batch(self._id, tags=run_tags(self.told.noted()))
            store.client.set_terminated(self._id, TO_MLFLOW[outcome.status], int(ended.timestamp() * 1000))
        return self.told.noted()

    def _keep(self, problem: str) -> None:
        """Leave the run's files where they are, since the store hasn't got them."""
        self._kept = True
        self.told.note(f"{problem}; they are in {self.folder}")


_KEPT = ("run_id", "name", "experiment", "kind", "started", "number", "parent_id", "artifact_uri")


def clear(folder: Path) -> None:
    """Remove from a run's folder what is in the store, and what was there for its driver alone."""
    for name in ("artifacts", "request.pkl", dues.FILE, absences.FILE, secrecy.FILE):
        path = folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
