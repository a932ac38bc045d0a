"""WILL: a spec becomes a plan of tasks. Nothing is started or written here, so a plan can be shown and thrown away."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_experiment_nb import cells, containment, known, markup, secrecy, spaces
from ml_experiment_nb.again import Again, Taken
from ml_experiment_nb.capture.inputs import described, values_here
from ml_experiment_nb.checks import (
    accepts,
    check_notebook,
    check_params,
    check_rows,
    check_search,
    check_secrets,
    names_in_targets,
    uncalled_jobs,
    workers_of,
)
from ml_experiment_nb.distribution import Distributed
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.known import Known
from ml_experiment_nb.paths import filled_in, is_elsewhere, literal
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.records import duration, pairs, size
from ml_experiment_nb.rows import Table, read_table
from ml_experiment_nb.specs import Experiment, Group, Job
from ml_experiment_nb.targets import Cell, Function, Notebook, Script, Target

Spec = Job | Experiment | Group
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
    def cpus_per_slot(self) -> float:
        """CPUs that one task takes, with all of its workers."""
        return _cpus_per_slot(self.spec, self.distributed)

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
            output=None if self.output is None else _row_output(self.output, number, params),
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
            return Step(Cell(source=cells.with_values(cells.read_cell(target.source), params)), params)
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
            ("trials", str(group.num_trials or "all points")),
            *((f"  point {k}", pairs(point)) for k, point in enumerate(group.enqueue[:_SHOWN])),
            *([("  …", f"and {more} more")] if (more := len(group.enqueue) - _SHOWN) > 0 else []),
            ("sampler", str(group.sampler) + (f", seed {group.seed}" if group.seed is not None else "")),
            ("pruner", str(group.pruner or "")),
        ]

    def __str__(self) -> str:
        return f"Plan {self.spec.name!r}\n" + "\n".join(f"  {name:<10} {text}" for name, text in self.facts())

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


def make_plan(
    spec: Spec,
    *,
    values: Mapping[str, Any] | None = None,
    path: tuple[str, ...] = (),
    cwd: str | None = None,
    output: str | None = None,
    cold: bool = False,
) -> Plan:
    """Turn a spec into a plan, checking all that can be known before anything runs.

    Args:
        spec: What is asked.
        values: What the tasks read from a notebook, or ``{"function": f}`` for a `Function` target.
        path: Folders for the front of the tasks' import path.
        cwd: The working directory; by default the spec's root, or the present one.
        output: Where the executed notebook is wanted. ``{C}`` is a parameter's value, with a table ``{row}`` the row's
            number.
        cold: Start a fresh process for every task, even where it could be forked.

    Raises:
        SpecError: A target can't be read, or the plan makes no sense.
        ParameterError: A target doesn't know a parameter, or needs one that isn't given.
    """
    root = Path(spec.root_path or os.getcwd())
    targets = tuple(_absolute(target, root) for target in spec.run)
    for target in targets:
        if isinstance(target, Notebook):
            check_notebook(target, spec)
    table = _table(spec, root)
    if isinstance(spec, Group) and table is not None:
        check_rows(targets, spec, table)
    else:
        space = dict.fromkeys(spec.param_space) if isinstance(spec, Group) else {}
        check_params(targets, {**spec.params, **space}, spec.allow_unknown_params)
    distributed = workers_of(targets, spec, values or {})
    slots, executor = _slots(spec, table, distributed)
    notes = [*check_secrets(targets, spec, table), *uncalled_jobs(targets)]
    if spec.docker_config is not None and distributed is not None:
        raise SpecError("workers of distributed training can't be run in containers", key="docker_config")
    if isinstance(spec, Group) and table is None:
        check_search(spec)
        if spec.pruner is not None and spec.pruner.prunes and not spec.metrics:
            notes.append(f"{spec.pruner} prunes nothing: the group has no metric to judge by")
        if spec.sampler_seed is not None and slots != 1 and spec.sampler.learns:
            notes.append(
                "with several slots the seed doesn't repeat the search, since what is drawn depends on which trial "
                "ends first: one slot does"
            )
    where = cwd or str(root.absolute())
    data = described(spec.data, root, {**values_here(spec.data), **(values or {}), **spec.params}, find_root())
    output = None if output is None else _output(output, spec, table)
    values = {"function": _only_function(targets)} if not values and _has_function(targets) else values
    return Plan(
        spec, targets, where, slots, executor, values or {}, path, output, tuple(notes), cold, table, distributed,
        data=tuple(data),
    )  # fmt: skip


def _has_function(targets: tuple[Target, ...]) -> bool:
    return any(isinstance(target, Function) for target in targets)


def _only_function(targets: tuple[Target, ...]) -> Callable[..., Any]:
    """Return the function that travels with a plan of a spec's file, which names it."""
    [first, *others] = [target for target in targets if isinstance(target, Function)]
    if others:
        raise SpecError("names more than one function: a plan takes one", key="run")
    return first.function


