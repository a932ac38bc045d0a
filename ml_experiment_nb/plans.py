"""A plan: what will be done for a spec, as tasks and in words. Nothing is started by it, so it can be thrown away."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ml_experiment_nb import cells, containment, known, markup, optuna_spaces, secrecy
from ml_experiment_nb.again import Again, Taken
from ml_experiment_nb.checks import (
    accepts,
    names_in_targets,
)
from ml_experiment_nb.distribution import Distributed
from ml_experiment_nb.errors import SpaceError
from ml_experiment_nb.known import Known
from ml_experiment_nb.paths import row_output
from ml_experiment_nb.records import duration, pairs, size
from ml_experiment_nb.rows import Table
from ml_experiment_nb.spaces import space_text
from ml_experiment_nb.specs import Experiment, Group, Job
from ml_experiment_nb.targets import Cell, Function, Notebook, Target

Spec = Job | Experiment | Group
_WIDTH = 10  # characters of a fact's name, where none is longer
_SHOWN = 3  # rows of a table that a plan shows


@dataclass(frozen=True)
class Step:
    """One target and the parameters that it gets."""

    target: Target
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One piece of work: its steps run in order, each in a process of its own, failing fast.

    Attributes:
        key: Names the task within its plan.
        name: The run's name.
        steps: What to run. Only a group's trial of several scripts has more than one.
        params: What the task as a whole was given.
        cwd: The working directory.
        path: Folders for the front of the import path.
        number: The trial's number in its group.
        timeout: Seconds after which it is stopped.
        memory: Bytes that it may use with all that it starts.
        pruning: Whether `report` waits for the pruner's verdict.
        output: Where the executed notebook is wanted besides the run's artifacts: a file's absolute path, or one of
            papermill's places.
        payload: The file that holds captured values; known when the plan is run.
        folder: Where it leaves its artifacts; known when the plan is run.
        env: Environment variables for its processes; known when the plan is run.
        warm: Whether its processes are forked from one that has imported what they import.
        repeats: The number of the trial whose point it tries once more.
        python: The interpreter of its processes, in place of this one's; they are fresh then.
        container: What its processes are started in, if that isn't this machine; known when the plan is run.
    """

    key: str
    name: str
    steps: tuple[Step, ...]
    params: Mapping[str, Any]
    cwd: str
    path: tuple[str, ...] = ()
    number: int | None = None
    timeout: float | None = None
    memory: int | None = None
    pruning: bool = False
    output: str | None = None
    payload: str | None = None
    folder: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    warm: bool = False
    repeats: int | None = None
    python: str | None = None
    container: containment.Container | None = None


