"""The cells of a notebook above its parameters that may run once for a group of trials, told from their text."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from nbformat import NotebookNode

from ml_experiment_nb.cells import SHELL_MAGICS, read_cell
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.notebooks import notebook_params, parameters_cell, tags

_OF_ONE_RUN = frozenset(
    {"report", "artifact", "secret", "get_ipython", "mlflow", "display_id", "environ", "putenv", "subprocess"}
)
"""What a cell mentions that speaks to its run or its shell, or that another process has a part in."""


def setup_prefix(nb: NotebookNode) -> int:
    """Return how many leading cells stand above the parameters cell and may run once for a group of trials.

    They give the same whatever the parameters are. The prefix ends before the first code cell that reads a
    parameter's name, that can't be read, that is expected to raise, that speaks to its run (`report`, MLflow),
    that sets the environment or starts processes, or that uses a magic whose effect on the shell can't be had
    again by its line (see `cells.shell_lines`).
    """
    index = parameters_cell(nb)
    params = notebook_params(nb)
    if index is None or params is None:
        return 0
    for position, cell in enumerate(nb.cells[:index]):
        if cell.cell_type == "code" and not _is_setup(cell, params):
            return position
    return index


def _is_setup(cell: NotebookNode, params: Iterable[str]) -> bool:
    if "raises-exception" in tags(cell):
        return False
    plain = "\n".join("" if line.startswith(SHELL_MAGICS) else line for line in cell.source.splitlines())
    try:
        names = _words(ast.parse(plain))
        reads = read_cell(plain).reads
    except (SpecError, SyntaxError, ValueError):
        return False
    return reads.isdisjoint(params) and names.isdisjoint(_OF_ONE_RUN)


def _words(tree: ast.AST) -> set[str]:
    """Return all names, attributes, keywords and what is imported in a piece of code, whatever it is called there."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.keyword(arg=str(word)):
                found.add(word)
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module.partition(".")[0], *(alias.name for alias in names)}
    return found
