"""A cell written as a spec and a notebook beside it, which ``ml-experiment run`` runs as the magic runs the cell."""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

import ast
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from ml_experiment_nb import cells, optuna_spaces, secrecy, spaces
from ml_experiment_nb.cells import CellSource, lead, parse, with_values
from ml_experiment_nb.effects import Executed
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.identity import SAVED, cells_digest
from ml_experiment_nb.lineage import needed_cells
from ml_experiment_nb.notebooks import PARAMETERS_TAG, code_cells, read_notebook
from ml_experiment_nb.paths import SPECS, is_spec
from ml_experiment_nb.secrecy import Secret
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.specs import Group, Job
from ml_experiment_nb.targets import Notebook


@dataclass(frozen=True)
class Pair:
    """A spec and the notebook that it runs, before they are written.

    Attributes:
        name: The spec's name.
        file: The spec's file.
        spec: What it holds.
        notebook: The notebook, which is to stand in `file`'s folder.
        above: How many executed cells stand above its parameters.
    """

    name: str
    file: Path
    spec: Job
    notebook: NotebookNode
    above: int

    @property
    def book(self) -> Path:
        """The notebook's file."""
        return self.file.with_suffix(".ipynb")

    def __str__(self) -> str:
        made = f"{self.above} cell{'' if self.above == 1 else 's'}"
        return (
            f"saved {self.file} and {self.book} ({made} of this notebook above the parameters); nothing was run\n"
            f"  run it   ml-experiment run {self.file}"
        )


def make_pair(
    spec: Job, cell: CellSource, history: Sequence[Executed], namespace: Mapping[str, Any], file: str
) -> Pair:
    """Return what ``--save`` writes.

    Args:
        spec: What the magic asks for.
        cell: Its cell.
        history: The cells that were executed before it.
        namespace: The notebook's variables.
        file: The spec's file.

    Raises:
        SpecError: A name that the cell reads can't be traced to executed cells, or the file can't be a spec's.
        ParameterError: A parameter can't be written as a literal.
    """
    path = Path(file)
    if not is_spec(path):
        raise SpecError(f"--save {file}: a spec's file ends in {', '.join(SPECS)}")
    if not path.absolute().parent.is_dir():
        raise SpecError("--save: its folder does not exist", file=file)
    above = needed_cells(cell.reads, history, namespace)
    parameters, rest = split_cell(cell, defaults(spec, cell))
    notebook = _notebook([one.source for one in above], parameters, rest)
    return Pair(spec.name, path, _spec_of(spec, path), notebook, len(above))


def write_pair(pair: Pair) -> None:
    """Write a spec and its notebook. What stands there is replaced only if it is as it was written for this name.

    Raises:
        SpecError: Something else stands there, or it can't be written.
    """
    _check_free(pair)
    text = spec_text(pair.spec, pair.file.suffix.lower())
    pair.notebook.metadata[SAVED] |= {"name": pair.name, "written": _written(pair.notebook, text)}
    book = json.dumps(pair.notebook, indent=1, ensure_ascii=False) + "\n"
    parts = [(path, path.with_name(f".{path.name}.partial")) for path in (pair.book, pair.file)]
    try:
        for (_, partial), content in zip(parts, (book, text), strict=True):
            partial.write_text(content, encoding="utf-8")
        for path, partial in parts:
            partial.replace(path)
    except OSError as error:
        raise SpecError(f"can't be written: {error.strerror}", file=str(pair.file)) from None
    finally:
        for _, partial in parts:
            partial.unlink(missing_ok=True)


def defaults(spec: Job, cell: CellSource) -> dict[str, Any]:
    """Return a value for each parameter of a cell: the one that is asked for, or one in its distribution's middle."""
    rows = spec.each if isinstance(spec, Group) and not isinstance(spec.each, str) else None
    drawn = spec.param_space if isinstance(spec, Group) else {}
    first = {name: value for row in reversed(rows or ()) for name, value in row.items()}
    found = {name: middle(value) for name, value in drawn.items()}
    return {**{name: value for name, value in first.items() if name in cell.space}, **spec.params, **found}