@dataclass(frozen=True)
class Plan:
    """What will be done for a spec.

    Attributes:
        spec: What was asked.
        targets: What to run, with absolute paths.
        cwd: The working directory of every task.
        slots: How many tasks run at once; None when a cluster decides.
        executor: ``inline`` or ``ray``.
        values: Values that travel to every task: what a cell reads, or a function.
        path: Folders for the front of the tasks' import path.
        output: Where the executed notebook is wanted; with a table, what each row fills in: ``/data/{row}.ipynb``.
        notes: What is done otherwise than asked.
        cold: Whether every task starts a fresh process even where it could be forked.
        table: The rows of a group that has a run for each.
        distributed: The workers that each task's function runs on, if it is distributed.
        again: The group that goes on, if it is no new one.
        taken: What a new group takes over from an older one, whose space was another.
        data: What it reads, in words.
        python: The interpreter of the tasks' processes, in place of this one's.
        env: Environment variables for the tasks' processes.
        known: What earlier runs have told of it already, where only what is needed is to be run.
    """

    spec: Spec
    targets: tuple[Target, ...]
    cwd: str
    slots: int | None
    executor: str
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    path: tuple[str, ...] = ()
    output: str | None = None
    notes: tuple[str, ...] = ()
    cold: bool = False
    table: Table | None = None
    distributed: Distributed | None = None
    again: Again | None = None
    taken: Taken | None = None
    data: tuple[str, ...] = ()
    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    known: Known | None = None

    @property
    def kind(self) -> str:
        """``job``, ``experiment`` or ``group``."""
        return self.spec.kind

    @property
    def secrets(self) -> set[str]:
        """The names of the secrets that its tasks take, or that their code is seen to ask for."""
        rows = list(self.table.rows) if self.table is not None else []
        return {*secrecy.names_in([self.spec.params, rows]), *names_in_targets(self.targets)}

    @property
    def tracked(self) -> bool:
        """Whether runs are recorded in the store."""
        return self.kind != "job"

    @property
    def nested(self) -> bool:
        """Whether there is a parent run with one child run per task."""
        return isinstance(self.spec, Group) or (self.tracked and len(self.targets) > 1)

    def tasks(self) -> list[Task]:
        """Return the tasks of a job or an experiment: one per target, to be run in order."""
        several = len(self.targets) > 1
        return [
            Task(
                key=str(k),
                name=f"{self.spec.name} {target.name}" if several else self.spec.name,
                steps=(step,),
                params=dict(step.params),
                cwd=self.cwd,
                path=self.path,
                timeout=self.spec.timeout,
                memory=self.spec.memory,
                output=self.output,
                python=self.python,
            )
            for k, target in enumerate(self.targets)
            for step in (self._step(target, self.spec.params),)
        ]

    @property
    def goal(self) -> tuple[tuple[str, ...], tuple[bool, ...]]:
        """The names of the metrics that a group is after, and of each whether more of it is better."""
        metrics = self.spec.metrics if isinstance(self.spec, Group) else ()
        return tuple(one.name for one in metrics), tuple(one.direction == "maximize" for one in metrics)

    @property
    def total(self) -> int | None:
        """How many tasks there will be; None when a sampler decides."""
        if self.table is not None:
            return len(self.table.rows)
        if self.again is not None and self.again.missing is not None:
            return len(self.again.kept) + self.again.missing
        return self.spec.num_trials if isinstance(self.spec, Group) else len(self.targets)

    @property
    def may_do_without_ray(self) -> bool:
        """Whether nobody asked for Ray, and nothing is asked that it alone can give."""
        spec = self.spec
        is_free = spec.executor == "auto" and spec.ray_config is None and not os.environ.get("RAY_ADDRESS")
        return is_free and self.distributed is None and not spec.resources_per_worker.gpu

    @property
    def cpus_per_slot(self) -> float:
        """CPUs that one task takes, with all of its workers."""
        return cpus_per_slot_of(self.spec, self.distributed)

    def trial(self, number: int, drawn: Mapping[str, Any], repeats: int | None = None) -> Task:
        """Return the task of a group's trial, which gets the group's parameters and those drawn for it, or its row."""
        group = self.group
        params = {**group.params, **drawn}
        return Task(
            key=str(number),
            name=f"{group.name} #{number}",
            steps=tuple(self._step(target, params) for target in self.targets),
            params=params,
            cwd=self.cwd,
            path=self.path,
            number=number,
            timeout=group.timeout_per_trial,
            output=None if self.output is None else row_output(self.output, number, params),
            memory=group.memory,
            warm=self._is_warm,
            pruning=group.pruner is not None and group.pruner.prunes,
            repeats=repeats,
        )

    def sources_of(self, task: Task) -> list[Target]:
        """Return what a task runs, as its record should show it."""
        return [self.targets[0] if isinstance(step.target, Function) else step.target for step in task.steps]

    def spec_of(self, task: Task) -> Spec:
        """Return the spec that a task's own record keeps: of a table, its row alone."""
        if self.table is None or task.number is None:
            return self.spec
        return self.spec.model_copy(update={"each": (self.table.rows[task.number],)})

    @property
    def _is_warm(self) -> bool:
        """Whether trials are forked; a container's first process never is."""
        is_linux = sys.platform == "linux"
        return is_linux and not self.cold and self.distributed is None and self.spec.docker_config is None

    @property
    def group(self) -> Group:
        """The spec, when it is a group's."""
        assert isinstance(self.spec, Group)
        return self.spec

    def _step(self, target: Target, params: Mapping[str, Any]) -> Step:
        if isinstance(target, Cell):
            source = cells.with_values(cells.read_cell(target.source), params)
            return Step(Cell(source=source).below(target.above), params)
        if isinstance(target, Function):
            return Step(Function(function=travels_in_payload), params)
        accepted = accepts(target) if len(self.targets) > 1 else None
        return Step(target, {n: v for n, v in params.items() if accepted is None or n in accepted})

    def _setup_text(self, target: Target) -> str:
        """Return which cells of a notebook run once per slot, and not for every trial."""
        if not self._is_warm or not isinstance(target, Notebook):
            return ""
        from ml_experiment_nb.kernelspecs import beginning  # it takes a second to import, as nbformat does

        count = beginning(target).cells
        cells = {0: "", 1: "cell 1"}.get(count, f"cells 1 to {count}")
        return f"{cells} of {target.name}: every trial goes on from there" if cells else ""

    def _search_text(self, group: Group) -> list[tuple[str, str]]:
        return [
            *((f"  {name}", space_text(value)) for name, value in group.param_space.items()),
            *([("space", "what the code suggests")] if not group.param_space else []),
            ("trials", str(group.num_trials or _all_points(group))),
            *((f"  point {k}", pairs(point)) for k, point in enumerate(group.enqueue[:_SHOWN])),
            *([("  …", f"and {more} more")] if (more := len(group.enqueue) - _SHOWN) > 0 else []),
            ("sampler", str(group.sampler) + (f", seed {group.seed}" if group.seed is not None else "")),
            ("pruner", str(group.pruner or "")),
        ]

    def __str__(self) -> str:
        facts = self.facts()
        width = max(_WIDTH, *(len(name) for name, _ in facts))
        return f"Plan {self.spec.name!r}\n" + "\n".join(f"  {name:<{width}} {text}" for name, text in facts)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self) if cycle else str(self))

    def _repr_html_(self) -> str:
        return markup.facts_html(f"Plan {self.spec.name}", self.facts())

    def _repr_markdown_(self) -> str:
        return markup.facts_markdown(f"Plan {self.spec.name}", self.facts())

    def facts(self) -> list[tuple[str, str]]:
        """Return what will be done, as names and lines of text."""
        spec = self.spec
        rows = [("kind", spec.kind), ("run", ", ".join(target.name for target in self.targets)), ("in", self.cwd)]
        rows += [("cells", target.part) for target in self.targets if isinstance(target, Notebook)]
        rows += [("params", ", ".join(f"{n}={v!r}" for n, v in spec.params.items()))]
        if isinstance(spec, Group):
            rows += self._search_text(spec) if self.table is None else _table_text(self.table)
            rows += [
                ("metric", ", ".join(f"{one.direction} {one.name}" for one in spec.metrics)),
                ("per trial", f"at most {duration(spec.timeout_per_trial)}" if spec.timeout_per_trial else ""),
                ("stops", "; ".join(_stops(spec))),
            ]
            slots = "as many as the cluster has" if self.slots is None else str(self.slots)
            rows += [("slots", f"{slots}, {self.executor}")]
            rows += [("once", text) for text in (self._setup_text(target) for target in self.targets) if text]
        seed = "" if spec.seed is None or (isinstance(spec, Group) and self.table is None) else str(spec.seed)
        rows += [("seed", ", ".join(filter(None, (seed, "deterministic" if spec.deterministic else ""))))]
        rows += [("data", line) for line in self.data]
        rows += [("workers", str(self.distributed or "")), ("container", _container_text(spec))]
        rows += [("memory", f"at most {size(spec.memory)}" if spec.memory else "")]
        rows += known.facts(self.known) if self.known is not None else []
        rows += [("values", ", ".join(sorted(self.values))), *(("note", note) for note in self.notes)]
        return [(name, text) for name, text in rows if text]


