"""papermill's engine with our client in it, found by papermill through its entry point.

It stands in a module of its own because papermill loads it while papermill itself is being imported.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat import from_dict
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine

from ml_experiment_nb import reports
from ml_experiment_nb.projects import SOCKETS
from ml_experiment_nb.work.forkwire import FORKS, PREFIX_FILE
from ml_experiment_nb.work.kernels import PROVISIONER

_SEND_LAST = "__import__('ml_experiment_nb.reports', fromlist=['send_last']).send_last()"


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
        self._done = _prefix() if getattr(self.km.provisioner, "forked_after_setup", False) else []
        super().papermill_execute_cells()
        if sink is not None and not self.nb.metadata.papermill["exception"] and self._speaks_python():
            with suppress(DeadKernelError):
                self.wait_for_reply(self.kc.execute(_SEND_LAST, silent=True, store_history=False))

    async def async_execute_cell(self, cell: Any, cell_index: int, *arguments: Any, **options: Any) -> Any:
        """Execute a cell, unless the kernel was forked after it: then its outputs are there already."""
        done = self._done[cell_index] if cell_index < len(self._done) else None
        if done is None:
            return await super().async_execute_cell(cell, cell_index, *arguments, **options)
        self.on_cell_start(cell, cell_index)
        cell.execution_count = done["execution_count"]
        cell.outputs = [from_dict(output) for output in done["outputs"]]
        for output in cell.outputs:
            self.log_output_message(output)
        return cell

    execute_cell = run_sync(async_execute_cell)

    def _speaks_python(self) -> bool:
        return bool(self.nb.metadata.get("kernelspec", {}).get("language", "python") == "python")


def _prefix() -> list[dict[str, Any] | None]:
    """Return what the cells showed that ran before this notebook's kernel was forked: one entry per cell."""
    if FORKS not in os.environ:
        return []
    path = Path(os.environ[FORKS]).parent / PREFIX_FILE
    found: list[dict[str, Any] | None] = json.loads(path.read_text()) if path.exists() else []
    return found


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
        # Sockets in a private folder: no ports to race for, and nothing that another user could listen to.
        with tempfile.TemporaryDirectory(prefix="mlexp-", dir=SOCKETS) as folder:
            client.create_kernel_manager()
            client.km.transport = "ipc"
            client.km.ip = f"{folder}/k"
            if FORKS in os.environ:
                client.km.kernel_spec.metadata["kernel_provisioner"] = {"provisioner_name": PROVISIONER}
            return client.execute()
