"""The runs of a plan's tasks: how each is opened and described, and what its processes are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ml_experiment_nb.again import REPEATS
from ml_experiment_nb.capture import Snapshot, snapshot
from ml_experiment_nb.capture.basis import UNSEEN, basis_of
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.containment import Container
from ml_experiment_nb.events import Note
from ml_experiment_nb.identity import Code, code_of
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.observing import ObservingOptions
from ml_experiment_nb.openings import untracked
from ml_experiment_nb.plans import Plan, Task
from ml_experiment_nb.provenance import environment_of, identity_of, keep_inputs, keep_sources, open_for, plan_inputs
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.specs import Group
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Readied

if TYPE_CHECKING:
    from ml_experiment_nb.work.readying import Ready


class TaskRuns:
    """How the runs of a plan's tasks are opened and described.

    Args:
        plan: The plan.
        root: The project's root.
        store: Where the runs are recorded; None for a job's, which aren't.

    Attributes:
        code: What the plan's targets are.
        snapshot: Code, machine and packages. Neither is there for a job, of which nothing is recorded.
    """

    code: Code
    snapshot: Snapshot

    def __init__(self, plan: Plan, root: Path, store: Store | None) -> None:
        self._plan, self._root, self._store = plan, root, store
        self._ready: Ready | None = None
        self._spec_yaml = spec_text(plan.spec)
        self._inputs: list[Input] = []
        if store is not None:
            self.snapshot, self.code = _snapshot(plan), code_of(plan.targets, Path(plan.cwd))
            self._inputs = plan_inputs(plan, root)

    def ready(self) -> Iterator[Readied]:
        """Make the tasks' container ready, and yield what is said meanwhile: what fails here leaves no run behind."""
        with held_back():
            from ml_experiment_nb.work.readying import readying  # which loads Docker's client
        with closing(readying(self._plan)) as work:
            while self._ready is None:
                try:
                    yield Readied(next(work))
                except StopIteration as end:
                    self._ready = end.value
        if self._store is not None:
            self.snapshot = self._ready.described(self.snapshot)

    @property
    def container(self) -> Container | None:
        """What the tasks' processes are started in, if that isn't this machine."""
        return self._ready.container if self._ready is not None else None

    def identity(self, task: Task) -> dict[str, str]:
        """Return the tags that say what a task was asked."""
        return identity_of(self._plan, self.code, task)

    def open(self, task: Task, parent_id: str | None, tags: Mapping[str, str]) -> OpenRun:
        """Open a task's run, with tags besides those of every run.

        Raises:
            StoreError: The store can't be written.
        """
        spec = self._plan.spec
        if self._store is None:
            return untracked(task.name, spec.kind, task.params, task.number)
        return open_for(
            self._store,
            spec,
            name=task.name,
            kind="trial" if isinstance(spec, Group) else spec.kind,
            params=task.params,
            taken=self.snapshot,
            cwd=self._plan.cwd,
            identity={**self.identity(task), **tags},
            parent_id=parent_id,
            number=task.number,
            more={**({REPEATS: str(task.repeats)} if task.repeats is not None else {}), **self._image_tags},
        )

    def describe(self, live: OpenRun, task: Task, *, alone: bool) -> None:
        """Keep with a task's run what is run; `alone`: no parent's run says what is the same for all."""
        if self._store is None:
            return
        spec = self._plan.spec_of(task)
        text = self._spec_yaml if spec is self._plan.spec else spec_text(spec)
        keep_sources(live, text, self._plan.sources_of(task))
        keep_inputs(live, self._inputs, whole=alone)
        notes = (*self._plan.notes, *(self._ready.notes if self._ready else ()))
        for note in notes if alone else ():
            live.add(Note(note))

    def describe_parent(self, live: OpenRun) -> None:
        """Keep with the run that the tasks belong to which data they read, and which image they run in."""
        keep_inputs(live, self._inputs)
        if self._ready is not None:
            live.tag(self._image_tags)
            for note in self._ready.notes:
                live.add(Note(note))

    def environment(self, live: OpenRun) -> dict[str, str]:
        """Return what the processes of a task are told by variables, but for secrets."""
        own = environment_of(self._store, live, self._root)
        return {**own, **ObservingOptions.of(self._plan.spec).as_env(), **self._plan.env}

    @property
    def _image_tags(self) -> Mapping[str, str]:
        return self._ready.container.tags if self._ready is not None else {}


def _snapshot(plan: Plan) -> Snapshot:
    """Return code, machine and packages, and what the code stands on; of large values only where that is asked for."""
    fully = plan.known is not None
    basis = basis_of(plan.targets, Path(plan.cwd), values=plan.values, path=plan.path, fully=fully)
    if plan.again is not None and plan.again.payload is not None and not plan.values:  # its values lie in that file
        basis = replace(basis, problem=UNSEEN)
    return replace(snapshot(Path(plan.cwd), plan.python), basis=basis)
