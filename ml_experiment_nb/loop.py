"""The one loop: ask for a task, submit it, follow its events, tell the sampler, close its run, yield its record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_experiment_nb import drivers, notify, secrecy
from ml_experiment_nb.endings import STOPPED, outcome_of, stopped_by, uninterrupted, whole
from ml_experiment_nb.errors import ExecutorError, SpecError, StoreError
from ml_experiment_nb.events import Done, Event, Metrics, Note, Secrets, waits
from ml_experiment_nb.executors import Executor, open_executor
from ml_experiment_nb.failures import failure_of
from ml_experiment_nb.identity import ASKED
from ml_experiment_nb.known import taken_of_group
from ml_experiment_nb.limits import Limits
from ml_experiment_nb.parents import (
    Parent,
    write_values,
)  # fmt: skip
from ml_experiment_nb.patience import Patience
from ml_experiment_nb.plans import Plan, Task, prepared
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Failure, Outcome, Record, Records, Status
from ml_experiment_nb.retries import Retries, was_lost
from ml_experiment_nb.specs import Group
from ml_experiment_nb.sweeps import finishing, sweep
from ml_experiment_nb.taking import take, write_output
from ml_experiment_nb.task_runs import TaskRuns
from ml_experiment_nb.tasks import tasks_of
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Happened, Started, Update
from ml_experiment_nb.work.payload import names_in_payload

if TYPE_CHECKING:
    pass


def run(plan: Plan) -> Iterator[Record]:
    """Do what a plan says and yield the records as the runs end; a group's own record comes last.

    Stopping the iteration stops the tasks: their runs are closed as killed and the study is told.

    Raises:
        StoreError: The tracking store can't be reached.
        ExecutorError: The slots can't be had.
        CaptureError: A value that the tasks need can't be sent to them.
        SpecError: It is no plan, or its sampler or pruner doesn't take an option.
    """
    if not isinstance(plan, Plan):
        raise SpecError(f"run takes a plan, such as make_plan(spec) gives, not one of type {type(plan).__name__}")
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
    if plan.known is not None and plan.known.whole:
        yield from _known_already(plan, plan.known.whole)
        return
    with ExitStack() as stack:
        driver = _Driver(plan, stack)
        try:
            yield from driver.drive()
        except BaseException as error:
            # A store that has gone fails each close, too: the first error says more.
            with uninterrupted(), suppress(StoreError) if isinstance(error, StoreError) else nullcontext():
                lost = isinstance(error, ExecutorError) and driver.executor is not None
                driver.stop(Outcome(Status.KILLED, failure_of(error)) if lost else outcome_of(error))
            raise


def _started(live: OpenRun, key: str, *, parent: bool = False) -> Started:
    """Return that a run was opened, with its record as it is then."""
    return Started(key, live.first.name, live.run_id, parent, replace(live.first, params=dict(live.params)))


def _without_slots(plan: Plan) -> Plan:
    return replace(plan, executor="inline", slots=1, distributed=None)


def _known_already(plan: Plan, records: Sequence[Record]) -> Iterator[Update]:
    if plan.output is not None:
        write_output(Store(find_root()), records[-1], plan.output)
    yield from records


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
        notify.hide(plan.spec.notify)
        self.plan = plan
        self.root = find_root()
        self.store = Store(self.root) if plan.tracked else None
        if self.store is not None:
            stack.callback(self.store.settle)
            stack.enter_context(finishing(self.store))
            sweep(self.store)
        self.runs = TaskRuns(plan, self.root, self.store)
        self.open: dict[str, OpenRun] = {}
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
        if self.plan.spec.docker_config is not None:
            yield from self.runs.ready()
        if self.parent is not None:
            with uninterrupted():
                live = self.parent.open(self.tasks, self.runs.snapshot)
                self.runs.describe_parent(live)
                self.payload = self.parent.payload
            yield _started(live, "", parent=True)
        yield from list(self.done)
        yield from self._known_first()
        self.executor = open_executor(self.plan if self._goes_on else _without_slots(self.plan), self._note)
        while True:
            for key in self.limits.due(self.open):
                self.executor.kill(key, self.limits.stopped())
            while self._has_room() and (task := self._next()) is not None:
                yield from self._begin(task)
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
            own = self.parent.live if self.parent is not None else None
            for live in (*self.open.values(), *([own] if own is not None else [])):
                live.flush_if_due()
            self._heed_stops()
        self.executor.close()
        yield from self._left_lost()
        if self.parent is not None:
            outcome = self.stopped or self.limits.outcome(self.tasks.outcome(self.done))
            self.tasks.close()  # a trial that was to be tried again may be left
            parent, notes, cut = self.parent, self.limits.notes(self.done), self.limits.cut(self.done)
            notes = [*notes, *taken_of_group(self.done), *self.patience.notes]
            yield self.patience.insist(whole(lambda: parent.close(outcome, self.tasks, self.done, notes, cut=cut)))

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
        if not self.plan.nested or self.store is None:
            return None
        return Parent(self.plan, self.root, self.store, self.runs.code, stack)

    def _note(self, text: str) -> None:
        if self.parent is not None and self.parent.live is not None:
            self.parent.live.add(Note(text))

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

    def _known_first(self) -> Iterator[Update]:
        """Take what is known before the first task that is to be run: no slot is needed for that."""
        while self.plan.known is not None and self.waiting is None and not self._is_over:
            if (task := self._next()) is None:
                return
            if self._known(task) is None:
                self.waiting = task
                return
            yield from self._begin(task)

    def _begin(self, task: Task) -> Iterator[Update]:
        """Give a task a slot, or take its result from the run that has it already."""
        found = self._known(task)
        started = self._start(task) if found is None else self._take_known(task, found)
        if started is not None:
            yield started
        if found is not None and started is not None:
            self.limits.saw(task.key, task.name, self.open[task.key].told.metrics)
            if (record := self._close(task.key, Outcome(Status.FINISHED))) is not None:
                yield record

    def _known(self, task: Task) -> Record | None:
        if self.plan.known is None or self.store is None:
            return None
        found = self.plan.known.records.get(self.runs.identity(task)[ASKED])
        if found is None or task.output is None or write_output(self.store, found, task.output):
            return found
        return None

    def _take_known(self, task: Task, found: Record) -> Started | None:
        """Open a task's run with the result of an earlier one; None when the store has gone."""
        with uninterrupted():
            self.waiting = task
            if (live := self._opened(task)) is None:
                return None
            self.open[task.key], self.waiting = live, None
            take(live, found, self.plan)
        return _started(live, task.key)

    def _opened(self, task: Task) -> OpenRun | None:
        parent_id = self.parent.live.run_id if self.parent and self.parent.live else None
        tags = self.retries.tags(task.key)
        if self.parent is None:
            return self.runs.open(task, parent_id, tags)
        return self.patience.attempt(lambda: self.runs.open(task, parent_id, tags))

    def _start(self, task: Task) -> Started | None:
        """Open a task's run and give it a slot; None when its run can't be opened yet, as the store has gone."""
        self.waiting = task
        with uninterrupted():
            live = self._opened(task)
            if live is None:
                return None
            self.open[task.key], self.waiting = live, None
            self.lost.pop(task.key, None)
            self._asked.discard(task.key)
            if (lost := self.retries.begin(task, live.run_id)) is not None and self.store is not None:
                with suppress(StoreError):  # it says so itself: `mlexp.retry_of`
                    self.store.set_tags(lost, {"mlexp.retried_by": live.run_id or ""})
        self.runs.describe(live, task, alone=self.parent is None)
        env, container = {**self.secrets, **self.runs.environment(live)}, self.runs.container
        assert self.executor is not None
        self.executor.submit(
            prepared(task, folder=str(live.folder), payload=self.payload, env=env, container=container)
        )
        return _started(live, task.key)

    def _take(self, key: str, event: Event) -> Update | None:
        event = self.open[key].veiled(event)
        if isinstance(event, Done):
            is_retried = self._is_retried(key, event.outcome)
            return self._lose(key, event.outcome) if is_retried else self._close(key, event.outcome)
        live = self.open[key]
        live.add(event)
        if isinstance(event, Metrics):
            self.limits.saw(key, live.first.name, live.told.metrics)
        if waits(event):
            assert self.executor is not None
            self.executor.answer(key, self.tasks.answer(key, event, live))
        return None if isinstance(event, Secrets) else Happened(key, event)

    def _close(self, key: str, outcome: Outcome) -> Record | None:
        """Tell the sampler of a task's end and close its run; None when that can't be written yet."""
        with uninterrupted():
            live = self.open[key]
            outcome = self._tell(key, live, outcome)
            del self.open[key]
            record = self._written(_Late(live, outcome))
            if record is not None:
                self.done.append(record)
                self.limits.ended(record)
        return record

    def _written(self, ended: _Late) -> Record | None:
        """Return the record of a run that is written now; it is one of the late until it is, whatever is raised."""
        self.late.append(ended)
        record = self.patience.attempt(ended.close)
        if record is not None:
            self.late.remove(ended)
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
        return self.tasks.tell(key, outcome, live.told.metrics)

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
        with uninterrupted():
            live.settle(killed)
            if (record := self._written(_Late(live, killed, counts=False))) is not None:
                self.lost[key] = record
            if self.parent is not None and self.parent.live is not None:
                self.parent.live.add(note)
        return Happened(key, note)

    def _close_late(self) -> Iterator[Record]:
        """Write what could not be written before, when the store is there again."""
        while self.late and self.patience.is_due:
            late = self.late[0]
            with uninterrupted():
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
        if time.monotonic() - self._looked < drivers.LOOK or self.store is None:
            return
        self._looked = time.monotonic()
        assert self.executor is not None
        own = self.parent.live if self.parent else None
        if own is not None and self.stopped is None and (who := drivers.stop_asked(own.folder)):
            self.stopped, self.waiting = stopped_by(who), None
        for key, live in self.open.items():
            if key not in self._asked:
                alone = drivers.stop_asked(live.folder)
                outcome = self.stopped or (Outcome(Status.KILLED, Failure("Stopped", alone)) if alone else None)
                if outcome is not None:
                    self._asked.add(key)
                    self.executor.kill(key, outcome)
