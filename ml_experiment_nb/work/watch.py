"""In a notebook's kernel: what is observed of its cells, and what a cell would otherwise swallow.

The latter is a magic's misuse, or a failing ``!command``.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ml_experiment_nb import events, reports
from ml_experiment_nb.observing import observed
from ml_experiment_nb.quantities import cut

_LENGTH = 81
_observed = ExitStack()


def watch(shell: Any) -> None:
    """Observe a kernel's cells, have its shell show a magic's misuse as an error, and note shell commands that fail.

    A misused magic fails its cell, also within ``%%capture``. A failing command doesn't: in notebooks they often do.

    Args:
        shell: The kernel's IPython shell.
    """
    run = shell.system

    def system(command: str) -> None:
        run(command)
        code = shell.user_ns.get("_exit_code")
        sink = reports.active_sink()
        if code and sink is not None:
            cell = len(shell.history_manager.input_hist_parsed) - 1
            sink.send(events.Note(f"In [{cell}]: !{cut(command, _LENGTH)} ended with exit code {code}"))

    def show_usage_error(error: BaseException) -> None:
        shell._showtraceback(type(error), error, [f"UsageError: {error}"])

    shell.system = system
    shell.show_usage_error = show_usage_error
    if (sink := reports.active_sink()) is not None:
        _observed.enter_context(observed(sink))


def finish(whole: bool) -> None:
    """Stop observing. `whole`: all cells have run, and the value of the last one is the run's."""
    try:
        if whole:
            reports.send_last()
    finally:
        _observed.close()
