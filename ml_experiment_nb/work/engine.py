"""papermill's engine with our client in it, found by papermill through its entry point.

It stands in a module of its own because papermill loads it while papermill itself is being imported.
"""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from nbformat import from_dict
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.log import logger

from ml_experiment_nb import events, reports, wire
from ml_experiment_nb.kernelspecs import PROVISIONER
from ml_experiment_nb.notebooks import tags, title
from ml_experiment_nb.projects import SOCKETS
from ml_experiment_nb.work.client import HeadlessManager
from ml_experiment_nb.work.forkwire import FORKS, PREFIX_FILE
from ml_experiment_nb.work.saving import Saving

OUTPUTS = 600  # seconds that what a cell has shown may take to arrive after it ended; nbclient's 4 are few for 100 MB
_FINISH = "__import__('ml_experiment_nb.work.watch', fromlist=['finish']).finish({})"
_WATCH = "__import__('ml_experiment_nb.work.watch', fromlist=['watch']).watch(get_ipython())"


class Client(PapermillNotebookClient):
    """papermill's client; it says which cell it is at, and hands the last cell's value to the run.

    It leaves out the cells whose ids are `left_out`, and stops at whatever a cell has shown as an error, even where
    the kernel calls the cell a success, as it does after ``%run`` of a script that raises.
    """

    def __init__(self, nb_man: Any, *, left_out: frozenset[str] = frozenset(), **options: Any) -> None:
        super().__init__(nb_man, on_cell_error=_show_error, **options)
        self._left_out = left_out
        self._saving = Saving(nb_man)

    def execute(self, **options: Any) -> Any:
        """Execute the notebook, writing it now and then."""
        with self._saving.paced():
            return super().execute(**options)

    def papermill_execute_cells(self) -> None:
        """Execute the cells, then send the value of the last one."""
        self._done = _prefix() if getattr(self.km.provisioner, "forked_after_setup", False) else []
        self._sink = reports.active_sink()
        if self._speaks_python():
            self._ask(_WATCH)
        codes = [cell for cell in self.nb.cells if cell.cell_type == "code"]
        self._place = {id(cell): k for k, cell in enumerate(codes, start=1)}
        failed = any(not self._execute_one(cell, index) for index, cell in enumerate(self.nb.cells))
        if self._sink is not None and self._speaks_python():
            with suppress(DeadKernelError):
                self._ask(_FINISH.format(not failed))
        self.km.idle = not failed

    def _execute_one(self, cell: Any, index: int) -> bool:
        """Execute a cell as papermill does, and return whether to go on."""
        if cell.get("id") in self._left_out:
            cell.metadata.papermill["status"] = "skipped"
            return True
        self.nb_man.cell_start(cell, index)
        if self._sink is not None and id(cell) in self._place:
            self._sink.send(events.Cell(self._place[id(cell)], len(self._place), title(cell)))
        try:
            self.execute_cell(cell, index)
        except CellExecutionError as error:
            self.nb_man.cell_exception(cell, cell_index=index, exception=error)
            return False
        except (CellTimeoutError, DeadKernelError) as error:
            self.shutdown_kernel = "immediate"  # a kernel that is busy would not hear a plea
            self.nb_man.cell_exception(cell, cell_index=index, exception=error)
            raise
        finally:
            self.nb_man.cell_complete(cell, cell_index=index)
        return True

    async def async_execute_cell(self, cell: Any, cell_index: int, *arguments: Any, **options: Any) -> Any:
        """Execute a cell, unless the kernel was forked after it: then its outputs are there already."""
        done = self._done[cell_index] if cell_index < len(self._done) else None
        if done is None:
            with self._saving.during_cell():
                await super().async_execute_cell(cell, cell_index, *arguments, **options)
            _stop_at_error(cell)
            return cell
        cell.execution_count = done["execution_count"]
        cell.outputs = [from_dict(output) for output in done["outputs"]]
        for output in cell.outputs:
            self.log_output_message(output)
        return cell

    execute_cell = run_sync(async_execute_cell)

    def _speaks_python(self) -> bool:
        return bool(self.km.kernel_spec.language == "python")

    def _ask(self, code: str) -> None:
        """Have the kernel run something that is no cell."""
        self.wait_for_reply(self.kc.execute(code, silent=True, store_history=False))


def _show_error(cell: Any, cell_index: int, execute_reply: Any) -> None:
    """Put an error into a cell's outputs of which the kernel has told its client alone, such as a magic's misuse."""
    said = execute_reply["content"]
    if not any(output.output_type == "error" for output in cell.outputs):
        trace = said.get("traceback") or [f"{said.get('ename')}: {said.get('evalue')}"]
        cell.outputs.append(new_output("error", ename=said.get("ename"), evalue=said.get("evalue"), traceback=trace))


def _stop_at_error(cell: Any) -> None:
    """Raise if a cell has shown an error, unless it is expected to, or only ended its notebook by ``sys.exit()``."""
    if "raises-exception" in tags(cell) or "skip-execution" in tags(cell):
        return
    for output in cell.get("outputs", ()):
        if output.output_type == "error" and (output.ename, output.evalue) not in _HARMLESS:
            raise CellExecutionError.from_cell_and_msg(cell, {**output, "status": "error"})


_HARMLESS = (("SystemExit", ""), ("SystemExit", "0"))


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
        for unused in ("input_path", "timeout", "startup_timeout"):
            options.pop(unused, None)
        options["kernel_manager_class"] = HeadlessManager
        client = Client(
            nb_man, timeout=timeout, startup_timeout=startup, kernel_name=kernel_name, log=logger,
            **{"iopub_timeout": OUTPUTS, **options},
        )  # fmt: skip
        # Sockets in a private folder: no ports to race for, and nothing that another user could listen to.
        # A task's own folder is removed even if this process is killed.
        where = os.path.dirname(os.environ[wire.SOCKET]) if wire.SOCKET in os.environ else SOCKETS
        with tempfile.TemporaryDirectory(prefix="k-", dir=where) as folder:
            client.create_kernel_manager()
            client.km.transport = "ipc"
            client.km.ip = f"{folder}/k"
            if FORKS in os.environ:
                client.km.kernel_spec.metadata["kernel_provisioner"] = {"provisioner_name": PROVISIONER}
            return client.execute()
