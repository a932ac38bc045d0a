"""The one loop: ask for a task, submit it, follow its events, tell the sampler, close its run, yield its record."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment_nb import reports
from ml_experiment_nb.capture import Snapshot, snapshot
from ml_experiment_nb.capture.console import Tee
from ml_experiment_nb.capture.sources import sources
from ml_experiment_nb.executors import Executor, open_executor
from ml_experiment_nb.failures import failure_of
from ml_experiment_nb.fields import shown
from ml_experiment_nb.files import spec_text
from ml_experiment_nb.identity import as_experiment, code_of, identity_tags
from ml_experiment_nb.limits import Limits
from ml_experiment_nb.plans import Plan, Spec, Task, prepared, space_text
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.recording import OpenRun, open_run, untracked
from ml_experiment_nb.records import Failure, Outcome, Record, Records, Status
from ml_experiment_nb.reports import Ask, Done, Event, Metrics
from ml_experiment_nb.specs import Group
from ml_experiment_nb.targets import Notebook, Script, Target
from ml_experiment_nb.tasks import tasks_of
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.work.payload import write_payload

RUN_ID = "ML_EXPERIMENT_RUN"
_LONG = 6000
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
STOPPED = Outcome(Status.KILLED, Failure("KeyboardInterrupt", "the run was stopped"))


@dataclass(frozen=True)
class Started:
    """A task has been given a slot. `parent`: this is the run that the tasks will belong to."""

    key: str
    name: str
    run_id: str | None
    parent: bool = False


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
            with _uninterrupted():
                driver.stop(_outcome_of(error))
            raise


@contextmanager
def here(spec: Spec, params: Mapping[str, Any]) -> Iterator[OpenRun]:
    """Open a run around code of this very process, such as an inline cell; it closes with the block.

    What the code prints is recorded and still shown. An exception closes the run as failed and goes on.

    Args:
        spec: The experiment; its targets' source is recorded.
        params: Its parameters.

    Yields:
        The open run; give it what the code reports. After the block its `record` stands in it.
    """
    store, taken = Store(find_root()), snapshot(Path.cwd())
    asked = spec.model_copy(update={"params": dict(params)})
    with _uninterrupted():
        identity = identity_tags(asked, code_of(spec.run, Path.cwd()))
        live = _open(
            store, spec, name=spec.name, kind=spec.kind, params=params, taken=taken, cwd=os.getcwd(), identity=identity
        )
    try:
        _keep_sources(live, _text_of_call(asked), spec.run)
        with Tee(live.log_path, notes=live.notes), reports.local_sink(live):
            yield live
    except BaseException as error:
        with _uninterrupted():
            live.close(_outcome_of(error))
        raise
    with _uninterrupted():
        live.close(Outcome(Status.FINISHED))
        store.settle()


class _Driver:
    """What a plan holds while it runs."""

    def __init__(self, plan: Plan, stack: ExitStack) -> None:
        self.plan = plan
        self.root = find_root()
        self.store = Store(self.root) if plan.tracked else None
        if self.store is not None:
            stack.callback(self.store.settle)
        self.snapshot = snapshot(Path(plan.cwd)) if plan.tracked else None
        self.open: dict[str, OpenRun] = {}
        self.code = code_of(plan.targets, Path(plan.cwd)) if plan.tracked else None
        self.spec_yaml = spec_text(plan.spec)
        self.payload = self._write_payload(stack)
        self.parent: OpenRun | None = None
        self.tasks = tasks_of(plan, self.root)
        self.limits = Limits(plan)
        self.executor: Executor | None = None
        self.done: list[Record] = []

    def drive(self) -> Iterator[Update]:
        with _uninterrupted():
            self._open_parent()
        if self.parent is not None:
            yield Started("", self.parent.first.name, self.parent.run_id, parent=True)
        self.executor = open_executor(self.plan)
        while True:
            for key in self.limits.due(self.open):
                self.executor.kill(key, self.limits.stopped())
            while len(self.open) < self.executor.slots and (task := self._next()) is not None:
                yield self._start(task)
            if not self.open:
                break
            for key, event in self.executor.poll(timeout=0.2):
                yield self._take(key, event)
            for live in self.open.values():
                live.flush_if_due()
        self.executor.close()
        if self.parent is not None:
            with _uninterrupted():
                record = self._close_parent(self.limits.outcome(self.tasks.outcome(self.done)))
            yield record

    def stop(self, outcome: Outcome) -> None:
        """Stop what runs and close every run, the group's own with `outcome`, whatever else fails."""
        with ExitStack() as stack:  # each of these is done even if the one before raises
            if self.parent is not None and self.parent.record is None:
                stack.callback(self._close_parent, outcome)
            stack.callback(self.tasks.close)
            for key in list(self.open):
                stack.callback(self._close, key, STOPPED)
            if self.executor is not None:
                stack.callback(self.executor.close, interrupted=True)

    def _next(self) -> Task | None:
        return self.tasks.next() if self.limits.reason is None else None

    def _start(self, task: Task) -> Started:
        with _uninterrupted():
            self.open[task.key] = live = self._open_run(task)
        if self.store is not None:
            spec = self.plan.spec_of(task)
            text = self.spec_yaml if spec is self.plan.spec else spec_text(spec)
            _keep_sources(live, text, self.plan.sources_of(task))
        env = _environment(self.store, live, self.root)
        assert self.executor is not None
        self.executor.submit(prepared(task, folder=str(live.folder), payload=self.payload, env=env))
        return Started(task.key, task.name, live.run_id)

    def _take(self, key: str, event: Event) -> Update:
        if isinstance(event, Done):
            return self._close(key, event.outcome)
        live = self.open[key]
        live.add(event)
        if isinstance(event, Metrics):
            self.limits.saw(key, live.first.name, live.metrics)
        if isinstance(event, Ask) or (isinstance(event, Metrics) and event.ask):
            assert self.executor is not None
            self.executor.answer(key, self.tasks.answer(key, event, live))
        return Happened(key, event)

    def _close(self, key: str, outcome: Outcome) -> Record:
        with _uninterrupted():
            live = self.open.pop(key)
            try:
                outcome = self.tasks.tell(key, outcome, live.metrics)
            finally:
                record = live.close(outcome)
            self.done.append(record)
            self.limits.ended(record)
        return record

    def _open_run(self, task: Task) -> OpenRun:
        spec = self.plan.spec
        if self.store is None or self.snapshot is None:
            return untracked(task.name, spec.kind, task.params, task.number)
        return _open(
            self.store,
            spec,
            name=task.name,
            kind="trial" if isinstance(spec, Group) else spec.kind,
            params=task.params,
            taken=self.snapshot,
            cwd=self.plan.cwd,
            identity=self._identity(task),
            parent_id=self.parent.run_id if self.parent else None,
            number=task.number,
        )

    def _open_parent(self) -> None:
        spec = self.plan.spec
        if not self.plan.nested or self.store is None or self.snapshot is None:
            return
        space = {n: space_text(v) for n, v in spec.param_space.items()} if isinstance(spec, Group) else {}
        self.parent = live = _open(
            self.store,
            spec,
            name=spec.name,
            kind=spec.kind,
            params={**spec.params, **space},
            taken=self.snapshot,
            cwd=self.plan.cwd,
            identity=self._identity(),
        )
        _keep_sources(live, self.spec_yaml, self.plan.targets)
        live.save("plan.txt", str(self.plan) + "\n")
        if (table := self.plan.table) is not None and table.file is not None:
            live.save(f"each{Path(table.file).suffix}", table.text)
        for note in self.plan.notes:
            live.add(reports.Note(note))
        live.tag(self.tasks.tags())

    def _identity(self, task: Task | None = None) -> dict[str, str]:
        """Return the tags that say what was asked: of a trial, it alone as an experiment; of a step, its target."""
        assert self.code is not None
        spec, code = self.plan.spec, self.code
        if task is not None and isinstance(spec, Group):
            spec = as_experiment(spec, task.params)
        elif task is not None and len(self.plan.targets) > 1:
            targets = tuple(step.target for step in task.steps)
            spec = spec.model_copy(update={"run": targets, "params": dict(task.params)})
            code = code_of(targets, Path(self.plan.cwd))
        return identity_tags(spec, code)

    def _close_parent(self, outcome: Outcome) -> Record:
        assert self.parent is not None
        metrics, tags = self.tasks.summary(self.done)
        self.parent.add(Metrics(metrics))
        for note in self.limits.notes(self.done):
            self.parent.add(reports.Note(note))
        self.tasks.keep(self.parent, self.done)
        return self.parent.close(outcome, tags)

    def _write_payload(self, stack: ExitStack) -> str | None:
        if not self.plan.values:
            return None
        folder = tempfile.mkdtemp(prefix="mlexp-values-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return str(write_payload(self.plan.values, Path(folder)))


def _open(
    store: Store, spec: Spec, *, name: str, kind: str, params: Mapping[str, Any], taken: Snapshot, cwd: str,
    identity: Mapping[str, str], parent_id: str | None = None, number: int | None = None,
) -> OpenRun:  # fmt: skip
    names = [target.path if isinstance(target, Script | Notebook) else target.name for target in spec.run]
    tags = {
        "mlflow.source.name": ", ".join(names),
        "mlflow.source.type": "LOCAL",
        "mlexp.cwd": cwd,
        **identity,
    }
    tags |= {"mlflow.note.content": spec.description} if spec.description else {}
    parts = [target.part for target in spec.run if isinstance(target, Notebook) and target.part]
    tags |= {"mlexp.partial": "; ".join(parts)} if parts else {}
    return open_run(
        store,
        name=name,
        experiment=spec.name,
        kind=kind,
        params=params,
        tags={**tags, **spec.tags},
        snapshot=taken,
        parent_id=parent_id or os.environ.get(RUN_ID),
        number=number,
    )


def _text_of_call(spec: Spec) -> str:
    """Return a spec's text, values that are long cut: a call may be given whole data sets."""
    texts = {name: shown(value) for name, value in spec.params.items()}
    cut = {name: text[:_LONG] for name, text in texts.items() if len(text) > _LONG}
    return spec_text(spec.model_copy(update={"params": {**spec.params, **cut}}))


def _keep_sources(live: OpenRun, spec_yaml: str, targets: Iterable[Target]) -> None:
    for name, text in sources(targets).items():
        live.save(f"source/{name}", text)
    live.save("spec.yaml", spec_yaml)


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


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return STOPPED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return Outcome(Status.FINISHED)
    return Outcome(Status.FAILED, failure_of(error))


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
