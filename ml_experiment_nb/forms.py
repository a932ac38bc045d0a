"""What a run's record says was asked, and its forms: a spec's file, a cell with its magic, a shell line.

The forms are built from the fields of the specs. A key that a form has no place for is said, where it only tells how
or within what limits the work is done; where it changes what is asked, the form is refused.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from ml_experiment_nb import spaces
from ml_experiment_nb.algorithms import Pruner, Sampler
from ml_experiment_nb.cells import read_cell, value_text, with_values
from ml_experiment_nb.datasets import Data
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.export import is_json
from ml_experiment_nb.fields import plain
from ml_experiment_nb.files import parse_mapping, spec_text
from ml_experiment_nb.flow import is_everywhere
from ml_experiment_nb.goals import Metric
from ml_experiment_nb.identity import UNASKED, as_experiment, code_of, spec_hash
from ml_experiment_nb.literals import read_value
from ml_experiment_nb.notify import Notify
from ml_experiment_nb.plans import Spec
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.records import Record
from ml_experiment_nb.secrecy import Secret
from ml_experiment_nb.spaces import space_text
from ml_experiment_nb.specs import Group, spec_from_mapping
from ml_experiment_nb.targets import Cell, Notebook, Script, Target, with_absolute_paths

IN_CELL: Final = frozenset({"name", "run", "params", "param_space", "each", "metric", "tags"})
"""The keys of a spec that a cell and its magic have in a way of their own; others are options."""

NOT_IN_MAGIC: Final = frozenset(
    {
        *("description", "root_path", "docker_config", "ray_config"),
        *("resources_per_worker", "distributed", "deterministic", "allow_unknown_params", "system_metrics"),
    }
)
"""The keys that no magic has an option for."""

IN_BOTH_MAGICS: Final = frozenset({"data", "seed"})
"""The keys that ``%%experiment`` has an option for, as ``%%group`` has."""

_OPTIONS = {"num_trials": "trials"}  # the options that aren't called like their key
_SAVE = "write it from there, with --save FILE on its magic's line"


@dataclass(frozen=True)
class Asked:
    """What was asked, as a record tells it, and what the record lost of it."""

    spec: Spec
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """A text, and what it loses of what was asked."""

    text: str
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """An option of ``ml-experiment run``: how it is written, and how its opposite is; whether it takes a value."""

    word: str
    opposite: str | None = None
    has_value: bool = True


def asked_by(record: Record, text: str | None) -> Asked:
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
    return Asked(spec, tuple(_differences(spec, record)))


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


def as_file(asked: Asked, suffix: str = ".yaml") -> Form:
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
            kept = {n: v for n, v in spec.params.items() if is_json(v) or n not in own or not _same(own[n], v)}
            spec = spec.model_copy(update={"params": kept})
    values = [(f"params.{name}", value) for name, value in spec.params.items()]
    if isinstance(spec, Group) and spec.each is not None and not isinstance(spec.each, str):
        values += [(f"each[{k}].{name}", value) for k, row in enumerate(spec.each) for name, value in row.items()]
    lost = [
        f"{key} is {value!r}, which a file holds as {plain(value)!r}" for key, value in values if not is_json(value)
    ]
    return Form(spec_text(spec, suffix), (*asked.losses, *lost))


def as_cell(asked: Asked) -> Form:
    """Return a cell with its magic; where the rows of a table go with it, a cell above it gives them a name.

    Raises:
        SpecError: It runs no cell, or the magic has no place for a key that changes what is asked.
    """
    spec = asked.spec
    [target, *others] = spec.run
    if others or not isinstance(target, Cell):
        raise SpecError("no cell was run")
    lost = [key for key in _set_keys(spec) - IN_CELL if not _is_option(spec, key)]
    refused = [key for key in lost if key not in UNASKED]
    if refused:
        raise SpecError(f"%%{spec.kind} has no option for it: take the form yaml", key=refused[0])
    words, source, above = [f"%%{spec.kind}", shlex.quote(spec.name)], target.source, ""
    overridden = _overridden(spec, target)
    try:
        words += [word for name, value in overridden.items() for word in ("-p", f"{name}={_word(value)}")]
        if any(character in "".join(words) for character in "{}$\n"):  # IPython fills them in
            raise ParameterError("would be filled in")
    except ParameterError:
        words = words[:2]
        source = with_values(read_cell(source), overridden)
    if isinstance(spec, Group):
        words += [word for one in _metrics(spec) for word in (f"--{one.direction}", one.name)]
        words += ["--define-by-run"] if spec.each is None and not spec.param_space else []
        if spec.each is not None:
            above = "" if isinstance(spec.each, str) else f"rows = {_rows_text(spec.each)}\n\n"
            words += ["--each", spec.each if isinstance(spec.each, str) else "rows"]
    words += [word for name, value in spec.tags.items() for word in ("--tag", f"{name}={value}")]
    for key in sorted(_set_keys(spec) - IN_CELL - set(lost)):
        words += _option_words(key, getattr(spec, key))
    line = " ".join(words[:2] + [shlex.quote(word) for word in words[2:]])
    if any(character in line for character in "{}$\n"):
        raise SpecError(f"IPython would fill in what stands in {line!r}: take the form yaml")
    said = [f"{key}: %%{spec.kind} has no option for it" for key in sorted(lost) if key != "root_path"]
    return Form(f"{above}{line}\n{source}", (*asked.losses, *said))


def as_words(spec: Spec, options: Mapping[str, Option]) -> list[str] | None:
    """Return ``ml-experiment run …`` as words; None where its options can't say what was asked.

    Args:
        spec: What was asked.
        options: The command's options, by their names in it.
    """
    [target, *others] = spec.run
    if others or not isinstance(target, Script | Notebook):
        return None
    words = ["ml-experiment", "run", str(Path(spec.root_path or ".") / target.path)]
    given: dict[str, Any] = {key: getattr(spec, key) for key in sorted(_set_keys(spec) - {"name", "run", "params"})}
    if isinstance(target, Notebook):
        given |= {key: getattr(target, key) for key in sorted(_set_keys(target) - {"path"})}
    given["cwd"] = given.pop("root_path", None)
    if spec.name != target.name:
        given["name"] = spec.name
    if spec.kind == "job":
        given["kind"] = "job"
    for key, value in given.items():
        option = options.get(_OPTIONS.get(key, key))
        if value is None:
            continue
        if option is None or isinstance(value, BaseModel | list | tuple | dict):
            return None
        if not option.has_value:
            words += [option.word] if value else [option.opposite] if option.opposite else []
        else:
            words += [option.word, str(value)]
    for name, value in spec.params.items():
        try:
            words += ["-p", f"{name}={_word(value)}"]
        except ParameterError:
            return None
    return words


def by_file(record: Record, spec: Spec) -> str:
    """Return a shell line that writes a run's spec to a file, and runs that."""
    file = shlex.quote((re.sub(r"\W+", "-", spec.name).strip("-") or "spec") + ".yaml")
    return f"ml-experiment show {record.run_id} --as yaml > {file} && ml-experiment run {file}"


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