def _container_text(spec: Spec) -> str:
    """Return what each task's container is made of, and its limits besides the memory's."""
    config, asked = spec.docker_config, spec.resources_per_worker
    if config is None:
        return ""
    if config.image is not None:
        text = config.image
    else:
        args = f", args {', '.join(config.args)}" if config.args else ""
        context = f", context {config.context}" if config.context else ""
        text = f"built from {config.dockerfile}{context}{args}"
    limited = isinstance(spec, Group) or "resources_per_worker" in spec.model_fields_set
    cpus = f"; at most {asked.cpu:g} CPU{'s' if asked.cpu > 1 else ''}" if limited and asked.cpu else ""
    return text + cpus + (f"; GPUs: {asked.gpu:g}" if asked.gpu else "")


def travels_in_payload() -> None:
    """Stands in a task's step for a function that travels with the plan's values, once."""


def _stops(group: Group) -> list[str]:
    return [
        *([f"after {duration(group.timeout)}"] if group.timeout else []),
        *([f"when {group.stop_when}"] if group.stop_when else []),
        *([f"after {group.max_failures} failures"] if group.max_failures else []),
    ]


def _table_text(table: Table) -> list[tuple[str, str]]:
    shown = [(f"  row {k}", pairs(row) or "the defaults") for k, row in enumerate(table.rows[:_SHOWN])]
    more = len(table.rows) - len(shown)
    return [
        ("each", table.file or "rows that were given"),
        ("rows", str(len(table.rows))),
        *shown,
        *([("  …", f"and {more} more")] if more else []),
    ]


def cpus_per_slot_of(spec: Spec, distributed: Distributed | None) -> float:
    """Return the CPUs that one task of a spec takes, with all of its workers."""
    if distributed is not None:
        return distributed.num_workers * distributed.cpus_per_worker
    return spec.resources_per_worker.cpu


def prepared(
    task: Task,
    *,
    folder: str,
    payload: str | None,
    env: Mapping[str, str],
    container: containment.Container | None = None,
) -> Task:
    """Return a task with what is known only when it is run."""
    return replace(task, folder=folder, payload=payload, env=env, container=container)


def _all_points(group: Group) -> str:
    """Return in words how many trials a search has that ends by itself; its code may draw what can't be counted."""
    try:
        count = math.prod(map(len, optuna_spaces.grid(group.param_space).values()))
    except SpaceError:
        return "all points"
    return f"all {count:,} points" if group.param_space else "all points"
