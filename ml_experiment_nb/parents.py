"""The run that a plan's tasks belong to, opened or opened again, described and closed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from ml_experiment_nb import drivers, events, triage, unfinished
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.again import IMPORTED
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.events import Metrics
from ml_experiment_nb.identity import Code
from ml_experiment_nb.limits import LIMIT_NOTE
from ml_experiment_nb.openings import reopen_run
from ml_experiment_nb.pages import add_page_of_best
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import home
from ml_experiment_nb.provenance import (
    identity_of,
    keep_notebook,
    keep_sources,
    open_for,
)
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Outcome, Record, Records, Status, size
from ml_experiment_nb.session import keep_session
from ml_experiment_nb.spaces import space_text
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.specs import Group
from ml_experiment_nb.stores import check
from ml_experiment_nb.targets import Cell, Function, Notebook
from ml_experiment_nb.tasks import Tasks
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.work.payload import write_payload

_MUCH = 100_000_000  # bytes of values that the record should speak of


class Parent:
    """The run that a plan's tasks belong to, while the plan runs; a group that goes on has its own one opened again.

    Args:
        plan: The plan; it is nested.
        root: The project's root.
        store: The store.
        code: What its targets are.
        stack: Has the values' temporary folder removed, and the hold given back, if the run is never opened.

    Raises:
        CaptureError: A value that the tasks need can't be sent to them.
        StillRunningError: Another driver has the group.
    """

    def __init__(self, plan: Plan, root: Path, store: Store, code: Code, stack: ExitStack) -> None:
        self.plan, self.root, self.store = plan, root, store
        self.code = code
        self.live: OpenRun | None = None
        self.payload = write_values(plan, stack, drivers.folders(home(root)))
        self._spec_yaml = spec_text(plan.spec)
        self._touched = False
        self._summed_up = False
        self._hold = self._take_up(stack)

    def open(self, tasks: Tasks, snapshot: Snapshot) -> OpenRun:
        """Open it, and return it.

        Args:
            tasks: The plan's tasks.
            snapshot: Code, machine and packages.

        Raises:
            StoreError: The store can't be written.
        """
        spec = self.plan.spec
        if self._hold is not None:
            return self._reopen(self._hold, snapshot)
        space = {n: space_text(v) for n, v in spec.param_space.items()} if isinstance(spec, Group) else {}
        self.live = live = open_for(
            self.store,
            spec,
            name=spec.name,
            kind=spec.kind,
            params={**spec.params, **space},
            taken=snapshot,
            cwd=self.plan.cwd,
            identity=identity_of(self.plan, self.code),
            more=tasks.tags(),
        )
        self._move_payload(live)
        self._describe(live, snapshot)
        if self.plan.kind == "group":
            unfinished.leave(live.folder, self.plan)
            unfinished.supersede(self.root, unfinished.identity_of(self.plan), by=live.run_id)
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
            live.add(events.Note(note))
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

    def _reopen(self, hold: drivers.Hold, snapshot: Snapshot) -> OpenRun:
        assert self.plan.again is not None
        self._touched = True
        self.live = live = reopen_run(self.store, self.store.record(self.plan.again.run_id), hold)
        live.told.notes[:] = [note for note in live.told.notes if not note.startswith(LIMIT_NOTE)]
        if self.plan.values:
            self._move_payload(live)
        self._describe(live, snapshot)
        unfinished.leave(live.folder, self.plan)
        live.flush()
        return live

    def _describe(self, live: OpenRun, snapshot: Snapshot) -> None:
        """Keep with the group's own run what is done, in full."""
        keep_sources(live, self._spec_yaml, self.plan.targets)
        keep_notebook(live, snapshot.notebook)
        if any(isinstance(target, Cell | Function) for target in self.plan.targets):
            keep_session(live.save, lambda text: live.add(events.Note(text)))
        live.save("plan.txt", str(self.plan) + "\n")
        live.save(unfinished.PLAN, unfinished.plan_text(self.plan, self.payload))
        if (table := self.plan.table) is not None and table.file is not None:
            live.save(f"each{Path(table.file).suffix}", table.text)
        for note in self.plan.notes:
            live.add(events.Note(note))

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
            live.add(events.Note(f"its values take {size(much)} in {live.folder} until the group has finished"))


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
