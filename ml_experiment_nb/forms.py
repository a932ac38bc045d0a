"""What a run's record says was asked, and that as a spec's file; as it is typed, see `typed_forms`.

The forms are built from the fields of the specs. A key that a form has no place for is said, where it only tells how
or within what limits the work is done; where it changes what is asked, the form is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment_nb import spaces
from ml_experiment_nb.cells import read_cell, with_values
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.export import is_json
from ml_experiment_nb.fields import plain
from ml_experiment_nb.flow import is_everywhere
from ml_experiment_nb.identity import as_experiment, code_of, spec_hash
from ml_experiment_nb.plans import Spec
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.records import Record
from ml_experiment_nb.spec_files import parse_mapping, spec_text
from ml_experiment_nb.specs import Group, spec_from_mapping
from ml_experiment_nb.targets import Cell, Target, with_absolute_paths

_SAVE = "write it from there, with --save FILE on its magic's line"


@dataclass(frozen=True)
class RecordedSpec:
    """What was asked, as a record tells it, and what the record lost of it."""

    spec: Spec
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """A text, and what it loses of what was asked."""

    text: str
    losses: tuple[str, ...] = ()


def asked_by(record: Record, text: str | None) -> RecordedSpec:
    """Return what a run's record says was asked; of a trial, it alone as an experiment.

    Args:
        record: The record.
        text: The spec that is kept with it; None where there is none.

    Raises:
        SpecError: There is none, or what it runs can't be had again.
    """
    if text is None:
        raise SpecError(f"no spec is kept with the run {record.name!r}: it was not made by this package")
    data = parse_mapping(text)
    for target in data.get("run", ()):
        if isinstance(target, dict) and str(target.get("function", "")).startswith("__main__:"):
            name = target["function"].partition(":")[2]
            raise SpecError(f"{name} was defined where it was called: put it in a module, or call it again there")
    spec = asked_spec(data, record)
    spec = _placed(spec, record.tags.get("mlexp.cwd"))
    return RecordedSpec(spec, tuple(_differences(spec, record)))


def asked_spec(data: Mapping[str, Any], record: Record) -> Spec:
    """Return the spec that a record keeps, its paths as they stand there; of a trial or a step, it alone.

    Args:
        data: The spec's keys.
        record: The record.

    Raises:
        SpecError: It is no spec, or the record lacks a value that was drawn.
    """
    spec = _typed_params(spec_from_mapping(data), record)
    if record.kind == "trial" and isinstance(spec, Group):
        drawn = spec.each[0] if spec.each and not isinstance(spec.each, str) else _drawn(spec.param_space, record)
        spec = as_experiment(spec, {**drawn, **_suggested(spec, record)})
        spec = spec.model_copy(update={"run": tuple(_with_params(one, spec.params) for one in spec.run)})
    elif record.parent_id is not None and len(spec.run) > 1:
        run = tuple(one for one in spec.run if record.name == f"{spec.name} {one.name}")
        params = {name: value for name, value in spec.params.items() if name in record.params}
        spec = spec.model_copy(update={"run": run[:1] or spec.run, "params": params})
    return spec


def as_file(asked: RecordedSpec, suffix: str = ".yaml") -> Form:
    """Return a spec's file.

    Raises:
        SpecError: It runs a cell that takes values from its notebook.
    """
    spec = asked.spec
    for target in spec.run:
        if isinstance(target, Cell) and (names := _outside(target)):
            raise SpecError(f"the cell reads {', '.join(names)} from its notebook, which a file hasn't: {_SAVE}")
        if isinstance(target, Cell):  # it has these itself
            own = read_cell(target.source).params
            kept = {n: v for n, v in spec.params.items() if is_json(v) or n not in own or not is_same(own[n], v)}
            spec = spec.model_copy(update={"params": kept})
    values = [(f"params.{name}", value) for name, value in spec.params.items()]
    if isinstance(spec, Group) and spec.each is not None and not isinstance(spec.each, str):
        values += [(f"each[{k}].{name}", value) for k, row in enumerate(spec.each) for name, value in row.items()]
    lost = [
        f"{key} is {value!r}, which a file holds as {plain(value)!r}" for key, value in values if not is_json(value)
    ]
    return Form(spec_text(spec, suffix), (*asked.losses, *lost))


def absolute(spec: Spec) -> Spec:
    """Return a spec whose files have absolute paths, so that two can be compared."""
    root = Path(spec.root_path or ".")
    return spec.model_copy(update={"run": tuple(with_absolute_paths(target, root) for target in spec.run)})


# --- what was asked ---


def _typed_params(spec: Spec, record: Record) -> Spec:
    """Return a spec whose parameters are no longer as YAML holds them, where the cell or the record tells more."""
    known: dict[str, Any] = {}
    for target in spec.run:
        known |= read_cell(target.source).params if isinstance(target, Cell) else {}
    params = {}
    for name, value in spec.params.items():
        guesses = [known[name]] if name in known else []
        if isinstance(value, list) and name in record.params:
            guesses.append(record.params[name])
        params[name] = next((one for one in guesses if plain(one) == value and type(plain(one)) is type(value)), value)
    return spec.model_copy(update={"params": params})


def _drawn(space: Mapping[str, spaces.Value], record: Record) -> dict[str, Any]:
    """Return the values that were drawn for a trial; its record may have one as text that was cut."""
    found = {}
    for name, value in space.items():
        if name not in record.params:
            raise SpecError("the trial's record doesn't have it", key=name)
        found[name] = _typed(name, value, text_of(record.params[name]))
    return found


def _suggested(group: Group, record: Record) -> dict[str, Any]:
    """Return what the code has drawn by itself for a trial; a cell can't be given what its lead doesn't have."""
    if group.param_space or group.each is not None or any(isinstance(target, Cell) for target in group.run):
        return {}
    return {name: value for name, value in record.params.items() if name not in group.params}


def _typed(name: str, value: spaces.Value, text: str) -> Any:
    match value:
        case tuple():
            return ast.literal_eval(text)
        case spaces.Range() | spaces.RandInt():
            return int(text)
        case spaces.Uniform() | spaces.LogUniform():
            return float(text)
        case spaces.Choice(options):
            fitting = [option for option in options if str(option)[: len(text)] == text and str(option) == text]
            fitting = fitting or [option for option in options if len(text) >= 6000 and str(option).startswith(text)]
            if len(fitting) == 1:
                return fitting[0]
            raise SpecError(f"the record has it as {text!r}, which doesn't tell its options apart", key=name)


def _with_params(target: Target, params: Mapping[str, Any]) -> Target:
    """Return a cell with a trial's parameters written in its lead."""
    if not isinstance(target, Cell):
        return target
    cell = read_cell(target.source)
    changed = {name: value for name, value in params.items() if cell.params.get(name, cell) != value}
    return Cell(source=with_values(cell, changed), parameters=target.parameters) if changed else target