def _set_keys(model: BaseModel) -> set[str]:
    """Return the fields that aren't at their defaults."""
    fields = type(model).model_fields.items()
    return {name for name, one in fields if getattr(model, name) != one.get_default(call_default_factory=True)}


def _is_option(spec: Spec, key: str) -> bool:
    if key == "data" and spec.data is not None and spec.data.files:
        return Path(spec.root_path or ".", spec.data.folder) == Path(spec.root_path or ".")
    return key in IN_BOTH_MAGICS or (isinstance(spec, Group) and key not in NOT_IN_MAGIC)


def _option_words(key: str, value: Any) -> list[str]:
    """Return a key as an option of its name.

    Raises:
        SpecError: Its value is no single word.
    """
    word = f"--{_OPTIONS.get(key, key).replace('_', '-')}"
    if value is True:
        return [word]
    if isinstance(value, list | tuple) and all(isinstance(one, str | int | float) for one in value):
        return [part for one in value for part in (word, str(one))]
    if isinstance(value, Data):
        names = [*value.files, *value.values] if value.files or value.values else [value.folder]
        return [part for one in names for part in (word, one)]
    if key == "enqueue":
        points = [" ".join(f"{n}={shlex.quote(_word(v))}" for n, v in point.items()) for point in value]
        return [part for point in points for part in (word, point)]
    if isinstance(value, Sampler | Pruner):
        value = str(value)
    elif isinstance(value, Notify) and not value.after:
        return [part for one in value.words for part in (word, one)]
    elif isinstance(value, BaseModel):
        value = value.model_dump()
    if not isinstance(value, str | int | float):
        raise SpecError(f"{value!r} is no option's value: take the form yaml", key=key)
    return [word, str(value)]


def _metrics(group: Group) -> Sequence[Metric]:
    found: Any = group.metric
    return () if found is None else tuple(found) if isinstance(found, list | tuple) else (found,)


def _overridden(spec: Spec, target: Cell) -> dict[str, Any]:
    """Return what is given otherwise than the cell has it."""
    cell = read_cell(target.source)
    rows = spec.each if isinstance(spec, Group) and spec.each and not isinstance(spec.each, str) else ()
    given = {**spec.params, **(spec.param_space if isinstance(spec, Group) else {})}
    own = {**cell.params, **cell.space}
    of_rows = {name for row in rows for name in row}
    return {n: v for n, v in given.items() if n not in of_rows and not (n in own and _same(own[n], v))}


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


def _word(value: Any) -> str:
    """Return a value as it is typed behind ``-p C=``.

    Raises:
        ParameterError: No word is read as that value.
    """
    if isinstance(value, tuple) and value and all(isinstance(one, spaces.Distribution) for one in value):
        return space_text(value)
    if isinstance(value, spaces.Distribution):
        return str(value)
    if isinstance(value, Secret):
        return str(value)
    word = value if isinstance(value, str) else value_text("", value)
    if isinstance(value, str) and (read_value(word) != value or spaces.is_text(word) or word != word.strip()):
        word = repr(value)
    if isinstance(value, float) and not isinstance(value, bool):
        word = repr(value)
    if not _same(read_value(word), value) or (isinstance(value, str) and spaces.is_text(value)):
        raise ParameterError(f"{value!r} can't be typed")
    return word


def _outside(target: Cell) -> list[str]:
    return sorted(name for name in read_cell(target.source).reads if not is_everywhere(name))


def _rows_text(rows: Sequence[Mapping[str, Any]]) -> str:
    return "[" + ",\n        ".join(value_text("rows", dict(row)) for row in rows) + "]"
