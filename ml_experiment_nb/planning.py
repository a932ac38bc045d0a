"""WILL: a spec becomes a plan of tasks, once all that can be known before anything runs has been checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_experiment_nb import secrecy, spaces
from ml_experiment_nb.algorithms import NUMBERS_ALONE
from ml_experiment_nb.capture.inputs import described, values_here
from ml_experiment_nb.checks import (
    check_given,
    check_notebook,
    check_params,
    check_rows,
    check_search,
    check_secrets,
    uncalled_jobs,
    unread_params,
    workers_of,
)
from ml_experiment_nb.distribution import Distributed
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.paths import filled_in, is_elsewhere, literal, row_output
from ml_experiment_nb.plans import Plan, Spec, cpus_per_slot_of
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.rows import Table, read_table
from ml_experiment_nb.specs import Group, Job
from ml_experiment_nb.targets import Function, Notebook, Target, with_absolute_paths


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
    if not isinstance(spec, Job):
        raise SpecError(f"make_plan takes a spec, such as read_spec(file) gives, not one of type {type(spec).__name__}")
    root = Path(spec.root_path or os.getcwd())
    targets = tuple(with_absolute_paths(target, root) for target in spec.run)
    for target in targets:
        if isinstance(target, Notebook):
            check_notebook(target, spec)
    table = _table(spec, root)
    check_given(spec, table.rows if table is not None else ())
    if isinstance(spec, Group) and table is not None:
        given = {**spec.params, **dict.fromkeys(table.names)}
        check_rows(targets, spec, table)
    else:
        given = {**spec.params, **(dict.fromkeys(spec.param_space) if isinstance(spec, Group) else {})}
        check_params(targets, given, spec.allow_unknown_params)
    distributed = workers_of(targets, spec, values or {})
    slots, executor = _slots(spec, table, distributed)
    notes = [*check_secrets(targets, spec, table), *uncalled_jobs(targets), *unread_params(targets, given)]
    if spec.docker_config is not None and distributed is not None:
        raise SpecError("workers of distributed training can't be run in containers", key="docker_config")
    if executor == "inline" and spec.resources_per_worker.gpu and spec.docker_config is None:
        notes.append("resources_per_worker.gpu is for slots on Ray: a plain process gets no GPU of its own")
    if isinstance(spec, Group) and table is None:
        check_search(spec)
        notes += _of_search(spec, slots)
    where = cwd or str(root.absolute())
    data = described(spec.data, root, {**values_here(spec.data), **(values or {}), **spec.params}, find_root())
    output = None if output is None else _output(output, spec, table)
    values = {"function": _only_function(targets)} if not values and _has_function(targets) else values
    return Plan(
        spec, targets, where, slots, executor, values or {}, path, output, tuple(notes), cold, table, distributed,
        data=tuple(data),
    )  # fmt: skip


def _of_search(spec: Group, slots: int | None) -> list[str]:
    """Return what of a search is otherwise than who asked for it may think."""
    notes = []
    if spec.pruner is not None and spec.pruner.prunes and not spec.metrics:
        notes.append(f"{spec.pruner} prunes nothing: the group has no metric to judge by")
    if spec.sampler_seed is not None and slots != 1 and spec.sampler.learns:
        notes.append(
            "with several slots the seed doesn't repeat the search, since what is drawn depends on which trial "
            "ends first: one slot does"
        )
    if spec.sampler.name in NUMBERS_ALONE and (drawn := _choices(spec)):
        notes.append(f"{spec.sampler} searches numbers alone; drawn at random in each trial: {', '.join(drawn)}")
    return notes


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
    drawn = {n: spaces.parse_value(v) for n, v in given.items() if spaces.is_text(v) and n not in texts}
    fixed = {n: v for n, v in given.items() if n not in drawn}
    if spec.each is not None and drawn:
        name = next(iter(drawn))
        raise SpecError(f"{drawn[name]} is a distribution, and a table's rows are not searched", key=name)
    space = {n: v for n, v in spec.param_space.items() if n not in fixed} | drawn
    params = {n: v for n, v in spec.params.items() if n not in drawn} | fixed
    if not space and spec.param_space and spec.each is None:
        raise SpecError(f"{', '.join(fixed)}: with that fixed there is nothing left to search", key="param_space")
    return spec.model_copy(update={"params": params, "param_space": space})


def _table(spec: Spec, root: Path) -> Table | None:
    if not isinstance(spec, Group) or spec.each is None:
        return None
    if not isinstance(spec.each, str):
        return Table(spec.each)
    table = read_table(root / spec.each)
    return replace(table, rows=[secrecy.read(row) for row in table.rows])


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
        place = row_output(pattern, number, {**group.params, **row})
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


def _choices(spec: Group) -> list[str]:
    """Return the parameters of a group's space whose values, or some of them, have no order."""
    space = {name: value if isinstance(value, tuple) else (value,) for name, value in spec.param_space.items()}
    return [name for name, values in space.items() if any(isinstance(one, spaces.Choice) for one in values)]


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
        slots = max(1, int(cpus / (cpus_per_slot_of(spec, distributed) or 1)))
    most = spec.num_trials if table is None else len(table.rows)
    if slots is not None and most is not None:
        slots = min(slots, most)
    executor = spec.executor if distributed is None else "ray"
    if executor == "auto":
        has_gpu = spec.resources_per_worker.gpu and spec.docker_config is None  # which a plain process doesn't give
        executor = "ray" if wants_ray or cluster or slots != 1 or has_gpu else "inline"
    return slots, executor
