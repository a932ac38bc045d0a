"""WILL: a spec becomes a plan of tasks. Nothing is started or written here, so a plan can be shown and thrown away."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_experiment_nb import cells, scripts, spaces
from ml_experiment_nb.errors import ParameterError, SpecError, nearest
from ml_experiment_nb.records import duration, size
from ml_experiment_nb.specs import Cell, Experiment, Function, Group, Job, Notebook, Script, Target

Spec = Job | Experiment | Group


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
        output: Where the executed notebook is wanted besides the run's artifacts.
        payload: The file that holds captured values; known when the plan is run.
        folder: Where it leaves its artifacts; known when the plan is run.
        env: Environment variables for its processes; known when the plan is run.
        warm: Whether its processes are forked from one that has imported what they import.
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
    env: Mapping[str, str] = field(default_factory=dict)
    warm: bool = False


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
        output: Where the executed notebook is wanted.
        notes: What is done otherwise than asked.
        cold: Whether every task starts a fresh process even where it could be forked.
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

    @property
    def kind(self) -> str:
        """``job``, ``experiment`` or ``group``."""
        return self.spec.kind

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
                steps=(self._step(target, self.spec.params),),
                params=dict(self._step(target, self.spec.params).params),
                cwd=self.cwd,
                path=self.path,
                timeout=self.spec.timeout,
                memory=self.spec.memory,
                output=self.output,
            )
            for k, target in enumerate(self.targets)
        ]

    def trial(self, number: int, drawn: Mapping[str, Any]) -> Task:
        """Return the task of a group's trial, which gets the group's parameters and those drawn for it."""
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
            timeout=group.timeout_per_trial or group.timeout,
            memory=group.memory,
            warm=not self.cold and sys.platform == "linux",
            pruning=group.pruner is not None and group.pruner.name != "Nop",
        )

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
        if self.cold or sys.platform != "linux" or not isinstance(target, Notebook):
            return ""
        notebooks = _notebooks()
        count = notebooks.setup_prefix(notebooks.read_notebook(Path(target.path)))
        cells = {0: "", 1: "cell 1"}.get(count, f"cells 1 to {count}")
        return f"{cells} of {target.name}: every trial goes on from there" if cells else ""

    def __str__(self) -> str:
        spec = self.spec
        rows = [("kind", spec.kind), ("run", ", ".join(target.name for target in self.targets)), ("in", self.cwd)]
        rows += [("params", ", ".join(f"{n}={v!r}" for n, v in spec.params.items()))]
        if isinstance(spec, Group):
            rows += [(f"  {name}", space_text(value)) for name, value in spec.param_space.items()]
            rows += [
                ("trials", str(spec.num_trials or "all points")),
                ("sampler", str(spec.sampler) + (f", seed {spec.seed}" if spec.seed is not None else "")),
                ("pruner", str(spec.pruner or "")),
                ("metric", f"{spec.metric.direction} {spec.metric.name}" if spec.metric else ""),
                (
                    "per trial",
                    f"at most {duration(spec.timeout_per_trial)}" if spec.timeout_per_trial else "",
                ),
            ]
            slots = "as many as the cluster has" if self.slots is None else str(self.slots)
            rows += [("slots", f"{slots}, {self.executor}")]
            rows += [("once", text) for text in (self._setup_text(target) for target in self.targets) if text]
        rows += [("memory", f"at most {size(spec.memory)}" if spec.memory else "")]
        rows += [("values", ", ".join(sorted(self.values))), *(("note", note) for note in self.notes)]
        return f"Plan {spec.name!r}\n" + "\n".join(f"  {name:<10} {text}" for name, text in rows if text)


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
        output: Where the executed notebook is wanted.
        cold: Start a fresh process for every task, even where it could be forked.

    Raises:
        SpecError: A target can't be read, or the plan makes no sense.
        ParameterError: A target doesn't know a parameter, or needs one that isn't given.
    """
    root = Path(spec.root_path or os.getcwd())
    targets = tuple(_absolute(target, root) for target in spec.run)
    space = dict.fromkeys(spec.param_space) if isinstance(spec, Group) else {}
    _check_params(targets, {**spec.params, **space}, spec.allow_unknown_params)
    if isinstance(spec, Group) and spec.sampler.is_exhaustive:
        spaces.grid(spec.param_space)  # says which parameter has no end of values
    slots, executor = _slots(spec)
    notes: tuple[str, ...] = ()
    if spec.docker_config is not None:
        notes = ("docker_config was read but not used: the tasks run in this environment, not in a container",)
    return Plan(spec, targets, cwd or str(root.absolute()), slots, executor, values or {}, path, output, notes, cold)


