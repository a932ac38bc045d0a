"""The run that a plan's tasks belong to, opened or opened again, described and closed; and how any run is opened."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from ml_experiment_nb import drivers, reports, triage, unfinished
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.again import IMPORTED
from ml_experiment_nb.beginnings import open_run, reopen_run
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.gallery import PLOTLY
from ml_experiment_nb.capture.inputs import Input, as_text, inputs_of, values_here
from ml_experiment_nb.capture.notebook import notebook_text
from ml_experiment_nb.capture.page import page
from ml_experiment_nb.capture.sources import sources
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.files import spec_text
from ml_experiment_nb.identity import Code, as_experiment, code_of, identity_tags
from ml_experiment_nb.limits import LIMIT_NOTE
from ml_experiment_nb.pages import add_page_of_best
from ml_experiment_nb.plans import Plan, Spec, Task, space_text
from ml_experiment_nb.projects import home
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Outcome, Record, Records, Status, size
from ml_experiment_nb.reports import Metrics
from ml_experiment_nb.session import keep_session
from ml_experiment_nb.specs import Group
from ml_experiment_nb.stores import check
from ml_experiment_nb.targets import Cell, Function, Notebook, Script, Target
from ml_experiment_nb.tasks import Tasks
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.work.payload import write_payload

RUN_ID = "ML_EXPERIMENT_RUN"
_LONG_PAGE = 2_000_000  # bytes of a notebook whose page costs more time than a cell should: `show --html` makes it
_page = lru_cache(maxsize=2)(page)  # most runs of a session find the file as the one before did
_MUCH = 100_000_000  # bytes of values that the record should speak of


def open_for(
    store: Store, spec: Spec, *, name: str, kind: str, params: Mapping[str, Any], taken: Snapshot, cwd: str,
    identity: Mapping[str, str], parent_id: str | None = None, number: int | None = None, more: Mapping[str, str] = {},
    at_once: bool = True,
) -> OpenRun:  # fmt: skip
    """Open a run of a spec; see `open_run`."""
    names = [_source_name(target, taken.notebook) for target in spec.run]
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
        tags={**tags, **spec.tags, **more},
        snapshot=taken,
        parent_id=parent_id or os.environ.get(RUN_ID),
        number=number,
        at_once=at_once,
    )


def _source_name(target: Target, notebook: Path | None) -> str:
    """Return what a run's source is called: its file, a function's name, or the notebook that a cell stands in."""
    if isinstance(target, Script | Notebook):
        return target.path
    if isinstance(target, Cell) and notebook is not None:
        return os.path.relpath(notebook) if notebook.is_relative_to(Path.cwd()) else str(notebook)
    return target.name


def identity_of(plan: Plan, code: Code, task: Task | None = None) -> dict[str, str]:
    """Return the tags that say what was asked: of a trial, it alone as an experiment; of a step, its target."""
    spec = plan.spec
    if task is not None and isinstance(spec, Group):
        spec = as_experiment(spec, task.params)
    elif task is not None and len(plan.targets) > 1:
        targets = tuple(step.target for step in task.steps)
        spec = spec.model_copy(update={"run": targets, "params": dict(task.params)})
        code = code_of(targets, Path(plan.cwd))
    return identity_tags(spec, code)


def environment_of(store: Store | None, live: OpenRun, root: Path) -> dict[str, str]:
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


def keep_sources(live: OpenRun, spec_yaml: str, targets: Iterable[Target]) -> None:
    """Keep the source of what runs with its run, and the spec."""
    for name, text in sources(targets).items():
        live.save(f"source/{name}", text)
    live.save("spec.yaml", spec_yaml)


def plan_inputs(plan: Plan, root: Path) -> list[Input]:
    """Return the data that a plan's tasks read, all of them the same."""
    spec = plan.spec
    values = {**values_here(spec.data), **plan.values, **spec.params}
    return inputs_of(spec.data, Path(spec.root_path or plan.cwd), values, root)


