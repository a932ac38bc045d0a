"""A notebook, executed by papermill with its parameters, and what it says on the way."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from ml_experiment_nb import reports
from ml_experiment_nb.errors import CellFailedError, TaskDiedError

ENGINE = "ml-experiment"
_SEND_LAST = "__import__('ml_experiment_nb.reports', fromlist=['send_last']).send_last()"
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
    try:
        execute_notebook(
            str(path),
            str(kept),
            parameters=dict(params),
            engine_name=ENGINE,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
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


class Client(PapermillNotebookClient):
    """papermill's client; it says which cell it is at, and hands the last cell's value to the run."""

    def papermill_execute_cells(self) -> None:
        """Execute the cells, then send the value of the last one."""
        codes = [cell for cell in self.nb.cells if cell.cell_type == "code"]
        place = {id(cell): k for k, cell in enumerate(codes, start=1)}
        sink = reports.active_sink()

        def say(cell: Any, cell_index: int) -> None:
            if sink is not None and id(cell) in place:
                sink.send(reports.Cell(place[id(cell)], len(codes)))

        self.on_cell_start = say
        super().papermill_execute_cells()
        if sink is not None and not self.nb.metadata.papermill["exception"] and self._speaks_python():
            with suppress(DeadKernelError):
                self.wait_for_reply(self.kc.execute(_SEND_LAST, silent=True, store_history=False))

    def _speaks_python(self) -> bool:
        return bool(self.nb.metadata.get("kernelspec", {}).get("language", "python") == "python")


class Engine(NBClientEngine):
    """papermill's engine, with `Client` in place of its own: ``papermill --engine ml-experiment``."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        """Execute with papermill's own options."""
        timeout = options.pop("execution_timeout", None) or options.pop("timeout", None)
        startup = options.pop("start_timeout", 60)
        options.pop("input_path", None)
        options.pop("startup_timeout", None)
        client = Client(nb_man, timeout=timeout, startup_timeout=startup, kernel_name=kernel_name, **options)
        return client.execute()
