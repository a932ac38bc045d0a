"""A notebook, executed by papermill with its parameters, and what it says on the way."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError, PapermillMissingParameterException
from papermill.execute import execute_notebook, remove_error_markers
from papermill.iorw import load_notebook_node, write_ipynb
from papermill.parameterize import add_builtin_parameters, parameterize_path

from ml_experiment_nb import reports
from ml_experiment_nb.errors import CellFailedError, SpecError, TaskDiedError
from ml_experiment_nb.notebooks import kernel_name, read_notebook

DEFAULT_KERNEL = "python3"
ENGINE = "ml-experiment"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run_notebook(path: Path, params: Mapping[str, Any], sink: reports.Sink, output: str | None) -> None:
    """Execute a notebook. It stands in the run's artifacts from its first cell on, and at `output` if given.

    Raises:
        CellFailedError: A cell raised.
        TaskDiedError: The kernel died.
        Pruned: A cell's `report` was told to stop.
    """
    if output and output != "-":
        output = _filled_in(output, params)
    kept = sink.artifacts / (Path(output).name if output and output != "-" else path.name)
    sink.send(reports.Params(dict(params)))
    kernel: dict[str, str] = {}
    if kernel_name(read_notebook(path)) is None:
        kernel = {"kernel_name": DEFAULT_KERNEL, "language": "python"}
        sink.send(reports.Note(f"the notebook names no kernel: it was run with {DEFAULT_KERNEL}"))
    try:
        execute_notebook(
            _literal(path),
            _literal(kept),
            parameters=dict(params),
            engine_name=ENGINE,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            **kernel,
        )
    except PapermillExecutionError as error:
        if _was_allowed(kept):
            return
        if error.ename in (reports.Pruned.__name__, "TrialPruned"):
            raise reports.Pruned(error.evalue) from None
        trace = _ANSI.sub("", "\n".join(error.traceback))
        raise CellFailedError(error.ename, error.evalue, f"cell {error.exec_count}\n{trace}") from None
    except DeadKernelError as error:
        raise TaskDiedError(f"the notebook's kernel died: {error}") from None
    finally:
        if output and kept.exists():
            shutil.copyfile(kept, output)


def _filled_in(output: str, params: Mapping[str, Any]) -> str:
    """Return a path with its ``{C}`` filled in, as papermill does it."""
    try:
        filled: str = parameterize_path(output, add_builtin_parameters(dict(params)))
    except PapermillMissingParameterException as error:
        raise SpecError(str(error), file=output) from None
    return filled


def _literal(path: Path) -> str:
    """Return a path in which papermill finds nothing to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _was_allowed(executed: Path) -> bool:
    """Return whether the cells that raised were all tagged ``raises-exception``; take papermill's warning out then.

    papermill runs on after such a cell, but counts its output as a failure in the end.
    """
    notebook = load_notebook_node(str(executed))
    if notebook.metadata.papermill["exception"]:
        return False
    write_ipynb(remove_error_markers(notebook), str(executed))
    return True