def keep_inputs(live: OpenRun, inputs: Sequence[Input], whole: bool = True) -> None:
    """Say in a run's record which data it reads; `whole`: with the digest of each file."""
    live.use(inputs)
    if whole and (text := as_text(inputs)):
        live.save("data.sha256", text)


def keep_notebook(live: OpenRun, notebook: Path | None) -> None:
    """Keep the notebook that a run's code stands in, as its file is, and as a page."""
    if notebook is None or (found := notebook_text(notebook)) is None:
        return
    text, is_cut = found
    live.save(f"notebook/{notebook.name}", text)
    if is_cut:
        live.add(reports.Note(f"{notebook.name} is large: it is kept without its outputs"))
    if len(text) > _LONG_PAGE or PLOTLY in text:  # plotly's own script is five million characters
        return
    try:
        live.save(f"notebook/{notebook.stem}.html", _page(text, notebook.stem))
    except Exception as error:
        live.add(reports.Note(f"{notebook.name} is not there as a page: {type(error).__name__}: {error}"))


class Parent:
    """The run that a plan's tasks belong to, while the plan runs; a group that goes on has its own one opened again.

    Args:
        plan: The plan; it is nested.
        root: The project's root.
        store: The store.
        taken: Code, machine and packages.
        code: What its targets are.
        stack: Has the values' temporary folder removed, and the hold given back, if the run is never opened.

    Raises:
        CaptureError: A value that the tasks need can't be sent to them.
        StillRunningError: Another driver has the group.
    """

    def __init__(self, plan: Plan, root: Path, store: Store, taken: Snapshot, code: Code, stack: ExitStack) -> None:
        self.plan, self.root, self.store = plan, root, store
        self.snapshot, self.code = taken, code
        self.live: OpenRun | None = None
        self.payload = write_values(plan, stack, drivers.folders(home(root)))
        self._spec_yaml = spec_text(plan.spec)
        self._touched = False
        self._summed_up = False
        self._hold = self._take_up(stack)

    def open(self, tasks: Tasks) -> OpenRun:
        """Open it, and return it.

        Raises:
            StoreError: The store can't be written.
        """
        spec = self.plan.spec
        if self._hold is not None:
            return self._reopen(self._hold)
        space = {n: space_text(v) for n, v in spec.param_space.items()} if isinstance(spec, Group) else {}
        self.live = live = open_for(
            self.store,
            spec,
            name=spec.name,
            kind=spec.kind,
            params={**spec.params, **space},
            taken=self.snapshot,
            cwd=self.plan.cwd,
            identity=identity_of(self.plan, self.code),
            more=tasks.tags(),
        )
        self._move_payload(live)
        self._describe(live)
        if self.plan.kind == "group":
            unfinished.leave(live.folder, self.plan)
            unfinished.supersede(self.root, unfinished.asked_of(self.plan), by=live.run_id)
        live.tag(self._take_over(live))
        return live

    def close(
        self, outcome: Outcome, tasks: Tasks, done: list[Record], notes: Iterable[str] = (), *, cut: bool = False
    ) -> Record:
        """Close it with what came of its tasks, and with notes, and return its record.

        A group that was `cut` short by one of its limits keeps its values, so that it can go on.

        Raises:
            StoreError: The store can't be written.
        """
        assert self.live is not None
        live = self.live
        metrics, tags = tasks.summary(done)
        if not self._summed_up:  # it is tried again where the store has gone
            live.add(Metrics(metrics))
            self._summed_up = True
        has_pages = self.plan.kind == "group" and any(isinstance(one, Notebook) for one in self.plan.targets)
        best = Records(done, None, *self.plan.goal).best if has_pages else None
        for note in (*notes, *self._page_of(best)):
            live.add(reports.Note(note))
        tasks.keep(live, done)
        if self.plan.kind == "group" and (text := triage.report(done)):
            live.save("failures.txt", text + "\n")
        record = live.close(outcome, tags)
        if self.plan.kind == "group" and outcome.status is not Status.KILLED:
            whole = (
                outcome.status is Status.FINISHED and all(one.status is not Status.FAILED for one in done) and not cut
            )
            unfinished.clear(live.folder, values=whole)
        return record

    def _page_of(self, best: Record | None) -> Iterable[str]:
        """Make the best trial's page, and return a sentence if that can't be done; later, where the store has gone."""
        try:
            check(self.store.uri)
        except StoreError:
            return ()
        return add_page_of_best(self.store, best)

    def _reopen(self, hold: drivers.Hold) -> OpenRun:
        assert self.plan.again is not None
        self._touched = True
        self.live = live = reopen_run(self.store, self.store.record(self.plan.again.run_id), hold)
        live.notes = [note for note in live.notes if not note.startswith(LIMIT_NOTE)]
        if self.plan.values:
            self._move_payload(live)
        self._describe(live)
        unfinished.leave(live.folder, self.plan)
        live.flush()
        return live

    def _describe(self, live: OpenRun) -> None:
        """Keep with the group's own run what is done, in full."""
        keep_sources(live, self._spec_yaml, self.plan.targets)
        keep_notebook(live, self.snapshot.notebook)
        if any(isinstance(target, Cell | Function) for target in self.plan.targets):
            keep_session(live.save, lambda text: live.add(reports.Note(text)))
        live.save("plan.txt", str(self.plan) + "\n")
        live.save(unfinished.PLAN, unfinished.plan_text(self.plan, self.payload))
        if (table := self.plan.table) is not None and table.file is not None:
            live.save(f"each{Path(table.file).suffix}", table.text)
        for note in self.plan.notes:
            live.add(reports.Note(note))

    def _take_over(self, live: OpenRun) -> dict[str, str]:
        """Say which trials of another group count in this one, and return tags that say so."""
        taken = self.plan.taken
        if taken is None:
            return {}
        lines = [f"{one.record.run_id} {one.record.name}" for one in taken.trials]
        live.save("imported.txt", "".join(f"{line}\n" for line in lines))
        live.save("not_imported.txt", "".join(f"{line}\n" for line in taken.left))
        self.store.set_tags(taken.run_id, {"mlexp.continued_by": str(live.run_id)})
        unfinished.clear(drivers.folders(home(self.root)) / taken.run_id, values=False)
        return {IMPORTED: taken.run_id, "mlexp.imported": str(len(taken.trials))}

    def _take_up(self, stack: ExitStack) -> drivers.Hold | None:
        """Take hold of the group that goes on, before anything of it is touched."""
        again, plan = self.plan.again, self.plan
        if again is None:
            return None
        me = drivers.this_driver(store=without_password(self.store.uri), name=plan.spec.name, kind=plan.kind)
        hold = drivers.take_up(home(self.root), again.run_id, me)

        def let_go() -> None:
            if self.live is None:
                (hold.drop if self._touched else hold.release)()  # a run that may be open again is a sweep's to close

        stack.callback(let_go)
        return hold

    def _move_payload(self, live: OpenRun) -> None:
        """Have the values lie in the group's own folder, where they stay until it has finished."""
        if self.payload is None:
            return
        for older in live.folder.glob("payload-*"):
            older.unlink()
        self.payload = str(Path(self.payload).rename(live.folder / Path(self.payload).name))
        much = Path(self.payload).stat().st_size
        if much > _MUCH:
            live.add(reports.Note(f"its values take {size(much)} in {live.folder} until the group has finished"))


def write_values(plan: Plan, stack: ExitStack, folder: Path | None = None) -> str | None:
    """Write the values that a plan's tasks need into a file of a temporary folder, and return its path.

    Raises:
        CaptureError: A value can't be sent.
    """
    if not plan.values:
        return plan.again.payload if plan.again else None
    if folder is not None:
        folder.mkdir(exist_ok=True)
    made = tempfile.mkdtemp(prefix=".mlexp-values-", dir=folder)
    stack.callback(shutil.rmtree, made, ignore_errors=True)
    return str(write_payload(plan.values, Path(made)))
