"""The one loop: ask for a task, submit it, follow its events, tell the sampler, close its run, yield its record."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_experiment_nb import drivers, reports, secrecy, writing
from ml_experiment_nb.again import REPEATS
from ml_experiment_nb.beginnings import untracked
from ml_experiment_nb.capture import Snapshot, snapshot
from ml_experiment_nb.capture.console import Tee
from ml_experiment_nb.capture.inputs import inputs_of, values_here
from ml_experiment_nb.errors import ExecutorError, StoreError
from ml_experiment_nb.executors import Executor, open_executor
from ml_experiment_nb.failures import failure_of
from ml_experiment_nb.fields import shown
from ml_experiment_nb.files import spec_text
from ml_experiment_nb.identity import code_of, identity_tags
from ml_experiment_nb.limits import Limits
from ml_experiment_nb.masking import masked
from ml_experiment_nb.observing import Asked, observed
from ml_experiment_nb.parents import (
    RUN_ID,
    Parent,
    identity_of,
    keep_inputs,
    keep_notebook,
    keep_sources,
    open_for,
    plan_inputs,
    write_values,
)  # fmt: skip
from ml_experiment_nb.patience import Patience
from ml_experiment_nb.plans import Plan, Spec, Task, prepared
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Failure, Outcome, Record, Records, Status
from ml_experiment_nb.reports import Done, Event, Log, Metrics, Note, Secrets, waits
from ml_experiment_nb.retries import Retries, was_lost
from ml_experiment_nb.session import keep_session
from ml_experiment_nb.specs import Group
from ml_experiment_nb.sweeps import finishing, sweep
from ml_experiment_nb.tasks import tasks_of
from ml_experiment_nb.tracking import Store, opened_store
from ml_experiment_nb.work.payload import names_in_payload
from ml_experiment_nb.work.sampling import sampled

_LONG = 6000
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
STOPPED = Outcome(Status.KILLED, Failure("KeyboardInterrupt", "the run was stopped"))
LOOK = 0.5  # seconds between two looks for somebody who asks for a run to be stopped


@dataclass(frozen=True)
class Started:
    """A task has been given a slot. `parent`: this is the run that the tasks will belong to; `record`: as it begins."""

    key: str
    name: str
    run_id: str | None
    parent: bool = False
    record: Record | None = None

    @classmethod
    def of(cls, live: OpenRun, key: str, *, parent: bool = False) -> Started:
        """Return that a run was opened, with its record as it is then."""
        return cls(key, live.first.name, live.run_id, parent, replace(live.first, params=dict(live.params)))


@dataclass(frozen=True)
class Happened:
    """A running task sent an event."""

    key: str
    event: Event


Update = Started | Happened | Record


def run(plan: Plan) -> Iterator[Record]:
    """Do what a plan says and yield the records as the runs end; a group's own record comes last.

    Stopping the iteration stops the tasks: their runs are closed as killed and the study is told.

    Raises:
        StoreError: The tracking store can't be reached.
        ExecutorError: The slots can't be had.
        CaptureError: A value that the tasks need can't be sent to them.
        SpecError: The sampler or pruner doesn't take an option.
    """
    return (update for update in follow(plan) if isinstance(update, Record))


def collect(plan: Plan, records: Iterator[Record] | list[Record]) -> Records:
    """Return a plan's records as one value, the group's own record apart; those of a table's rows in its order."""
    found = list(records)
    parent = found.pop() if plan.nested and found else None
    if plan.table is not None:
        found.sort(key=lambda record: record.number or 0)
    return Records(found, parent, *plan.goal)


def follow(plan: Plan) -> Iterator[Update]:
    """Do what a plan says and yield all that happens; see `run`."""
    with ExitStack() as stack:
        driver = _Driver(plan, stack)
        try:
            yield from driver.drive()
        except BaseException as error:
            # A store that has gone fails each close, too: the first error says more.
            with _uninterrupted(), suppress(StoreError) if isinstance(error, StoreError) else nullcontext():
                lost = isinstance(error, ExecutorError) and driver.executor is not None
                driver.stop(Outcome(Status.KILLED, failure_of(error)) if lost else _outcome_of(error))
            raise