def middle(value: spaces.Value) -> Any:
    """Return a literal that a distribution can give: its middle, or the first of its options."""
    match value:
        case tuple():
            return [middle(position) for position in value]
        case spaces.Range(low, high, step):
            values = range(low, high, step)
            return values[(len(values) - 1) // 2]
        case spaces.RandInt(low, high):
            return (low + high) // 2
        case spaces.Uniform(low, high, None):
            return (low + high) / 2
        case spaces.Uniform(low, high, float(step)):
            axis = optuna_spaces.grid({"x": value})["x"] if (high - low) / step < 1e4 else [low]
            return axis[(len(axis) - 1) // 2]
        case spaces.LogUniform(low, high):
            return float(f"{math.sqrt(low) * math.sqrt(high):.3g}") if high / low > 1.1 else low
        case spaces.Choice(options):
            return options[0]


def split_cell(cell: CellSource, values: Mapping[str, Any]) -> tuple[str, str]:
    """Return a cell's parameters with their values, and the rest of the cell, each as a cell of its own.

    Raises:
        ParameterError: A value can't be written as a literal.
        SpecError: The lead binds a parameter's name twice, in a way that splitting it would change.
    """
    source = with_values(cell, {name: value for name, value in values.items() if name in (*cell.params, *cell.space)})
    module = parse(source)
    parameters = list(lead(module.body))
    lines = [line.encode() for line in cells.dedented(source).splitlines(keepends=True)]
    own = {id(one.statement) for one in parameters}
    others = [one for one in module.body if id(one) not in own]
    _check_imports(others, {one.name for one in parameters})
    head: dict[str, str] = {}
    for one in reversed(parameters):
        first, last = one.statement.lineno - 1, (one.statement.end_lineno or one.statement.lineno) - 1
        alone = sum(_stands_in(other, first, last) for other in module.body) == 1
        text = b"".join(lines[first : last + 1]).decode()
        plain = f"{one.name} = {cells.value_text(one.name, one.value)}\n"
        head.setdefault(one.name, text if alone and _is_plain(one.statement) else plain)
        if alone:
            lines[first : last + 1] = []
        else:
            start, end = one.statement.col_offset, one.statement.end_col_offset
            left = lines[first][:start] + b"pass" + lines[last][end:]
            lines[first : last + 1] = [left] if left.strip(b"pas; \t\n") else []
    rest = b"".join(lines).decode()
    needs = "from ml_experiment_nb import secret\n" if any(secrecy.names_in(values)) else ""
    return needs + "".join(reversed(head.values())).strip("\n"), rest.strip("\n")


def _stands_in(statement: ast.stmt, first: int, last: int) -> bool:
    """Return whether a statement has a part of the lines from `first` to `last`, counted from 0."""
    return statement.lineno - 1 <= last and (statement.end_lineno or statement.lineno) - 1 >= first


def _is_plain(statement: ast.stmt) -> bool:
    """Return whether a statement can stand above the cell's imports: its annotation is a built-in's name."""
    match statement:
        case ast.AnnAssign(annotation=ast.Name(id=name)):
            return name in ("int", "float", "str", "bool", "list", "tuple", "dict", "set", "bytes", "complex")
    return isinstance(statement, ast.Assign)


def _check_imports(others: Sequence[ast.stmt], names: set[str]) -> None:
    for statement in others:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                if (bound := alias.asname or alias.name.split(".")[0]) in names:
                    raise SpecError(f"{bound} is imported and is a parameter: rename one", line=statement.lineno)


def _notebook(above: Sequence[str], parameters: str, rest: str) -> NotebookNode:
    code: Any = nbformat.v4.new_code_cell
    made: Any = nbformat.v4.new_notebook
    notebook: NotebookNode = made(
        cells=[
            *(code(source, id=f"setup-{k}") for k, source in enumerate(above, start=1)),
            code(parameters, id="parameters", metadata={"tags": [PARAMETERS_TAG]}),
            code(rest, id="cell"),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
            SAVED: {"above": cells_digest(above)},
        },
    )
    return notebook


def _spec_of(spec: Job, file: Path) -> Job:
    """Return the spec that runs the notebook: its values are those that YAML can hold, the rest are the notebook's."""
    folder = file.absolute().parent.resolve()
    here = Path(spec.root_path or os.getcwd()).resolve()
    book = os.path.relpath(folder / file.with_suffix(".ipynb").name, here)
    changes: dict[str, Any] = {
        "run": (Notebook(path=book),),
        "params": {name: value for name, value in spec.params.items() if is_json(value)},
        "root_path": None if here == folder else os.path.relpath(here, folder),
    }
    if isinstance(spec, Group) and not isinstance(spec.each, str) and spec.each is not None:
        lost = [(k, name) for k, row in enumerate(spec.each) for name, value in row.items() if not is_json(value)]
        if lost:
            k, name = lost[0]
            problem = f"a spec's file can't hold {spec.each[k][name]!r}: give a table's file"
            raise SpecError(problem, key=f"each[{k}].{name}")
    return spec.model_copy(update=changes)


def is_json(value: Any) -> bool:
    """Return whether a spec's file gives a value back as it is."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_json, value.values()))
    if type(value) is list:
        return all(map(is_json, value))
    return value is None or type(value) in (bool, int, float, str, Secret)


def _check_free(pair: Pair) -> None:
    there = [path for path in (pair.file, pair.book) if path.exists()]
    if not there:
        return
    try:
        saved = read_notebook(pair.book).metadata.get(SAVED, {})
        unchanged = saved.get("written") == _written(read_notebook(pair.book), pair.file.read_text(encoding="utf-8"))
    except (SpecError, OSError, UnicodeDecodeError):
        saved, unchanged = {}, False
    if saved.get("name") == pair.name and unchanged:
        return
    if saved.get("name") == pair.name:
        problem = "was changed since it was saved"
    else:
        problem = f"is something else than the saved {pair.name!r}"
    raise SpecError(f"{problem}, and is left as it is: save under another name, or move it", file=str(there[0]))


def _written(notebook: NotebookNode, text: str) -> str:
    """Return what tells a pair that is as it was written from one that was changed, or whose notebook has outputs."""
    outputs = [str(cell.outputs) for _, cell in code_cells(notebook) if cell.outputs]
    return cells_digest([text, *(cell.source for cell in notebook.cells), *outputs])
