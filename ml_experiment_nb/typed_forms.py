"""What was asked, as it is typed: a cell with its magic, or a shell line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from ml_experiment_nb import spaces
from ml_experiment_nb.algorithms import Pruner, Sampler
from ml_experiment_nb.cells import read_cell, value_text, with_values
from ml_experiment_nb.datasets import Data
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.forms import Form, RecordedSpec, is_same
from ml_experiment_nb.identity import UNASKED
from ml_experiment_nb.literals import read_value
from ml_experiment_nb.notify import Notify
from ml_experiment_nb.plans import Spec
from ml_experiment_nb.records import Record
from ml_experiment_nb.secrecy import Secret
from ml_experiment_nb.spaces import space_text
from ml_experiment_nb.specs import Group
from ml_experiment_nb.targets import Cell, Notebook, Script

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


@dataclass(frozen=True)
class Option:
    """An option of ``ml-experiment run``: how it is written, and how its opposite is; whether it takes a value."""

    word: str
    opposite: str | None = None
    has_value: bool = True


def as_cell(asked: RecordedSpec) -> Form:
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
        words += [word for one in spec.metrics for word in (f"--{one.direction}", one.name)]
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


def _overridden(spec: Spec, target: Cell) -> dict[str, Any]:
    """Return what is given otherwise than the cell has it."""
    cell = read_cell(target.source)
    rows = spec.each if isinstance(spec, Group) and spec.each and not isinstance(spec.each, str) else ()
    given = {**spec.params, **(spec.param_space if isinstance(spec, Group) else {})}
    own = {**cell.params, **cell.space}
    of_rows = {name for row in rows for name in row}
    return {n: v for n, v in given.items() if n not in of_rows and not (n in own and is_same(own[n], v))}


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
    if not is_same(read_value(word), value) or spaces.is_text(value):
        raise ParameterError(f"{value!r} can't be typed")
    return word


def _rows_text(rows: Sequence[Mapping[str, Any]]) -> str:
    return "[" + ",\n        ".join(value_text("rows", dict(row)) for row in rows) + "]"
