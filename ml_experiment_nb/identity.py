"""Whether two specs ask for the same: a hash of what is asked, whichever form it was asked in.

What enters is the name, the kind, the parameters that the code gets (its own defaults among them), the space or the
table's rows, the keys of the search, and the code itself as Python reads it, without comments and layout. What
doesn't is where files lie, how the work is spread and limited, and what is said about it (`UNASKED`).

A cell and the notebook that ``--save`` made of it have the same code: the cell's own. What the cell reads from its
notebook does not enter; a saved notebook whose cells above were changed counts as a whole.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb import scripts
from ml_experiment_nb.capture.sources import sources
from ml_experiment_nb.cells import DYNAMIC, assignment, lead, literal, parse, read_cell, value_text
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.fields import name_of
from ml_experiment_nb.quantities import repr_of
from ml_experiment_nb.rows import read_table
from ml_experiment_nb.specs import Experiment, Group, Job, to_mapping
from ml_experiment_nb.targets import Cell, Command, Function, Notebook, Script, Target

UNASKED: Final = frozenset(
    {
        *("root_path", "data", "storage"),  # where
        *("slots", "executor", "ray_config", "resources_per_worker", "docker_config"),  # how it is spread
        *("timeout", "timeout_per_trial", "max_failures", "retries", "memory"),  # limits
        *(
            "description",
            "tags",
            "allow_unknown_params",
            "notify",
            "autolog",
            "system_metrics",
        ),  # what is said about it
    }
)
"""The keys of a spec that don't change what is asked."""

CODE: Final = "mlexp.code_hash"
ASKED: Final = "mlexp.asked_hash"
"""The tags of what is asked, its name apart, and of its code."""

SAVED: Final = "ml_experiment"
"""The key of a notebook's metadata under which ``--save`` writes what it made of which cell."""


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Code:
    """What a spec's targets are, wherever they lie.

    Attributes:
        digest: Twelve hexadecimal digits, the same for the same code.
        defaults: The parameters that the code gives itself, where they are literals.
    """

    digest: str
    defaults: Mapping[str, Any]


def spec_hash(spec: Job, code: Code | None = None, *, named: bool = True) -> str:
    """Return twelve hexadecimal digits that are the same for specs that ask for the same.

    Args:
        spec: The spec.
        code: What `code_of` says of its targets, where that is known already.
        named: Whether the name counts.

    Raises:
        SpecError: A target can't be read.
    """
    root = Path(spec.root_path or ".")
    code = code or code_of(spec.run, root)
    asked = {key: value for key, value in to_mapping(spec).items() if key not in UNASKED}
    asked |= {"run": code.digest, "params": _texts({**code.defaults, **spec.params})}
    if isinstance(spec, Group):
        rows = _rows(spec, root)
        drawn = {*spec.param_space, *(name for row in rows for name in row)}
        given = {name for row in rows for name in row} & code.defaults.keys()
        asked["params"] = {name: text for name, text in asked["params"].items() if name not in drawn}
        asked["each"] = [_texts({**{n: code.defaults[n] for n in given}, **row}) for row in rows]
    if not named:
        del asked["name"]
    return _digest(asked)


def code_of(targets: Sequence[Target], root: Path) -> Code:
    """Return what targets are; relative paths are below `root`.

    Raises:
        SpecError: One can't be read.
    """
    parts = [_code(target, root) for target in targets]
    defaults = dict(parts[0][1]) if len(parts) == 1 else {}
    return Code(_digest([part for part, _ in parts]), {n: v for n, v in defaults.items() if v is not DYNAMIC})


def identity_tags(spec: Job, code: Code) -> dict[str, str]:
    """Return the tags by which a run's record says what was asked."""
    asked = spec_hash(spec, code, named=False)
    return {"mlexp.spec_hash": spec_hash(spec, code), ASKED: asked, CODE: code.digest}


def as_experiment(group: Group, params: Mapping[str, Any]) -> Experiment:
    """Return what asks for one of a group's trials alone, with all of its parameters."""
    fields = {name: getattr(group, name) for name in Experiment.model_fields if name in group.model_fields_set}
    fields |= {"name": group.name, "run": group.run, "params": {**group.params, **params}}
    if group.timeout_per_trial is not None:
        fields["timeout"] = group.timeout_per_trial
    for key in ("slots", "notify"):
        fields.pop(key, None)
    return Experiment.model_validate(fields)


def body_text(source: str) -> str:
    """Return a cell's code without its parameters, as Python reads it."""
    module = parse(source)
    parameters = {id(one.statement) for one in lead(module.body)}
    body = [one for one in module.body if id(one) not in parameters and not isinstance(one, ast.Pass)]
    return ast.unparse(ast.Module(body, []))


def cells_digest(sources: Iterable[str]) -> str:
    """Return what tells cells from others: a digest of their texts."""
    return _digest(list(sources))


def _code(target: Target, root: Path) -> tuple[Any, Mapping[str, Any]]:
    match target:
        case Cell():
            return {"body": body_text(target.source)}, read_cell(target.source).params
        case Notebook():
            return _notebook_code(target, root)
        case Script():
            script = scripts.read_script(root / target.path)
            jobs = script.jobs if len(script.jobs) == 1 else ()
            defaults = {name: info.default for job in jobs for name, info in job.params.items() if not info.required}
            return {"script": _normal(script.source)}, defaults
        case Command():
            return {"command": target.command}, {}
        case Function():
            text = next(iter(sources([target]).values()), name_of(target.function))
            return {"function": _normal(text)}, {}


def _notebook_code(target: Notebook, root: Path) -> tuple[Any, Mapping[str, Any]]:
    from ml_experiment_nb import notebooks

    nb = notebooks.read_notebook(target.file if target.is_elsewhere else root / target.file)
    index = notebooks.parameters_cell(nb)
    defaults = notebooks.notebook_params(nb) or {}
    cells = [cell for _, cell in notebooks.code_cells(nb)]
    saved = nb.metadata.get(SAVED, {}).get("above")
    if cells and not target.part and saved == cells_digest(cell.source for cell in cells[:-2]):
        return {"body": body_text(cells[-1].source)}, defaults
    texts = [
        _without_literals(cell.source) if index is not None and cell is nb.cells[index] else _normal(cell.source)
        for cell in cells
    ]
    return {"cells": texts, "part": target.part}, defaults


def _normal(source: str) -> str:
    """Return code as Python reads it; text that isn't Python as it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.unparse(parse(source))
    except SpecError:
        return source


def _without_literals(source: str) -> str:
    """Return a parameters cell without the defaults that are literals: they count as parameters."""
    try:
        module = parse(source)
    except SpecError:
        return source
    body = []
    for statement in module.body:
        found = assignment(statement)
        if found is None or literal(found[1]) is DYNAMIC:
            body.append(statement)
    return ast.unparse(ast.Module(body, []))


def _rows(group: Group, root: Path) -> Sequence[Mapping[str, Any]]:
    if group.each is None:
        return ()
    return read_table(root / group.each).rows if isinstance(group.each, str) else group.each


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(name, value) for name, value in values.items()}


def _text(name: str, value: Any) -> str:
    try:
        return value_text(name, value)
    except ParameterError:
        is_named = callable(value) and hasattr(value, "__qualname__")
        return name_of(value) if is_named else _ADDRESS.sub("", repr_of(value))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]