def _placed(spec: Spec, cwd: str | None) -> Spec:
    """Return a spec whose code runs where the run's did, wherever the spec itself stands."""
    if cwd is None or spec.root_path == cwd:
        return spec
    root = Path(spec.root_path or cwd)
    run = tuple(with_absolute_paths(target, root) for target in spec.run)
    changes: dict[str, Any] = {"run": run, "root_path": cwd}
    if isinstance(spec, Group) and isinstance(spec.each, str):
        changes["each"] = str(root / spec.each)
    if spec.data is not None and spec.data.has_files:
        changes["data"] = spec.data.model_copy(update={"folder": str(root / spec.data.folder)})
    return spec.model_copy(update=changes)


def _differences(spec: Spec, record: Record) -> Iterable[str]:
    """Yield what the record can't give back as it was, told by the hashes that it has."""
    code, asked = record.tags.get("mlexp.code_hash"), record.tags.get("mlexp.spec_hash")
    if code is None or asked is None:
        return
    try:
        now = code_of(spec.run, Path(spec.root_path or "."))
        if now.digest != code:
            yield "the code is another than in that run, whose own is kept in its record/source"
        elif spec_hash(spec, now) != asked:
            yield "a parameter or a row was of a kind that the record has as text only"
    except SpecError as error:
        yield f"the code can't be read any more: {error}"


# --- parts of the forms ---


def _outside(target: Cell) -> list[str]:
    return sorted(name for name in read_cell(target.source).reads if not is_everywhere(name))


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are of one type and are written alike."""
    return type(one) is type(other) and repr(one) == repr(other)