@contextmanager
def here(spec: Spec, params: Mapping[str, Any], *, later: bool = False) -> Iterator[OpenRun]:
    """Open a run around code of this very process, such as an inline cell; it closes with the block.

    What the code prints is recorded and still shown. An exception closes the run as failed and goes on.

    Args:
        spec: The experiment; its targets' source is recorded.
        params: Its parameters.
        later: A run that has finished is written in a moment, while the caller goes on; see `writing`.

    Yields:
        The open run; give it what the code reports. After the block its `record` stands in it.
    """
    secrecy.check(params)
    params = secrecy.recognised(dict(params))
    asked = spec.model_copy(update={"params": dict(params)})
    inputs = inputs_of(spec.data, Path.cwd(), {**values_here(spec.data), **params}, find_root())
    with _uninterrupted():
        store, live, taken = _open_here(spec, asked)
    try:
        keep_sources(live, _text_of_call(asked), spec.run)
        keep_inputs(live, inputs)
        keep_notebook(live, taken.notebook)
        keep_session(live.save, lambda text: live.add(Note(text)))
        live.environment = _environment(store, live, store.root)
        if (note := secrecy.literal_credentials(params)) is not None:
            live.add(Note(note))
        heard, watch = Tee(live.log_path, notes=live.notes, veil=live.veil), Asked.of(spec)
        with _looked_after(live), heard, reports.local_sink(live), sampled(live, watch), observed(live, watch):
            yield live
    except BaseException as error:
        outcome = _outcome_of(error)
        if outcome is STOPPED and (who := drivers.stop_asked(live.folder)):
            outcome = _stopped_by(who)
        if outcome.status is Status.FAILED and outcome.failure is not None:
            live.add(Log(f"{outcome.failure.traceback}\n"))  # as in the log of a task
        try:
            if outcome.status is Status.FAILED:
                Patience().insist(_whole(lambda: live.close(outcome)))
            else:  # who stops it doesn't wait
                with _uninterrupted():
                    live.close(outcome)
        except StoreError as gone:  # the code's own error says more
            error.add_note(str(gone))
        finally:
            live.drop()  # what could not be written is a later sweep's
        raise
    finished = Outcome(Status.FINISHED)
    if later and live.end(finished):
        writing.later(lambda: _close_here(store, live, finished), f"run {str(live.run_id)[:8]} is not written yet")
    else:
        _close_here(store, live, finished)


def _open_here(spec: Spec, asked: Spec) -> tuple[Store, OpenRun, Snapshot]:
    """Open a run of this process, by the store that it has open already, and again should that be out of date."""
    root, cwd = find_root(), Path.cwd()
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(snapshot, cwd)  # git is another process
        store, is_new = opened_store(root)
        identity = identity_tags(asked, code_of(spec.run, cwd))
    told: dict[str, Any] = {"name": spec.name, "kind": spec.kind, "params": asked.params, "identity": identity}
    taken = taking.result()
    told |= {"taken": taken, "cwd": str(cwd), "at_once": False}
    sweep(store)
    try:
        with finishing(store):
            return store, open_for(store, spec, **told), taken
    except StoreError:
        if is_new:
            raise
    store, _ = opened_store(root, anew=True)
    with finishing(store):
        return store, open_for(store, spec, **told), taken


def _close_here(store: Store, live: OpenRun, outcome: Outcome) -> None:
    try:
        Patience().insist(_whole(lambda: live.close(outcome)))
    finally:
        live.drop()  # what could not be written is a later sweep's
    with _uninterrupted():
        store.settle()


@dataclass(frozen=True)
class _Late:
    """A run that has ended and could not be written yet. `counts`: its record is one of the plan's."""

    live: OpenRun
    outcome: Outcome
    counts: bool = True

    def close(self) -> Record:
        return self.live.close(self.outcome)


