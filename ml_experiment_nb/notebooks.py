"""A notebook read as data: its parameters cell, its code cells; for the set-up above the parameters, see `setup_cells`.

The tags are papermill's: ``parameters`` marks the cell of the defaults, ``injected-parameters`` the one that
papermill puts below it.
"""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from typing import Any, Final

import nbformat
from nbformat import NotebookNode

from ml_experiment_nb import ipynb
from ml_experiment_nb.cells import (
    DYNAMIC,
    assignment,
    literal,
    parse,
    text_and_tree,
    unknown_parameter,
)
from ml_experiment_nb.errors import SpecError, nearest

PARAMETERS_TAG: Final = "parameters"
INJECTED_TAG: Final = "injected-parameters"

HOW_TO_TAG: Final = (
    "tag the cell of the default values: in JupyterLab select it, open the property inspector (the gears at "
    "the top right) and add `parameters` under Cell Tags"
)


_TITLE_LENGTH = 80


@dataclass(frozen=True)
class Described:
    """A parameter as its cell has it: its annotation, its default as text and as a value, and the line's comment."""

    name: str
    annotation: str | None
    default: str
    value: Any
    comment: str


def read_notebook(path: str | Path) -> NotebookNode:
    """Read a notebook as nbformat 4.5, whatever version it was written in.

    What every tool can do without, such as a cell's id or its outputs, is filled in where it is missing; the
    same file always gets the same ids.

    Raises:
        SpecError: There is no such file, or it isn't a notebook.
    """
    return parse_notebook(_read_text(str(path)), file=str(path))


def parse_notebook(text: str, *, file: str) -> NotebookNode:
    """Read a notebook's text as `read_notebook` does.

    Args:
        text: The notebook as JSON.
        file: Where it comes from, for errors.

    Raises:
        SpecError: It isn't a notebook.
    """
    if not text.strip():
        raise SpecError("isn't a notebook: it is empty", file=file)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"isn't a notebook: not JSON ({error.msg})", file=file, line=error.lineno) from None
    if not isinstance(data, dict) or "nbformat" not in data or not {"cells", "worksheets"} & data.keys():
        raise SpecError("isn't a notebook: JSON, but without `nbformat` and `cells`", file=file)
    try:
        notebook = _converted(data)
    except SpecError as error:
        raise SpecError(error.problem, file=file, key=error.key) from None
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise SpecError(f"isn't a notebook that can be read: {error!r}", file=file) from None
    _give_ids(notebook.cells)
    return notebook


def parameters_cell(nb: NotebookNode) -> int | None:
    """Return the index of the cell tagged ``parameters``; of several the first, as papermill has it."""
    tagged = (index for index, cell in enumerate(nb.cells) if PARAMETERS_TAG in tags(cell))
    return next(tagged, None)


def notebook_params(nb: NotebookNode) -> dict[str, Any] | None:
    """Return the parameters of a Python notebook and their defaults, in order.

    All simple assignments at the top level of the tagged cell count, as papermill has it. A default that
    isn't a literal is `cells.DYNAMIC`.

    Returns:
        None if no cell is tagged, or the language isn't Python and nothing can be said.

    Raises:
        SpecError: The tagged cell isn't code, or isn't Python; carries the cell as the key.
    """
    index = parameters_cell(nb)
    if index is None or not _is_python(nb):
        return None
    cell = nb.cells[index]
    key = f"cell {index + 1}"
    if cell.cell_type != "code":
        raise SpecError(f"it is tagged `parameters`, but is {cell.cell_type}, not code", key=key)
    try:
        assigned = map(assignment, parse(cell.source).body)
        return {name: literal(node) for name, node in filter(None, assigned)}
    except SpecError as error:
        raise SpecError(error.problem, line=error.line, key=key) from None


