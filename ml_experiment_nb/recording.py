"""A run while it goes on: what its driver is told of it, written to MLflow.

A run is opened, fed events and closed by the process that drives it, through the store's client with explicit ids; no
global active run is touched. What is ours stands in tags under ``mlexp.`` and in artifacts under ``record/``; the
user's own artifacts stand at the run's root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from ml_experiment_nb import absences, reports, secrecy
from ml_experiment_nb.absences import Absence, waiting
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.console import Collapser
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.capture.packages import as_requirements
from ml_experiment_nb.drivers import Driver, Hold, this_driver
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.hearing import heard
from ml_experiment_nb.masking import Veil, masked
from ml_experiment_nb.openings import opened
from ml_experiment_nb.readings import AUTOLOGGED
from ml_experiment_nb.records import SYSTEM, Failure, Outcome, Record, Status, now, number
from ml_experiment_nb.secrecy import known, recognised
from ml_experiment_nb.stores import check, is_refusal, translated, without_password
from ml_experiment_nb.tracking import LOG, Store
from ml_experiment_nb.trials import Fixed, answered

FLUSH_SECONDS = 1.0
_PARAM_LENGTH = 6000
_METRICS, _PARAMS, _TAGS = 800, 100, 100  # what MLflow takes in one batch: 1,000 entities, of them so many
_TAG_LENGTH = 5000
_DUE = "due.json"  # what is to be written of a run that has ended, until it is
_TO_MLFLOW = {
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.PRUNED: "KILLED",
    Status.KILLED: "KILLED",
    Status.RUNNING: "RUNNING",
}


def open_run(
    store: Store,
    *,
    name: str,
    experiment: str,
    kind: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    snapshot: Snapshot,
    parent_id: str | None = None,
    number: int | None = None,
    at_once: bool = True,
) -> OpenRun:
    """Open a run and record what is known at its start; its parameters with what follows, if not `at_once`.

    Raises:
        StoreError: The store can't be written.
    """
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
    name, params, started = masked(name), recognised(dict(params)), now()
    with translated(store.uri):
        check(store.uri)
    driver = this_driver(
        store=without_password(store.uri), name=name, kind=kind, parent=parent_id, number=number,
        params={_key(one): masked(_text(value))[:_PARAM_LENGTH] for one, value in params.items()},
    )  # fmt: skip
    everything = {
        "mlexp.kind": kind,
        **_snapshot_tags(snapshot),
        **({"mlflow.parentRunId": parent_id} if parent_id else {}),
        **({"mlexp.trial": str(number)} if number is not None else {}),
        **tags,
    }
    everything = {name: masked(value) for name, value in everything.items()}

    def create(driver: Driver) -> Run:
        given = {_key(name): value[:_TAG_LENGTH] for name, value in everything.items()}
        return store.client.create_run(
            store.experiment_id(experiment),
            start_time=int(started.timestamp() * 1000),
            tags=given | {"mlexp.driver": driver.tag},
            run_name=name,
        )

    run, hold = opened(store, driver, create)
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    everything["mlexp.driver"] = hold.driver.tag
    first = Record(
        run.info.run_id, name, experiment, kind, Status.RUNNING, {}, {}, started, 0.0,
        number=number, parent_id=parent_id, artifact_uri=run.info.artifact_uri, tags=everything,
    )  # fmt: skip
    live = OpenRun(first, hold.folder, store, hold)
    secrecy.leave(live.folder, known.values())
    live.add(reports.Params(dict(params)))
    live.save("requirements.txt", as_requirements(snapshot.packages))
    if snapshot.git is not None and snapshot.git.diff:
        live.save("git.diff", snapshot.git.diff)
    if snapshot.git is not None and snapshot.git.untracked:
        live.save("untracked.txt", "".join(f"{path}\n" for path in snapshot.git.untracked))
    for note in snapshot.notes:
        live.add(reports.Note(note))
    if kind != "trial" and at_once:  # of trials there may be many a second: theirs are written with what follows
        live.flush()
    return live


def reopen_run(store: Store, record: Record, hold: Hold) -> OpenRun:
    """Open a run again that had ended; its parameters and notes are those that it had.

    Args:
        store: The store.
        record: The run.
        hold: The hold on its folder, taken already.

    Raises:
        StoreError: The store can't be written.
    """
    run_id = str(record.run_id)
    tags = {"mlexp.status": Status.RUNNING.value, "mlexp.driver": hold.driver.tag}
    with translated(store.uri):
        check(store.uri)
        store.client.update_run(run_id, status="RUNNING")
        store.client.log_batch(run_id, tags=_run_tags(tags))
        if "mlexp.error" in record.tags:
            store.client.delete_tag(run_id, "mlexp.error")
    kept = {name: value for name, value in record.tags.items() if name != "mlexp.error"} | tags
    first = replace(record, status=Status.RUNNING, failure=None, params={}, metrics={}, tags=kept, notes=())
    live = OpenRun(first, hold.folder, store, hold)
    live.params, live.notes = dict(record.params), list(record.notes)
    return live


def close_for(driver: Driver, store: Store, record: Record, folder: Path, outcome: Outcome, ended: datetime) -> Record:
    """Close a run whose driver is gone, with all that it left in the run's folder.

    Args:
        driver: Who drove it.
        store: The store.
        record: The run as the store has it.
        folder: The run's folder.
        outcome: What it ends with, unless its driver had got to know how it ended.
        ended: When that was.

    Raises:
        StoreError: The store can't be written; the folder stays.
    """
    live = OpenRun(record, folder, store)
    live.metrics, live.notes = dict(record.metrics), list(record.notes)
    live.params = {**driver.params, **record.params}
    return live.close_late(driver, outcome, ended)


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
        self.metrics: dict[str, float] = {}
        self.notes: list[str] = []
        self._tags: dict[str, str] = {}
        self.autologged: dict[str, Any] = {}
        self._lock = threading.RLock()
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
        self._flushed = time.monotonic()
        self._collapser = Collapser()
        self._absence = Absence(folder)
        self._kept = False
        self.veil = Veil()
        self._printed = self.veil.stream("its output")
        (self.artifacts / "record").mkdir(parents=True, exist_ok=True)
        self.log_path = self.artifacts / LOG
        self.record: Record | None = None

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None when it isn't tracked."""
        return self.first.run_id

    @property
    def client(self) -> Any:
        """The client that the run is written by; None where it isn't tracked."""
        return self._store.client if self._store is not None else None

    def send(self, event: reports.Event) -> None:
        """Take an event of code in this process."""
        self.add(self.veiled(event))

    def ask(self, event: reports.Metrics | reports.Ask) -> reports.Answer:
        """Take an event of code in this process that waits for an answer."""
        self.add(self.veiled(event))
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
                self._tags |= values
                self._new_tags |= values
            case reports.Reads(inputs):
                self.use([Input(**one) for one in inputs])
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what has gathered, if the last time is a while ago."""
        if time.monotonic() - self._flushed > FLUSH_SECONDS + self._absence.pause:
            with suppress(StoreError):  # what can't be written now is tried again, and for the last time by `close`
                self.flush()

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
        new = [one for one in inputs if str(one) not in map(str, self._inputs)]
        self._inputs += new
        self._new_inputs += new
        if new:
            self.add(reports.Tags({"mlexp.data": "; ".join(map(str, self._inputs))}))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, and write what has gathered."""
        self._tags |= {name: masked(text) for name, text in tags.items()}
        self.flush(tags)

    def flush(self, tags: Mapping[str, str] | None = None) -> None:
        """Write what has gathered, and tags with it; what another thread adds meanwhile is left for the next time.

        Raises:
            StoreError: It can't be written; it is kept for the next time.
        """
        self._flushed = time.monotonic()
        with self._writes:
            own, inputs = dict(self._new_tags), list(self._new_inputs)
            rest = list(_run_tags({**own, **(tags or {})}))
            if self._store is None or not (self._pending or self._new_params or inputs or rest):
                return
            try:
                with translated(self._store.uri):
                    check(self._store.uri)
                    while self._pending or self._new_params or rest:
                        metrics, params = self._pending[:_METRICS], self._new_params[:_PARAMS]
                        self._store.client.log_batch(self._id, metrics=metrics, params=params, tags=rest[:_TAGS])
                        self._absence.wrote(len(metrics), len(params))
                        del self._pending[: len(metrics)], self._new_params[: len(params)], rest[:_TAGS]
                    self._new_tags = {n: text for n, text in self._new_tags.items() if own.get(n) != text}
                    if inputs:
                        self._store.log_inputs(self._id, inputs)
                        del self._new_inputs[: len(inputs)]
            except StoreError as error:
                if not is_refusal(error):
                    self._absence.begin(self._pending, self._new_params, time.monotonic() - self._flushed)
                raise
            if (note := self._absence.end()) is not None:
                self._note(note)

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
                self._absence.begin(self._pending, self._new_params, 0.0)
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
        tags: dict[str, str] = {}
        self._pending, params = waiting(self.folder)
        known = {**driver.params, **{one.key: one.value for one in params}}
        self._new_params = [Param(*one) for one in known.items()]
        self.metrics |= {one.key: one.value for one in self._pending}
        with suppress(OSError, ValueError, KeyError, TypeError):  # the disk was full, or the driver died as it wrote
            due = json.loads((self.folder / _DUE).read_text())
            failure = Failure(**due["failure"]) if due["failure"] else None
            outcome, ended = Outcome(Status(due["status"]), failure), datetime.fromtimestamp(due["ended"], UTC)
            self._new_params = [Param(*one) for one in due["params"]]
            self._pending = [Metric(*one) for one in due["metrics"]]
            self.metrics |= {one.key: one.value for one in self._pending if not one.key.startswith(SYSTEM)}
            self.notes += [note for note in due["notes"] if note not in self.notes]
            tags = due["tags"]
        self._ended = ended
        if missing := secrecy.learn_those_left(self.folder):
            self._note(
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

    def _mask_files(self) -> None:
        try:
            self.veil.folder(self.artifacts)
        except OSError as error:
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
            gone = ("request.pkl", _DUE, absences.FILE, secrecy.FILE)
            for name in (self.artifacts, *(self.folder / one for one in gone)):
                shutil.rmtree(name, ignore_errors=True) if name.is_dir() else name.unlink(missing_ok=True)
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
        """Write the rest, end the run, and return the tags that came of it.

        All goes in one batch: of trials there may be many a second, and each call costs them.
        """
        assert self._store is not None
        store = self._store
        self._kept = False
        with translated(store.uri, f"; what was recorded stays in {self.folder}"):
            try:
                noted = self._noted()
                self.flush({**tags, **noted})
                if self._noted() != noted:
                    store.client.log_batch(self._id, tags=_run_tags(self._noted()))
            except StoreError as error:
                if not is_refusal(error):
                    raise
                self._keep(f"not all parameters and metrics could be recorded: {error}")
                store.client.log_batch(self._id, tags=_run_tags({**tags, **self._noted()}))
            try:
                if self.artifacts.exists():  # else they were sent before the store went away
                    store.take_files(self.first, self.artifacts)
            except (MlflowException, OSError) as error:
                check(store.uri)
                self._keep(f"files could not be sent to the store: {error}")
                store.client.log_batch(self._id, tags=_run_tags(self._noted()))
            store.client.set_terminated(self._id, _TO_MLFLOW[outcome.status], int(ended.timestamp() * 1000))
        return self._noted()

    def _noted(self) -> dict[str, str]:
        return {"mlexp.notes": notes_text(self.notes)} if self.notes else {}

    def _add_params(self, values: Mapping[str, Any]) -> None:
        for name, value in recognised(dict(values)).items():
            if name not in self.params:
                self.params[name] = value
                if self.autologged.pop(name, None) is None:  # else it is written: a store takes no other value
                    self._new_params.append(self._param(name, value))
            elif _is_plain(value) and _is_plain(self.params[name]) and value != self.params[name]:
                self._note(f"parameter {name!r} was given as {self.params[name]!r}; the code ran with {value!r}")

    def _add_autologged(self, values: Mapping[str, Any]) -> None:
        """Take a library's own parameters: in the store beside the run's, in its record apart from them."""
        for name, value in recognised(dict(values)).items():
            if name not in self.params and name not in self.autologged:
                self.autologged[name] = value
                self._new_params.append(self._param(name, value))
                self._new_tags[AUTOLOGGED] = json.dumps([_key(one) for one in self.autologged])[:_TAG_LENGTH]
            elif name in self.params and _text(value) != _text(had := self.params[name]):
                self._note(f"parameter {name!r} was given as {number(had)}; a library's fit had {number(value)}")
            elif name in self.autologged and value != self.autologged[name]:
                self._note("fits differ in their libraries' parameters: those of the first one are recorded")

    def _param(self, name: str, value: Any) -> Param:
        key, text = _key(name), self.veil.text(_text(value), f"the parameter {name}")
        if len(text) > _PARAM_LENGTH:
            self.save(f"params/{key}.txt", text)
            self._note(f"parameter {name!r} is cut at {_PARAM_LENGTH} characters; record/params/ has it whole")
        return Param(key, text[:_PARAM_LENGTH])

    def _add_metrics(self, event: reports.Metrics) -> None:
        for name, value in event.values.items():
            key, moment = _key(name), int(event.time * 1000)
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


def untracked(name: str, kind: str, params: Mapping[str, Any], number: int | None = None) -> OpenRun:
    """Return the run of a job: it gathers like any other and is recorded nowhere."""
    first = Record(None, name, name, kind, Status.RUNNING, {}, {}, now(), 0.0, number=number)
    live = OpenRun(first, Path(tempfile.mkdtemp(prefix="mlexp-job-")), None)
    live.add(reports.Params(dict(params)))
    return live


def _snapshot_tags(snapshot: Snapshot) -> dict[str, str]:
    tags = snapshot.system.as_tags()
    git = snapshot.git
    if git is not None:
        tags |= {
            "mlflow.source.git.commit": git.commit or "",
            "mlflow.source.git.branch": git.branch or "",
            "mlflow.source.git.repoURL": git.remote or "",
            "mlexp.git.dirty": str(git.dirty).lower(),
        }
    return {"mlflow.user": snapshot.system.user} | {key: value for key, value in tags.items() if value}


def _run_tags(tags: Mapping[str, str]) -> Sequence[RunTag]:
    return [RunTag(_key(name), masked(value)[:_TAG_LENGTH]) for name, value in tags.items()]


def notes_text(notes: Sequence[str]) -> str:
    """Return notes as JSON that fits into a tag; the first ones stay."""
    kept = list(notes)
    while len(text := json.dumps(kept)) > _TAG_LENGTH:
        kept = [*kept[:-2], "…"] if len(kept) > 1 else [kept[0][: len(kept[0]) // 2]]
    return text


def _key(name: str) -> str:
    """Return a name as MLflow takes it: letters, digits, and ``_ - . : / space``, in the form of a relative path."""
    text = re.sub(r"[^/\w.\- :]", "_", masked(name))[:250]
    return "/".join(part for part in text.split("/") if part not in ("", ".", "..")) or "_"


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}, which can't be shown: {type(error).__name__}>"


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | float | bool) and value == value)
