"""A notebook, executed by papermill with its parameters, and what it says on the way."""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import nbformat
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillException, PapermillExecutionError
from papermill.execute import execute_notebook, remove_error_markers
from papermill.iorw import load_notebook_node, write_ipynb

from ml_experiment_nb import events, reports, secrecy
from ml_experiment_nb.capture.page import page, without_page
from ml_experiment_nb.errors import CellFailedError, SpecError, TaskDiedError, TaskTimeoutError
from ml_experiment_nb.kernelspecs import DEFAULT_KERNEL
from ml_experiment_nb.masking import Veil
from ml_experiment_nb.notebooks import (
    effective_params,
    kernel_name,
    language,
    left_out,
    no_such_kernel,
    read_notebook,
    tags,
    title,
)
from ml_experiment_nb.observing import ObservingOptions
from ml_experiment_nb.paths import literal
from ml_experiment_nb.targets import OWN_ENGINE, Notebook
from ml_experiment_nb.work.injecting import injected, injecting
from ml_experiment_nb.work.places import Places, file_name

_PRUNED = (reports.Pruned.__name__, "TrialPruned")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run_notebook(target: Notebook, params: Mapping[str, Any], sink: reports.Sink, output: str | None) -> None:
    """Execute a notebook. It stands in the run's artifacts from its first cell on, and at `output` if given.

    Raises:
        CellFailedError: A cell raised.
        TaskDiedError: The kernel died.
        TaskTimeoutError: A cell took longer than the target's `execution_timeout`.
        Pruned: A cell's `report` was told to stop.
        SpecError: The kernel, the engine or `output` can't be had.
    """
    kept = sink.artifacts / file_name(output or target.path)
    nb = read_notebook(target.file)
    sink.send(events.Params(effective_params(nb, params)))
    secrecy.learn_those_set(name for cell in nb.cells for name in secrecy.names_in_code(cell.source))
    for note in _notes(target, nb):
        sink.send(events.Note(note))
    places = _places(target, nb, kept, output)
    os.environ["JPY_SESSION_NAME"] = str(target.file)  # the driver's own notebook is another one
    try:
        _execute(target, nb, params, kept, places)
    except BaseException:
        _finish(places, sink, failed=True)
        _keep_page(kept, sink)
        raise
    _finish(places, sink)
    _keep_page(kept, sink)


def rehearse() -> None:
    """Do what comes first whatever the notebook is, so that the forks of this process find it done.

    nbformat compiles its schema; jupyter_client looks for provisioners, and imports IPython to look for kernels.
    """
    nbformat.validate(nbformat.v4.new_notebook())
    KernelProvisionerFactory.instance()
    with suppress(NoSuchKernel):
        KernelSpecManager().get_kernel_spec(DEFAULT_KERNEL)


def prepare_notebook(target: Notebook, params: Mapping[str, Any], output: str, kept: Path) -> None:
    """Write a notebook with its parameters to `output`, and don't execute it.

    Args:
        target: The notebook.
        params: Its parameters.
        output: Where it is written.
        kept: A file to write it to on the way.

    Raises:
        SpecError: The kernel, the engine or `output` can't be had.
    """
    nb = read_notebook(target.file)
    places = _places(target, nb, kept, output)
    with places.registered():
        _papermill(target, **_common(target, nb, params, places), prepare_only=True)
    places.finish()


def _execute(
    target: Notebook, nb: nbformat.NotebookNode, params: Mapping[str, Any], kept: Path, places: Places
) -> None:
    own: dict[str, Any] = {}
    if target.engine == OWN_ENGINE:
        own["left_out"] = left_out(nb, target.from_cell, target.until_cell)
    if target.log_output or target.log_level:
        logging.basicConfig(level=target.log_level or "INFO", format="%(message)s")
    try:
        with places.registered(), _streams(target) as (stdout, stderr):
            _papermill(
                target,
                **_common(target, nb, params, places),
                progress_bar=False,
                request_save_on_cell_execute=True,  # to our own file; the target says whether to OUTPUT too
                autosave_cell_every=target.autosave_cell_every,
                log_output=target.log_output,
                stdout_file=stdout,
                stderr_file=stderr,
                start_timeout=target.start_timeout,
                execution_timeout=target.execution_timeout,
                **own,
            )
    except PapermillExecutionError as error:
        if _was_allowed(kept):
            return
        if error.ename in _PRUNED:
            _without_traceback(kept)
            raise reports.Pruned(error.evalue) from None
        trace = _ANSI.sub("", "\n".join(error.traceback))
        raise CellFailedError(error.ename, error.evalue, f"cell {error.exec_count}\n{trace}") from None
    except DeadKernelError as error:
        raise TaskDiedError(f"the notebook's kernel died{_where(kept)}: {error}") from None
    except CellTimeoutError as error:
        if "IOPub" in str(error):
            raise TaskDiedError(
                f"not all that was shown{_where(kept)} has arrived, though the cell has ended"
            ) from None
        limit = f"{target.execution_timeout} s"
        raise TaskTimeoutError(f"stopped{_where(kept)}: it took longer than its limit of {limit}") from None


def _common(target: Notebook, nb: nbformat.NotebookNode, params: Mapping[str, Any], places: Places) -> dict[str, Any]:
    """Return what papermill is told whether it executes a notebook or only prepares it."""
    kernel = target.kernel or (DEFAULT_KERNEL if kernel_name(nb) is None else None)
    said = bool(nb.metadata.get("language_info", {}).get("name") or nb.metadata.get("kernelspec", {}).get("language"))
    return {
        "input_path": literal(places.input_path),
        "output_path": literal(places.output_path),
        "parameters": injected(params),
        "engine_name": target.engine,
        "kernel_name": kernel,
        "language": target.language or (None if said else _language_of(kernel) or language(nb)),
        "report_mode": target.report_mode,
    }


