"""A notebook, executed by papermill with its parameters, and what it says on the way."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from ml_experiment_nb import reports
from ml_experiment_nb.errors import CellFailedError, TaskDiedError
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
    kept = sink.artifacts / (Path(output).name if output and output != "-" else path.name)
    sink.send(reports.Params(dict(params)))
    kernel: dict[str, str] = {}
    if kernel_name(read_notebook(path)) is None:
        kernel = {"kernel_name": DEFAULT_KERNEL, "language": "python"}
        sink.send(reports.Note(f"the notebook names no kernel: it was run with {DEFAULT_KERNEL}"))
    try:
        execute_notebook(
            str(path),
            str(kept),
            parameters=dict(params),
            engine_name=ENGINE,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            **kernel,
        )
    except PapermillExecutionError as error:
        if error.ename == reports.Pruned.__name__:
            raise reports.Pruned(error.evalue) from None
        trace = _ANSI.sub("", "\n".join(error.traceback))
        raise CellFailedError(error.ename, error.evalue, f"cell {error.exec_count}\n{trace}") from None
    except DeadKernelError as error:
        raise TaskDiedError(f"the notebook's kernel died: {error}") from None
    finally:
        if output and kept.exists():
            shutil.copyfile(kept, output)