class _Driver:
    """What a plan holds while it runs."""

    def __init__(self, plan: Plan, stack: ExitStack) -> None:
        self.plan = plan
        self.root = find_root()
        self.store = Store(self.root) if plan.tracked else None
        if self.store is not None:
            stack.callback(self.store.settle)
            stack.enter_context(finishing(self.store))
            sweep(self.store)
        self.snapshot = snapshot(Path(plan.cwd)) if plan.tracked else None
        self.open: dict[str, OpenRun] = {}
        self.code = code_of(plan.targets, Path(plan.cwd)) if plan.tracked else None
        self.inputs = plan_inputs(plan, self.root) if plan.tracked else []
        self.spec_yaml = spec_text(plan.spec)
        self.parent = self._parent(stack)
        self.payload = self.parent.payload if self.parent else write_values(plan, stack)
        names = plan.secrets | names_in_payload(self.payload)
        secrecy.learn_those_set(names)  # so that they are masked here
        self.secrets = secrecy.environment(names)
        self.tasks = tasks_of(plan, self.root)
        self.executor: Executor | None = None
        self.retries = Retries(plan.spec.retries if isinstance(plan.spec, Group) else 0)
        self.done: list[Record] = self.tasks.kept()
        self.limits = Limits(plan, len(self.done))
        self.patience = Patience()
        self.waiting: Task | None = None  # for the store, which is to open its run
        self.late: list[_Late] = []
        self.lost: dict[str, Record] = {}  # what is to be tried again, as it was
        self.stopped: Outcome | None = None
        self._more = True  # where there is no slot at the moment, one is waited for
        self._asked: set[str] = set()
        self._looked = 0.0

    def drive(self) -> Iterator[Update]:
        if self.parent is not None:
            with _uninterrupted():
                live = self.parent.open(self.tasks)
                keep_inputs(live, self.inputs)
                self.payload = self.parent.payload
            yield Started.of(live, "", parent=True)
        yield from list(self.done)
        self.executor = open_executor(self.plan)
        while True:
            for key in self.limits.due(self.open):
                self.executor.kill(key, self.limits.stopped())
            while self._has_room() and (task := self._next()) is not None:
                if (started := self._start(task)) is not None:
                    yield started
            if not (self.open or self.executor.slots) and self.waiting is None and self._goes_on:
                self.waiting = self._next()  # is there anything that a slot is waited for?
            if not (self.open or self.late or self._goes_on):
                break
            if not self.open and self.executor.slots:
                time.sleep(0.2)
            for key, event in self.executor.poll(timeout=0.2):
                if (update := self._take(key, event)) is not None:
                    yield update
            yield from self._close_late()
            for live in self.open.values():
                live.flush_if_due()
            self._heed_stops()
        self.executor.close()
        yield from self._left_lost()
        if self.parent is not None:
            outcome = self.stopped or self.limits.outcome(self.tasks.outcome(self.done))
            self.tasks.close()  # a trial that was to be tried again may be left
            parent, notes, cut = self.parent, self.limits.notes(self.done), self.limits.cut(self.done)
            notes = [*notes, *self.patience.notes]
            yield self.patience.insist(_whole(lambda: parent.close(outcome, self.tasks, self.done, notes, cut=cut)))

    def stop(self, outcome: Outcome) -> None:
        """Stop what runs and close every run, the group's own with `outcome`, whatever else fails."""
        with ExitStack() as stack:  # each of these is done even if the one before raises
            if self.parent is not None and self.parent.live is not None and self.parent.live.record is None:
                stack.callback(self.parent.live.drop)
                stack.callback(self.parent.close, outcome, self.tasks, self.done)
            stack.callback(self.tasks.close)
            stack.callback(self._left_lost)
            for late in self.late:
                stack.callback(late.live.drop)
                stack.callback(late.close)
            for key, live in list(self.open.items()):
                stack.callback(live.drop)
                stack.callback(self._close_at_once, key)
            if self.executor is not None:
                stack.callback(self.executor.close, interrupted=True)

    def _parent(self, stack: ExitStack) -> Parent | None:
        if not self.plan.nested or self.store is None or self.snapshot is None or self.code is None:
            return None
        return Parent(self.plan, self.root, self.store, self.snapshot, self.code, stack)

    def _has_room(self) -> bool:
        assert self.executor is not None
        return len(self.open) < self.executor.slots and self.patience.is_due and not self._is_over

    @property
    def _goes_on(self) -> bool:
        """Whether there may be more to start."""
        return not self._is_over and (self._more or self.waiting is not None or self.retries.waiting > 0)

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is started, whatever is left."""
        return self.stopped is not None or self.limits.reason is not None

    def _next(self) -> Task | None:
        task, self.waiting = self.waiting or self.retries.next() or self.tasks.next(), None
        self._more = task is not None
        return task

    def _start(self, task: Task) -> Started | None:
        """Open a task's run and give it a slot; None when its run can't be opened yet, as the store has gone."""
        self.waiting = task
        with _uninterrupted():
            live = self._open_run(task) if self.parent is None else self.patience.attempt(lambda: self._open_run(task))
            if live is None:
                return None
            self.open[task.key], self.waiting = live, None
            self.lost.pop(task.key, None)
            self._asked.discard(task.key)
            if (lost := self.retries.begin(task, live.run_id)) is not None and self.store is not None:
                with suppress(StoreError):  # it says so itself: `mlexp.retry_of`
                    self.store.set_tags(lost, {"mlexp.retried_by": live.run_id or ""})
        if self.store is not None:
            spec = self.plan.spec_of(task)
            text = self.spec_yaml if spec is self.plan.spec else spec_text(spec)
            keep_sources(live, text, self.plan.sources_of(task))
            keep_inputs(live, self.inputs, whole=self.parent is None)
            for note in self.plan.notes if self.parent is None else ():
                live.add(Note(note))
        env = {**self.secrets, **_environment(self.store, live, self.root), **Asked.of(self.plan.spec).as_env()}
        assert self.executor is not None
        self.executor.submit(prepared(task, folder=str(live.folder), payload=self.payload, env=env))
        return Started.of(live, task.key)

    def _take(self, key: str, event: Event) -> Update | None:
        event = self.open[key].veiled(event)
        if isinstance(event, Done):
            is_retried = self._is_retried(key, event.outcome)
            return self._lose(key, event.outcome) if is_retried else self._close(key, event.outcome)
        live = self.open[key]
        live.add(event)
        if isinstance(event, Metrics):
            self.limits.saw(key, live.first.name, live.metrics)
        if waits(event):
            assert self.executor is not None
            self.executor.answer(key, self.tasks.answer(key, event, live))
        return None if isinstance(event, Secrets) else Happened(key, event)

    def _close(self, key: str, outcome: Outcome) -> Record | None:
        """Tell the sampler of a task's end and close its run; None when that can't be written yet."""
        with _uninterrupted():
            live = self.open.pop(key)
            outcome = self._tell(key, live, outcome)
            record = self.patience.attempt(lambda: live.close(outcome))
            if record is None:
                self.late.append(_Late(live, outcome))
            else:
                self.done.append(record)
                self.limits.ended(record)
        return record

    def _left_lost(self) -> list[Record]:
        """Return the records of tasks that were to be tried again and are not, which count as they are."""
        left, self.lost = list(self.lost.values()), {}
        self.done += left
        return left

    def _close_at_once(self, key: str) -> None:
        live = self.open.pop(key)
        try:
            self._tell(key, live, STOPPED)
        finally:
            self.done.append(live.close(STOPPED))

    def _tell(self, key: str, live: OpenRun, outcome: Outcome) -> Outcome:
        live.settle(outcome)  # should the driver die between the two, the next sweep knows how it ended
        return self.tasks.tell(key, outcome, live.metrics)

    def _is_retried(self, key: str, outcome: Outcome) -> bool:
        if not was_lost(outcome):
            return self.retries.grants(key, outcome)
        self.limits.lost(key)
        asked = key in self._asked or drivers.stop_asked(self.open[key].folder) is not None
        return self.retries.grants(key, outcome, stopped=asked or self._is_over)

    def _lose(self, key: str, outcome: Outcome) -> Happened:
        """Close the run of a trial whose slot was lost; the study isn't told, for the trial is tried again."""
        live, killed = self.open.pop(key), Outcome(Status.KILLED, outcome.failure)
        note = Note(f"{live.first.name} is tried again: {outcome.failure}")
        with _uninterrupted():
            live.settle(killed)
            record = self.patience.attempt(lambda: live.close(killed))
            if record is None:
                self.late.append(_Late(live, killed, counts=False))
            else:
                self.lost[key] = record
            if self.parent is not None and self.parent.live is not None:
                self.parent.live.add(note)
        return Happened(key, note)

    def _close_late(self) -> Iterator[Record]:
        """Write what could not be written before, when the store is there again."""
        while self.late and self.patience.is_due:
            late = self.late[0]
            with _uninterrupted():
                record = self.patience.attempt(late.close)
                if record is None:
                    return
                del self.late[0]
                if late.counts:
                    self.done.append(record)
                    self.limits.ended(record)
            if late.counts:
                yield record

    def _heed_stops(self) -> None:
        """Stop what somebody has asked to be stopped: the whole plan, or one of its tasks."""
        if time.monotonic() - self._looked < LOOK or self.store is None:
            return
        self._looked = time.monotonic()
        assert self.executor is not None
        own = self.parent.live if self.parent else None
        if own is not None and self.stopped is None and (who := drivers.stop_asked(own.folder)):
            self.stopped, self.waiting = _stopped_by(who), None
        for key, live in self.open.items():
            if key not in self._asked:
                alone = drivers.stop_asked(live.folder)
                outcome = self.stopped or (Outcome(Status.KILLED, Failure("Stopped", alone)) if alone else None)
                if outcome is not None:
                    self._asked.add(key)
                    self.executor.kill(key, outcome)

    def _open_run(self, task: Task) -> OpenRun:
        spec = self.plan.spec
        if self.store is None or self.snapshot is None or self.code is None:
            return untracked(task.name, spec.kind, task.params, task.number)
        return open_for(
            self.store,
            spec,
            name=task.name,
            kind="trial" if isinstance(spec, Group) else spec.kind,
            params=task.params,
            taken=self.snapshot,
            cwd=self.plan.cwd,
            identity={**identity_of(self.plan, self.code, task), **self.retries.tags(task.key)},
            parent_id=self.parent.live.run_id if self.parent and self.parent.live else None,
            number=task.number,
            more={REPEATS: str(task.repeats)} if task.repeats is not None else {},
        )