def with_params(spec: Spec, given: Mapping[str, Any], *, texts: Container[str] = ()) -> Spec:
    """Return a spec with parameters overridden; in a group, a distribution's text goes to the space.

    Args:
        spec: The spec.
        given: Names and values.
        texts: Names whose values are texts and nothing else.
    """
    if not given:
        return spec
    if not isinstance(spec, Group):
        return spec.model_copy(update={"params": {**spec.params, **given}})
    drawn = {n: spaces.parse_value(v) for n, v in given.items() if _is_space(v) and n not in texts}
    fixed = {n: v for n, v in given.items() if n not in drawn}
    if spec.each is not None and drawn:
        name = next(iter(drawn))
        raise SpecError(f"{drawn[name]} is a distribution, and a table's rows are not searched", key=name)
    space = {n: v for n, v in spec.param_space.items() if n not in fixed} | drawn
    params = {n: v for n, v in spec.params.items() if n not in drawn} | fixed
    if not space and spec.param_space and spec.each is None:
        raise SpecError(f"{', '.join(fixed)}: with that fixed there is nothing left to search", key="param_space")
    return spec.model_copy(update={"params": params, "param_space": space})


def _stops(group: Group) -> list[str]:
    return [
        *([f"after {duration(group.timeout)}"] if group.timeout else []),
        *([f"when {group.stop_when}"] if group.stop_when else []),
        *([f"after {group.max_failures} failures"] if group.max_failures else []),
    ]


def _table(spec: Spec, root: Path) -> Table | None:
    if not isinstance(spec, Group) or spec.each is None:
        return None
    if not isinstance(spec.each, str):
        return Table(spec.each)
    table = read_table(root / spec.each)
    return replace(table, rows=[secrecy.read(row) for row in table.rows])


def _table_text(table: Table) -> list[tuple[str, str]]:
    shown = [(f"  row {k}", pairs(row) or "the defaults") for k, row in enumerate(table.rows[:_SHOWN])]
    more = len(table.rows) - len(shown)
    return [
        ("each", table.file or "rows that were given"),
        ("rows", str(len(table.rows))),
        *shown,
        *([("  …", f"and {more} more")] if more else []),
    ]


def _output(output: str, spec: Spec, table: Table | None) -> str:
    """Return where executed notebooks are written, relative to no folder; each has a place of its own."""
    [first, *others] = spec.run
    if others or not isinstance(first, Notebook):
        raise SpecError("OUTPUT is for a single notebook")
    if isinstance(spec, Group):
        if table is None:
            raise SpecError("OUTPUT is for a single notebook; a group keeps each executed notebook with its run")
        pattern = output if is_elsewhere(output) else os.path.join(literal(os.getcwd()), output)
        _check_row_outputs(pattern, spec, table)
        return pattern
    place = filled_in(output, spec.params)
    if is_elsewhere(place):
        return place
    if not Path(place).absolute().parent.is_dir():
        raise SpecError("its folder does not exist", file=place)
    return str(Path(place).absolute())


def _check_row_outputs(pattern: str, group: Group, table: Table) -> None:
    """Check that every row has a file of its own to write its executed notebook to."""
    taken: dict[str, int] = {}
    for number, row in enumerate(table.rows):
        place = _row_output(pattern, number, {**group.params, **row})
        if place in taken:
            raise SpecError(
                f"rows {taken[place]} and {number} would both be written to {place}: name what tells them apart, "
                "as in out/{row}.ipynb",
                file=pattern,
            )
        folder = os.path.dirname(place)
        if not is_elsewhere(place) and not os.path.isdir(folder):
            raise SpecError(f"there is no folder {folder} for row {number}: make it first", file=pattern)
        taken[place] = number


def _row_output(pattern: str, number: int, params: Mapping[str, Any]) -> str:
    place = filled_in(pattern, {"row": number, **params}, giver=f"row {number}")
    return place if is_elsewhere(place) else os.path.normpath(place)


def _is_space(value: Any) -> bool:
    return isinstance(value, str) and spaces.is_text(value)


def space_text(value: Any) -> str:
    """Return a parameter's distribution, or its list of distributions, as text."""
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list | tuple) else str(value)


def _absolute(target: Target, root: Path) -> Target:
    names: tuple[str, ...] = ()
    if isinstance(target, Notebook):
        names = ("stdout_file", "stderr_file") if target.is_elsewhere else ("path", "stdout_file", "stderr_file")
    elif isinstance(target, Script):
        names = ("path",)
    given = {name: getattr(target, name) for name in names}
    changes = {name: str((root / path).absolute()) for name, path in given.items() if path}
    return target.model_copy(update=changes) if changes else target


def _cpus_per_slot(spec: Spec, distributed: Distributed | None) -> float:
    if distributed is not None:
        return distributed.num_workers * distributed.cpus_per_worker
    return spec.resources_per_worker.cpu


def _slots(spec: Spec, table: Table | None, distributed: Distributed | None) -> tuple[int | None, str]:
    """Return how many tasks run at once, and where. One slot and no word of Ray needs no Ray; workers always do."""
    if not isinstance(spec, Group):
        return 1, "ray" if distributed is not None else "inline"
    ray = spec.ray_config
    wants_ray = ray is not None or spec.executor == "ray"
    cluster = (ray is not None and ray.address) or os.environ.get("RAY_ADDRESS")
    if spec.slots is not None:
        slots: int | None = spec.slots
    elif wants_ray and cluster:
        slots = None
    else:
        cpus = (ray and ray.num_cpus) or os.cpu_count() or 1
        slots = max(1, int(cpus / (_cpus_per_slot(spec, distributed) or 1)))
    most = spec.num_trials if table is None else len(table.rows)
    if slots is not None and most is not None:
        slots = min(slots, most)
    executor = spec.executor if distributed is None else "ray"
    if executor == "auto":
        executor = "ray" if wants_ray or cluster or slots != 1 else "inline"
    return slots, executor


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