def _places(target: Notebook, nb: nbformat.NotebookNode, kept: Path, output: str | None) -> Places:
    text = nbformat.writes(nb)
    out = left_out(nb, target.from_cell, target.until_cell)
    old = {cell["id"]: cell for cell in json.loads(text)["cells"] if cell["id"] in out and cell["cell_type"] == "code"}
    return Places(
        text,
        input_path=target.path,
        output_path=output or str(kept),
        kept=kept,
        copied=target.request_save_on_cell_execute,
        old_outputs={name: {key: cell[key] for key in ("outputs", "execution_count")} for name, cell in old.items()},
    )


def _finish(places: Places, sink: reports.Sink, *, failed: bool = False) -> None:
    """Give OUTPUT the notebook's last state. If that can't be done, a failure that there is already goes first."""
    for note in places.veil.notes():
        sink.send(events.Note(note))
    try:
        places.finish()
    except SpecError as error:
        if not failed:
            raise
        sink.send(events.Note(str(error)))
    else:
        if places.problem is not None and not failed:
            sink.send(events.Note(f"OUTPUT was written in the end, but not after each cell: {places.problem}"))


def _keep_page(kept: Path, sink: reports.Sink) -> None:
    """Keep what was executed as a page, too, unless it is one trial of many: of those the best one gets its page."""
    target = kept.with_suffix(".html")
    if ObservingOptions.here().trial or target.exists() or not kept.exists():
        return
    try:
        target.write_text(page(kept.read_text(encoding="utf-8"), kept.stem), encoding="utf-8")
    except Exception as error:
        sink.send(events.Note(without_page(kept.name, error)))


def _notes(target: Notebook, nb: nbformat.NotebookNode) -> Iterator[str]:
    if target.kernel is None and kernel_name(nb) is None:
        yield f"the notebook names no kernel: it was run with {DEFAULT_KERNEL}"
    if target.part:
        out = len(left_out(nb, target.from_cell, target.until_cell))
        yield f"a part of the notebook was run, {target.part}: left out {out} of its {len(nb.cells)} cells"


def _language_of(kernel: str | None) -> str | None:
    try:
        return str(KernelSpecManager().get_kernel_spec(kernel).language) if kernel else None
    except NoSuchKernel:
        return None


@contextmanager
def _streams(target: Notebook) -> Iterator[tuple[IO[str] | None, IO[str] | None]]:
    """Open what the cells' output is written to; papermill's log shows it already where it is asked for."""
    with ExitStack() as stack:
        found: list[Any] = []
        for path, shown in ((target.stdout_file, sys.stdout), (target.stderr_file, sys.stderr)):
            outlets = [] if target.log_output else [shown]
            try:
                outlets += [stack.enter_context(open(path, "w", encoding="utf-8"))] if path else []
            except OSError as error:
                raise SpecError(f"can't be written: {error.strerror}", file=path) from None
            found.append(stack.enter_context(_Outlets(outlets)) if outlets else None)
        yield found[0], found[1]


class _Outlets:
    """Several streams as one, which shows no secret."""

    def __init__(self, streams: list[IO[str]]) -> None:
        self._streams = streams
        self._veil = Veil().stream("what its cells printed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._show(self._veil.flush())

    def write(self, text: str) -> None:
        self._show(self._veil.feed(text))

    def _show(self, text: str) -> None:
        for one in self._streams:
            one.write(text)

    def flush(self) -> None:
        for one in self._streams:
            one.flush()


def _papermill(target: Notebook, **options: Any) -> None:
    """Call papermill, and turn its complaints about what was asked into ours."""
    try:
        with injecting():
            execute_notebook(**options)
    except NoSuchKernel as error:
        raise no_such_kernel(error.name, where=target.path) from None
    except PapermillExecutionError:
        raise
    except PapermillException as error:
        raise SpecError(str(error), file=target.path) from None


def _was_allowed(executed: Path) -> bool:
    """Return whether the cells that raised were all tagged ``raises-exception``; take papermill's warning out then.

    papermill runs on after such a cell, but counts its output as a failure in the end.
    """
    notebook = load_notebook_node(str(executed))
    raised = [cell for cell in notebook.cells if any(one.output_type == "error" for one in cell.get("outputs", ()))]
    if notebook.metadata.papermill["exception"] or not all("raises-exception" in tags(cell) for cell in raised):
        return False
    write_ipynb(remove_error_markers(notebook), str(executed))
    return True


def _without_traceback(executed: Path) -> None:
    """Leave of a pruned notebook's error a line that says so: nothing went wrong."""
    notebook = remove_error_markers(load_notebook_node(str(executed)))
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error" and output.ename in _PRUNED:
                output.traceback = [f"{output.ename}: {output.evalue}" if output.evalue else output.ename]
    write_ipynb(notebook, str(executed))


def _where(executed: Path) -> str:
    """Return which cell of an executed notebook failed, in words."""
    cells = read_notebook(executed).cells if executed.exists() else []
    for number, cell in enumerate(cells, start=1):
        if cell.metadata.get("papermill", {}).get("status") == "failed":
            return f" in cell {number} ({title(cell)})"
    return ""
