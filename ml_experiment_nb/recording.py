"""A run while it goes on: what its driver is told of it, written to MLflow.

A run is opened, fed events and closed by the process that drives it, through the store's client with explicit ids; no
global active run is touched. What is ours stands in tags under ``mlexp.`` and in artifacts under ``record/``; the
user's own artifacts stand at the run's root.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from ml_experiment_nb import absences, reports, secrecy
from ml_experiment_nb.absences import Absence, Waiting, as_data, waiting
from ml_experiment_nb.capture.artifacts import kept_files
from ml_experiment_nb.capture.console import Collapser
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.drivers import Driver, Hold
from ml_experiment_nb.entries import (
    METRICS,
    PARAM_LENGTH,
    PARAMS,
    TAG_LENGTH,
    TAGS,
    TO_MLFLOW,
    is_plain,
    key_of,
    notes_text,
    run_tags,
)
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.hearing import heard
from ml_experiment_nb.literals import value_of
from ml_experiment_nb.masking import Veil, masked
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.readings import AUTOLOGGED, TEXTS
from ml_experiment_nb.records import SYSTEM, Failure, Outcome, Record, Status, now, number
from ml_experiment_nb.secrecy import known, recognised
from ml_experiment_nb.stores import check, is_refusal, translated
from ml_experiment_nb.tracking import LOG, Store
from ml_experiment_nb.trials import Fixed, answered

FLUSH_SECONDS = 1.0
WITHHELD = "withheld"  # below .ml-experiment: files of runs that hold secrets which can't be taken out of them
_DUE = "due.json"  # what is to be written of a run that has ended, until it is


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
        self.params: dict[str, Any] = {}
        self._looking_otherwise: list[str] = []
        self.metrics: dict[str, float] = {}
        self.notes: list[str] = []
        self._tags: dict[str, str] = {}
        self.autologged: dict[str, Any] = {}
        self._fitted: dict[str, dict[str, Any]] = {}  # the values that libraries' fits had, by name and text
        self._lock = threading.RLock()  # of what is gathered; never held while `_writes` is waited for
        self.environment: dict[str, str] = {}  # where it is this process's code that is recorded
        self._store = store
        self._id = first.run_id or ""
        self._writes = threading.RLock()  # a run of this process may be looked after by a thread
        self._pending: list[Metric] = []
        self._new_params: list[Param] = []
        self._new_tags: dict[str, str] = {}
        self._inputs: list[Input] = []
        self._new_inputs: list[Input] = []
        self._last: dict[str, tuple[int, int]] = {}
        self._told: dict[str, str] = {}  # the tag of the notes, as the store has it
        self._flushed = time.monotonic()
        self._collapser = Collapser()
        self._absence = Absence(folder)
        self._kept = False
        self._is_looked_through = True
        self.veil = Veil()
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
    def client(self) -> Any:
        """The client that the run is written by; None where it isn't tracked."""
        return self._store.client if self._store is not None else None

    def send(self, event: reports.Event) -> None:
        """Take an event of code in this process, of any thread; what it prints is masked in order."""
        with self._lock:
            self._add(self.veiled(event))
        self.flush_if_due()

    def ask(self, event: reports.Metrics | reports.Ask) -> reports.Answer:
        """Take an event of code in this process that waits for an answer."""
        self.send(event)
        return self.judge(event)

    def judge(self, event: reports.Metrics | reports.Ask) -> reports.Answer:
        """Answer for a run that is no trial of a study: it is never pruned, and nothing is drawn for it."""
        if isinstance(event, reports.Metrics):
            return reports.Answer(False)
        return answered(event, Fixed(self.params, self.first.number), self)

    def veiled(self, event: reports.Event) -> reports.Event:
        """Return an event of the code as it may be shown and recorded."""
        return heard(event, self.veil, self._printed, self.folder)

    def add(self, event: reports.Event) -> None:
        """Take an event, of any thread: autologging has some of its own."""
        with self._lock:
            self._add(event)
        self.flush_if_due()

    def _add(self, event: reports.Event) -> None:
        match event:
            case reports.Log(text):
                self._append(self._collapser.feed(text))
            case reports.Metrics():
                self._add_metrics(event)
            case reports.Params(values, autologged):
                self._add_autologged(values) if autologged else self._add_params(values)
            case reports.Note(text):
                self._note(text)
            case reports.Tags(values):
                self._set(values)
            case reports.Reads(inputs):
                self.use([Input(**one) for one in inputs])

    def flush_if_due(self) -> None:
        """Write what has gathered, if the last time is a while ago.

        It stays on disk as well while the store is away, or lets another thread wait.
        """
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
            self._absence.keep(self._waiting())

    def _waiting(self) -> Waiting:
        return Waiting(self._pending, self._new_params, self._new_inputs, self._new_tags, self.notes)

    def save(self, name: str, text: str) -> None:
        """Keep a file of the record itself, such as its source."""
        path = self.artifacts / "record" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.veil.text(text, f"record/{name}"), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self._note(f"record/{name} could not be written: {error.strerror}")

    def use(self, inputs: Sequence[Input]) -> None:
        """Say which data the run reads."""
        inputs = [Input(**self.veil.data(vars(one), "what it reads")) for one in inputs] if known else inputs
        with self._lock:
            new = [one for one in inputs if str(one) not in map(str, self._inputs)]
            self._inputs += new
            self._new_inputs += new
            if new:
                self._set({"mlexp.data": "; ".join(map(str, self._inputs))})

    def _set(self, tags: Mapping[str, str]) -> None:
        self._tags |= tags
        self._new_tags |= tags

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, and write what has gathered."""
        with self._lock:
            self._set({name: masked(text) for name, text in tags.items()})
        self.flush()

    def flush(self, tags: Mapping[str, str] | None = None) -> None:
        """Write what has gathered, and tags with it; what another thread adds meanwhile is left for the next time.

        Raises:
            StoreError: It can't be written; it is kept for the next time.
        """
        self._flushed = time.monotonic()
        with self._writes:
            with self._lock:
                own, inputs, noted = dict(self._new_tags), list(self._new_inputs), self._noted()
            rest = list(run_tags({**own, **({} if noted == self._told else noted), **(tags or {})}))
            if self._store is None or not (self._pending or self._new_params or inputs or rest):
                return
            try:
                with translated(self._store.uri):
                    check(self._store.uri)
                    while self._pending or self._new_params or rest:
                        metrics, params = self._pending[:METRICS], self._new_params[:PARAMS]
                        self._send(self._store, metrics, params, rest[:TAGS])
                        del rest[:TAGS]
                        with self._lock:
                            self._absence.wrote(len(metrics), len(params))
                            del self._pending[: len(metrics)], self._new_params[: len(params)]
                    if inputs:
                        self._store.log_inputs(self._id, inputs)
                    with self._lock:
                        self._absence.wrote(0, 0, len(inputs))
                        del self._new_inputs[: len(inputs)]
                        self._new_tags = {n: text for n, text in self._new_tags.items() if own.get(n) != text}
                    self._told = noted
            except StoreError as error:
                if not is_refusal(error):
                    self._is_away(time.monotonic() - self._flushed)
                raise
            with self._lock:
                if not (self._pending or self._new_params or self._new_inputs) and (note := self._absence.end()):
                    self._note(note)

    def _is_away(self, took: float) -> None:
        with self._lock:
            self._absence.begin(self._waiting(), took)

    def _send(self, store: Store, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        """Write a batch. What of it the store refuses is noted, and doesn't keep it from the rest."""
        try:
            with translated(store.uri):
                store.client.log_batch(self._id, metrics=metrics, params=params, tags=tags)
        except StoreError as error:
            if not is_refusal(error):
                raise
            self._send_apart(store, metrics, params, tags)

    def _send_apart(self, store: Store, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        parts: list[tuple[str, list[Metric], list[Param], list[RunTag]]] = [
            ("metrics", metrics, [], []),
            ("tags", [], [], tags),
            *((f"parameter {one.key!r}", [], [one], []) for one in params),
        ]
        for what, some, given, told in parts:
            try:
                with translated(store.uri):
                    store.client.log_batch(self._id, metrics=some, params=given, tags=told)
            except StoreError as error:
                if not is_refusal(error):
                    raise
                self._note(f"the store refused the {what}: {error}")

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
            except StoreError:
                self._is_away(0.0)
                self._leave(outcome, tags)
                raise
        self._let_go()
        self.record = self._record(outcome, ended, final)
        return self.record

    def _record(self, outcome: Outcome, ended: datetime, final: Mapping[str, str]) -> Record:
        return Record(
            **{name: getattr(self.first, name) for name in _KEPT},
            status=outcome.status,
            params=dict(self.params),
            metrics=dict(self.metrics),
            autologged=dict(self.autologged),
            seconds=(ended - self.first.started).total_seconds(),
            failure=outcome.failure,
            tags={**self.first.tags, **self._tags, **final},
            notes=tuple(self.notes),
        )

    def end(self, outcome: Outcome) -> bool:
        """End the run with its record, before it is written; return whether `close` can do that later, or a sweep."""
        self.settle(outcome)
        self.record = self._record(outcome, self._ended or now(), {"mlexp.status": outcome.status.value})
        return (self.folder / _DUE).exists()

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
        """Close a run that another process drove; see `close_for`."""
        left = waiting(self.folder)
        known = {**driver.params, **{one.key: one.value for one in left.params}}
        self._pending, self._new_params = list(left.metrics), [Param(*one) for one in known.items()]
        self._new_inputs, tags = list(left.inputs), dict(left.tags)
        self.notes += [note for note in left.notes if note not in self.notes]
        self._take_pending()
        with suppress(OSError, ValueError, KeyError, TypeError):  # the disk was full, or the driver died as it wrote
            due = json.loads((self.folder / _DUE).read_text())
            failure = Failure(**due["failure"]) if due["failure"] else None
            outcome, ended = Outcome(Status(due["status"]), failure), datetime.fromtimestamp(due["ended"], UTC)
            self._new_params = [Param(*one) for one in due["params"]]
            self._pending = [Metric(*one) for one in due["metrics"]]
            self._take_pending()
            self.notes += [note for note in due["notes"] if note not in self.notes]
            tags |= due["tags"]
            self._new_inputs = [Input(**one) for one in due["inputs"]]
        self._ended = ended
        if missing := secrecy.learn_those_left(self.folder):
            self._note(
                f"its files were not looked through for {', '.join(missing)}: not set where the run was closed, "
                "after its driver had died"
            )
        self._mask_files()
        return self.close(outcome, tags)

    def _take_pending(self) -> None:
        self.metrics |= {one.key: one.value for one in self._pending if not one.key.startswith(SYSTEM)}

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
            self._note(f"its files could not all be looked through for secrets: {error}")
        for note in self.veil.notes():
            self._note(note)

    def _leave(self, outcome: Outcome, tags: Mapping[str, str]) -> None:
        if self._store is None or self._ended is None:
            return
        due = {
            "status": outcome.status.value,
            "failure": asdict(outcome.failure) if outcome.failure else None,
            "ended": self._ended.timestamp(),
            "params": [(one.key, one.value) for one in self._new_params],
            "metrics": [(one.key, one.value, one.timestamp, one.step) for one in self._pending],
            "tags": {**self._new_tags, **tags},
            "inputs": [as_data(one) for one in self._new_inputs],
            "notes": self.notes,
        }
        try:
            partial = self.folder / f"{_DUE}.partial"
            partial.write_text(json.dumps(due))
            partial.rename(self.folder / _DUE)
        except OSError as error:
            self._note(f"{self.folder} can't be written: {error.strerror}")

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
            self._note(f"not all of the log could be written: {error.strerror}")

    def _write(self, outcome: Outcome, tags: Mapping[str, str], ended: datetime) -> dict[str, str]:
        """Write the rest, end the run, and return the tags that came of it."""
        try:
            return self._write_all(outcome, tags, ended)
        except StoreError as error:
            if not is_refusal(error):
                raise
            self._keep(f"the store takes nothing more of this run, which may have been deleted there: {error}")
            return self._noted()

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
                store.client.log_batch(self._id, tags=run_tags({**tags, **self._noted()}))
            try:
                if not self._is_looked_through:
                    self._keep("files were not sent to the store, for they may hold secrets")
                    store.client.log_batch(self._id, tags=run_tags(self._noted()))
                elif self.artifacts.exists():  # else they were sent before the store went away
                    store.take_files(self.first, self.artifacts)
            except (MlflowException, OSError) as error:
                check(store.uri)
                self._keep(f"files could not be sent to the store: {error}")
                store.client.log_batch(self._id, tags=run_tags(self._noted()))
            store.client.set_terminated(self._id, TO_MLFLOW[outcome.status], int(ended.timestamp() * 1000))
        return self._noted()

    def _noted(self) -> dict[str, str]:
        return {"mlexp.notes": notes_text(self.notes)} if self.notes else {}

    def _add_params(self, values: Mapping[str, Any]) -> None:
        for name, given in recognised(dict(values)).items():
            value = given
            if known and not is_plain(given) and (text := masked(whole := text_of(given))) != whole:
                value = text  # an object that holds a secret, and would show it
            if name not in self.params:
                self.params[name] = value
                if isinstance(value, str) and value_of(value) != value:
                    self._looking_otherwise.append(key_of(name))
                    self._new_tags[TEXTS] = json.dumps(self._looking_otherwise)[:TAG_LENGTH]
                if name not in self.autologged:  # else it is written: a store takes no other value
                    self._new_params.append(self._param(name, value))
                    continue
                del self.autologged[name]
                self._name_autologged()
                self._compare_with_fits(name)
            elif is_plain(value) and is_plain(self.params[name]) and value != self.params[name]:
                self._note(f"parameter {name!r} was given as {self.params[name]!r}; the code ran with {value!r}")

    def _add_autologged(self, values: Mapping[str, Any]) -> None:
        """Take a library's own parameters: in the store beside the run's, in its record apart from them."""
        for name, value in recognised(dict(values)).items():
            fitted = self._fitted.setdefault(name, {})
            fitted.setdefault(text_of(value), value)
            if name not in self.params and name not in self.autologged:
                self.autologged[name] = value
                self._new_params.append(self._param(name, value))
            elif name in self.params:
                self._compare_with_fits(name)
            elif name in self.autologged and value != self.autologged[name]:
                self._note("fits differ in their libraries' parameters: those of the first one are recorded")
        self._name_autologged()

    def _compare_with_fits(self, name: str) -> None:
        """Note that a parameter was given as something that no fit had, as long as none has."""
        given, fitted = self.params[name], self._fitted[name]
        told = f"parameter {name!r} was given as {number(given)}; a library's fit had "
        self.notes = [note for note in self.notes if not note.startswith(masked(told))]
        if text_of(given) not in fitted:
            self._note(told + number(next(iter(fitted.values()))))

    def _name_autologged(self) -> None:
        self._new_tags[AUTOLOGGED] = json.dumps([key_of(one) for one in self.autologged])[:TAG_LENGTH]

    def _param(self, name: str, value: Any) -> Param:
        key, text = key_of(name), self.veil.text(text_of(value), f"the parameter {name}")
        if len(text) > PARAM_LENGTH:
            self.save(f"params/{key}.txt", text)
            self._note(f"parameter {name!r} is cut at {PARAM_LENGTH} characters; record/params/ has it whole")
        return Param(key, text[:PARAM_LENGTH])

    def _add_metrics(self, event: reports.Metrics) -> None:
        for name, value in event.values.items():
            key, moment = key_of(name), int(event.time * 1000)
            if key != name:
                self._note(f"metric {name!r} is called {key!r} in MLflow, which doesn't take some of its characters")
            # MLflow's latest value is that of the highest step, then of the latest time: a value without a step
            # belongs to the last step, and comes after what was reported there.
            last_step, last_moment = self._last.get(name, (0, 0))
            step = last_step if event.step is None else event.step
            if step == last_step:
                moment = max(moment, last_moment + 1)
            if step >= last_step:
                self._last[name] = step, moment
            if not name.startswith(SYSTEM):
                self.metrics[name] = value
            self._pending.append(Metric(key, value, moment, step))

    def _keep(self, problem: str) -> None:
        """Leave the run's files where they are, since the store hasn't got them."""
        self._kept = True
        self._note(f"{problem}; they are in {self.folder}")

    def _note(self, text: str) -> None:
        text = masked(text)
        if text not in self.notes:
            self.notes.append(text)


_KEPT = ("run_id", "name", "experiment", "kind", "started", "number", "parent_id", "artifact_uri")


def clear(folder: Path) -> None:
    """Remove from a run's folder what is in the store, and what was there for its driver alone."""
    for name in ("artifacts", "request.pkl", _DUE, absences.FILE, secrecy.FILE):
        path = folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