def effective_params(nb: NotebookNode, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a notebook is run with: those given, and the defaults that are literals, beside them.

    Where nothing is given, papermill leaves what it injected the last time, and so those values are in effect.
    """
    found = notebook_params(nb) or {}
    for cell in nb.cells if not given and _is_python(nb) else ():
        if INJECTED_TAG in tags(cell) and cell.cell_type == "code":
            with suppress(SpecError):  # no Python: its run will say so
                found |= {name: literal(node) for name, node in filter(None, map(assignment, parse(cell.source).body))}
    return {**{name: value for name, value in found.items() if value is not DYNAMIC}, **given}


def described_params(nb: NotebookNode) -> list[Described]:
    """Return what a Python notebook's parameters cell says of each parameter, in order; nothing without such a cell.

    Raises:
        SpecError: As `notebook_params`.
    """
    values, index = notebook_params(nb), parameters_cell(nb)
    if values is None or index is None:
        return []
    source, tree = text_and_tree(nb.cells[index].source)
    comments = dict(_comments(source))
    found: dict[str, Described] = {}
    for statement in tree.body:
        if (assigned := assignment(statement)) is None:
            continue
        name, node = assigned
        hint = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else None
        comment = comments.get(statement.end_lineno or 0, "")
        found[name] = Described(name, hint, ast.get_source_segment(source, node) or "", values[name], comment)
    return list(found.values())


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of a piece of code, and their lines, as far as it can be read."""
    with suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string.lstrip("#").strip()


def check_notebook_params(nb: NotebookNode, given: Iterable[str], *, where: str) -> None:
    """Check that a notebook takes the given parameters.

    Args:
        nb: The notebook.
        given: The parameters' names.
        where: Where they were given, such as the notebook's or the spec's file.

    Raises:
        SpecError: No cell is tagged ``parameters``; says how to tag one.
        ParameterError: The parameters cell assigns no such name; the nearest is named.
    """
    names = list(given)
    index = parameters_cell(nb)
    if index is None and names:
        problem = f"no cell is tagged `parameters`, so {', '.join(names)} can't be set: {HOW_TO_TAG}"
        raise SpecError(problem, file=where)
    if index is None:
        return
    known = notebook_params(nb)
    for name in names:
        if known is not None and name not in known:
            raise unknown_parameter(f"the parameters cell (cell {index + 1})", name, known, where=where)


def left_out(
    nb: NotebookNode, first: int | str | None, last: int | str | None, *, where: str = "the notebook"
) -> frozenset[str]:
    """Return the ids of the cells that are not run when a run goes from cell `first` to cell `last`.

    Cells with parameters are run wherever they stand.

    Args:
        nb: The notebook.
        first: A number counted from 1 among all cells, an id, or a tag, of whose cells the first is meant.
        last: Likewise; of a tag's cells the last is meant. None: the notebook's end.
        where: What to call the notebook in an error.

    Raises:
        SpecError: There is no such cell, or `last` stands above `first`.
    """
    start = 0 if first is None else _places(nb, first, where, "from_cell")[0]
    end = len(nb.cells) if last is None else _places(nb, last, where, "until_cell")[-1] + 1
    if end <= start and (first, last) != (None, None):
        raise SpecError(f"cell {last} stands above cell {first}: no cell is left to run", where, key="until_cell")
    outside = nb.cells[:start] + nb.cells[end:]
    return frozenset(cell.id for cell in outside if not {PARAMETERS_TAG, INJECTED_TAG} & set(tags(cell)))


def code_cells(nb: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """Return the code cells, each with its index in ``nb.cells``."""
    return [(index, cell) for index, cell in enumerate(nb.cells) if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """Return a cell's tags."""
    return list(cell.metadata.get("tags") or ())


def title(cell: NotebookNode) -> str:
    """Return what a cell is called on the way: its ``papermill_description``, else its first line of code."""
    if described := re.search(r"papermill_description=(\S+)", cell.source):
        return str(described[1])
    lines = [line.strip() for line in str(cell.source).strip().splitlines()]
    return next((line for line in lines if line and not line.startswith("#")), "".join(lines[:1]))[:_TITLE_LENGTH]


def kernel_name(nb: NotebookNode) -> str | None:
    """Return the name of the kernelspec that the notebook asks for, if it does."""
    name: str | None = nb.metadata.get("kernelspec", {}).get("name")
    return name


def check_kernel(name: str, *, where: str) -> None:
    """Check that a kernel is installed.

    Raises:
        SpecError: It isn't; names those that are.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    if name not in KernelSpecManager().find_kernel_specs():
        raise no_such_kernel(name, where=where)


def no_such_kernel(name: str, *, where: str) -> SpecError:
    """Return the error for a kernel that isn't installed."""
    from jupyter_client.kernelspec import KernelSpecManager

    known = sorted(KernelSpecManager().find_kernel_specs())
    hint = nearest(name, known) or f"; installed are {', '.join(known) or 'none'}"
    return SpecError(f"no kernel is called {name!r}{hint}", file=where, key="kernel")


def check_engine(name: str, *, where: str) -> None:
    """Check that papermill has an engine.

    Raises:
        SpecError: It hasn't; names those that it has.
    """
    known = {"nbclient", *entry_points(group="papermill.engine").names}
    if name not in known:
        hint = nearest(name, known) or f"; there are {', '.join(sorted(known))}"
        raise SpecError(f"papermill has no engine {name!r}{hint}", file=where, key="engine")


def language(nb: NotebookNode) -> str:
    """Return the notebook's language in lower case; Python if it doesn't say."""
    return ipynb.language(nb.metadata)


def _places(nb: NotebookNode, cell: int | str, where: str, key: str) -> list[int]:
    """Return the indices of the cells that are called `cell`."""
    if isinstance(cell, int):
        found = [cell - 1] if cell <= len(nb.cells) else []
    else:
        found = [index for index, one in enumerate(nb.cells) if one.id == cell]
        found = found or [index for index, one in enumerate(nb.cells) if cell in tags(one)]
    if found:
        return found
    known = sorted({tag for one in nb.cells for tag in tags(one)})
    hint = nearest(str(cell), [*known, *(one.id for one in nb.cells)]) if isinstance(cell, str) else ""
    named = f"; tags: {', '.join(known)}" if known else "; no cell has a tag"
    raise SpecError(f"there is no cell {cell!r}{hint}; it has cells 1 to {len(nb.cells)}{named}", where, key=key)


def _read_text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError("there is no such notebook", file=file) from None
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}", file=file) from None
    except UnicodeDecodeError as error:
        raise SpecError(f"isn't a notebook: not UTF-8 (at byte {error.start})", file=file) from None


def _converted(data: dict[str, Any]) -> NotebookNode:
    """Convert by nbformat's parts: `nbformat.reads` warns, logs, and makes up random ids."""
    version = data["nbformat"]
    if version not in nbformat.versions:
        raise SpecError(f"is of nbformat {version}, which isn't known here: upgrade nbformat, or save it as 4")
    if version == 4:
        data["metadata"] = data.get("metadata", {})
        for index, cell in enumerate(data["cells"]):
            _complete(cell, index)
    minor = data.get("nbformat_minor", 0)
    notebook: NotebookNode = nbformat.versions[version].to_notebook_json(data, minor=minor)
    if version != 4:
        notebook = nbformat.convert(notebook, 4)
        for cell in notebook.cells:
            cell.pop("id", None)
    notebook.nbformat_minor = max(5, notebook.get("nbformat_minor", 0))
    return notebook


def _complete(cell: dict[str, Any], index: int) -> None:
    if cell.get("cell_type") not in ("code", "markdown", "raw") or "source" not in cell:
        raise SpecError("it has no source, or is neither code, markdown nor raw", key=f"cell {index + 1}")
    cell.setdefault("metadata", {})
    if cell["cell_type"] == "code":
        cell.setdefault("outputs", [])
        cell.setdefault("execution_count", None)


def _give_ids(cells: list[NotebookNode]) -> None:
    taken = {cell.get("id") for cell in cells}
    seen: set[str] = set()
    for index, cell in enumerate(cells):
        if not cell.get("id") or cell.id in seen:
            cell.id = next(name for name in _id_names(index) if name not in taken)
            taken.add(cell.id)
        seen.add(cell.id)


def _id_names(index: int) -> Iterator[str]:
    yield f"cell-{index}"
    yield from (f"cell-{index}-{n}" for n in count(1))


def _is_python(nb: NotebookNode) -> bool:
    return language(nb) in ("python", "python2", "python3", "ipython")