def with_params(spec: Spec, given: Mapping[str, Any]) -> Spec:
    """Return a spec with parameters overridden; in a group, a distribution's text goes to the space."""
    if not given:
        return spec
    if not isinstance(spec, Group):
        return spec.model_copy(update={"params": {**spec.params, **given}})
    drawn = {n: spaces.parse_value(v) for n, v in given.items() if isinstance(v, str) and spaces.is_text(v)}
    fixed = {n: v for n, v in given.items() if n not in drawn}
    space = {n: v for n, v in spec.param_space.items() if n not in fixed} | drawn
    params = {n: v for n, v in spec.params.items() if n not in drawn} | fixed
    if not space:
        raise SpecError(f"{', '.join(fixed)}: with that fixed there is nothing left to search", key="param_space")
    return spec.model_copy(update={"params": params, "param_space": space})


def space_text(value: Any) -> str:
    """Return a parameter's distribution, or its list of distributions, as text."""
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list | tuple) else str(value)


def accepts(target: Target) -> frozenset[str] | None:
    """Return the parameters that a target knows; None when it takes any, or can't be asked."""
    match target:
        case Script():
            jobs = scripts.read_script(Path(target.path)).jobs
            if not jobs or any(job.accepts_any for job in jobs):
                return None
            return frozenset(name for job in jobs for name in job.params)
        case Notebook():
            notebooks = _notebooks()
            return frozenset(notebooks.notebook_params(notebooks.read_notebook(Path(target.path))) or ())
        case Cell():
            cell = cells.read_cell(target.source)
            return frozenset((*cell.params, *cell.space))
        case Function():
            signature = scripts.signature_of(target.function)
            return None if signature.accepts_any else frozenset(signature.params)
        case _:
            return None


def _notebooks() -> ModuleType:
    """Return the module that reads notebooks: nbformat takes a second to import, and tasks import this module."""
    from ml_experiment_nb import notebooks

    return notebooks


def _absolute(target: Target, root: Path) -> Target:
    if isinstance(target, Script | Notebook):
        return target.model_copy(update={"path": str((root / target.path).absolute())})
    return target


def _check_params(targets: tuple[Target, ...], given: Mapping[str, Any], allow_unknown: bool) -> None:
    known = [accepts(target) for target in targets]
    names = [names for names in known if names is not None]
    anything = len(names) < len(known) or allow_unknown
    everything = frozenset().union(*names)
    unknown = [name for name in given if name not in everything]
    if unknown and not anything:
        for target in targets:
            if isinstance(target, Notebook):
                where = target.name
                notebooks = _notebooks()
                notebooks.check_notebook_params(notebooks.read_notebook(Path(target.path)), given, where=where)
        where = ", ".join(target.name for target in targets)
        hint = nearest(unknown[0], everything) or f"; it takes {', '.join(sorted(everything)) or 'none'}"
        raise ParameterError(f"{where} has no such parameter{hint}", key=unknown[0])
    for target in targets:
        _check_required(target, given)


def _check_required(target: Target, given: Mapping[str, Any]) -> None:
    if isinstance(target, Script):
        jobs = scripts.read_script(Path(target.path)).jobs
    elif isinstance(target, Function):
        jobs = (scripts.signature_of(target.function),)
    else:
        return
    if len(jobs) == 1:
        missing = [name for name, info in jobs[0].params.items() if info.required and name not in given]
        if missing:
            raise ParameterError(
                f"{target.name}: {jobs[0].name}() needs it; give it in params, or with -p {missing[0]}=…",
                key=missing[0],
            )
        for name, info in jobs[0].params.items():
            _check_types(name, info, given)


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def _check_types(name: str, info: scripts.ParamInfo, given: Mapping[str, Any]) -> None:
    """Check a value against a plain annotation; None stands for a parameter that is drawn for each trial."""
    wanted, value = _TYPES.get(info.annotation or ""), given.get(name)
    if wanted is None or value is None:
        return
    if not isinstance(value, wanted) or (isinstance(value, bool) and info.annotation != "bool"):
        raise ParameterError(f"{value!r} is a {type(value).__name__}; it is annotated as {info.annotation}", key=name)


def _slots(spec: Spec) -> tuple[int | None, str]:
    """Return how many tasks run at once, and where. One slot and no word of Ray needs no Ray."""
    if not isinstance(spec, Group):
        return 1, "inline"
    ray = spec.ray_config
    wants_ray = ray is not None or spec.executor == "ray"
    cluster = (ray is not None and ray.address) or os.environ.get("RAY_ADDRESS")
    if spec.slots is not None:
        slots: int | None = spec.slots
    elif wants_ray and cluster:
        slots = None
    else:
        cpus = (ray and ray.num_cpus) or os.cpu_count() or 1
        slots = max(1, int(cpus / (spec.resources_per_worker.cpu or 1)))
    if slots is not None and spec.num_trials is not None:
        slots = min(slots, spec.num_trials)
    executor = spec.executor
    if executor == "auto":
        executor = "ray" if wants_ray or cluster or slots != 1 else "inline"
    return slots, executor


def prepared(task: Task, *, folder: str, payload: str | None, env: Mapping[str, str]) -> Task:
    """Return a task with what is known only when it is run."""
    return replace(task, folder=folder, payload=payload, env=env)