def _text_of_call(spec: Spec) -> str:
    """Return a spec's text, values that are long cut: a call may be given whole data sets."""
    texts = {name: masked(shown(value)) for name, value in spec.params.items()}
    cut = {name: text[:_LONG] for name, text in texts.items() if len(text) > _LONG}
    return spec_text(spec.model_copy(update={"params": {**spec.params, **cut}}))


def _environment(store: Store | None, live: OpenRun, root: Path) -> dict[str, str]:
    """Return what a task's processes are told: MLflow's own variables, so that its fluent API meets the same run."""
    if store is None or live.run_id is None:
        return {"ML_EXPERIMENT_ROOT": str(root)}
    return {
        "ML_EXPERIMENT_ROOT": str(root),
        RUN_ID: live.run_id,
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_RUN_ID": live.run_id,
        "MLFLOW_EXPERIMENT_ID": store.experiment_id(live.first.experiment),
    }


def _stopped_by(who: str) -> Outcome:
    return Outcome(Status.KILLED, Failure("KeyboardInterrupt", who))


@contextmanager
def _looked_after(live: OpenRun) -> Iterator[None]:
    """Write what a run of this process has so far; interrupt its code, as Ctrl-C does, when somebody asks for that."""
    ended = threading.Event()
    can_stop = threading.current_thread() is threading.main_thread()

    def look() -> None:
        while not ended.wait(LOOK):
            live.flush_if_due()
            if can_stop and drivers.stop_asked(live.folder):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    thread = threading.Thread(target=look, name="stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return STOPPED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return Outcome(Status.FINISHED)
    # Without its store a plan was stopped, and can go on when that is there again.
    return Outcome(Status.KILLED if isinstance(error, StoreError) else Status.FAILED, failure_of(error))


def _whole(write: Callable[[], Record]) -> Callable[[], Record]:
    """Return what writes a record and is not interrupted in the middle of it."""

    def written() -> Record:
        with _uninterrupted():
            return write()

    return written


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and a plea to end off while a run is being opened or closed; they are heard afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {one: signal.signal(one, lambda number, _: arrived.append(number)) for one in _INTERRUPTS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in dict.fromkeys(arrived):
            signal.raise_signal(number)
