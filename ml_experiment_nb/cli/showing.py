"""A plan done and shown in a terminal: what happens, what came of it, and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.cli.tables import print_json, print_rows, print_table
from ml_experiment_nb.cli.watch import CommandWatch
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.whole_files import write_whole

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.updates import Update

_CODES = {"SpecError": 2, "TaskDiedError": 4, "TaskTimeoutError": 5, "TaskMemoryError": 6}
_CODES |= {"KeyboardInterrupt": 130, "Stopped": 130}


def run_plan(
    plan: Plan, *, piped: bool = False, as_json: bool = False, quiet: bool = False, results: str | None = None,
    cells: bool = True,
) -> Record:  # fmt: skip
    """Do what a plan says, show it, and return the last record.

    Args:
        plan: What to do.
        piped: Standard output takes the executed notebook.
        as_json: Print each record.
        quiet: Show nothing while it runs.
        results: Where to write a group's table of results.
        cells: Show which cell a notebook is at.
    """
    from ml_experiment_nb import callbacks, loop  # MLflow takes seconds: not before the plan is known to be sound

    for note in plan.notes:
        click.echo(f"note: {note}", err=True)
    begun: list[str] = []
    updates = _noting(begun, callbacks.watched(plan, loop.follow(plan)))
    shown = shown_updates(plan, updates, as_json=as_json, aside=as_json or piped, quiet=quiet, cells=cells)
    records: list[Record] = []
    try:
        records += shown
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and plan.kind == "group" and begun:
            click.echo(f"  go on    ml-experiment resume {begun[0][:8]}, or the same command again", err=True)
        try:
            _write_results(plan, records, results)
        except SpecError as error:  # what ended the run matters more
            click.echo(f"error: {error}", err=True)
        raise
    _write_results(plan, records, results)
    if piped:
        click.echo(str(records[-1]), err=True)
        assert plan.output is not None
        _print_notebook(Path(plan.output))
    elif not as_json:
        print_result(plan, records)
    return records[-1]


def _print_notebook(path: Path) -> None:
    """Print an executed notebook on standard output, which it then names as its place."""
    if not path.exists():
        return  # it was never begun, and the record says why
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"].get("papermill", {})["output_path"] = "-"
    click.echo(json.dumps(notebook, indent=1, ensure_ascii=False))


def _noting(begun: list[str], updates: Iterator[Update]) -> Iterator[Update]:
    """Yield the updates, and put the run that all of a plan's tasks belong to into `begun`."""
    from ml_experiment_nb.updates import Started

    for update in updates:
        if isinstance(update, Started) and update.parent:
            begun.append(update.run_id or "")
        yield update


def shown_updates(
    plan: Plan, updates: Iterable[Update], *, as_json: bool, aside: bool, quiet: bool, cells: bool
) -> Iterator[Record]:
    """Hand the records on, showing meanwhile a group's progress, or the output of the code itself.

    Args:
        plan: What is being done.
        updates: What happens.
        as_json: Print each record.
        aside: Leave standard output to something else.
        quiet: Show nothing.
        cells: Show which cell a notebook is at.
    """
    from ml_experiment_nb.events import Cell, Log
    from ml_experiment_nb.progress import Console, show_progress, stopping
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.targets import Notebook
    from ml_experiment_nb.updates import Happened, Readied

    context = click.get_current_context(silent=True)
    if context is not None and context.obj is not None:
        watch: CommandWatch = context.obj
        updates = watch.follow(plan, iter(updates))
    if plan.kind == "group" and not quiet and not as_json:
        yield from show_progress(plan, updates)
        return
    plain = any(isinstance(target, Notebook) and target.log_output for target in plan.targets)
    with stopping(updates), Console(sys.stderr if aside else sys.stdout, plain=plain) as console:
        for update in updates:  # a reader that goes away stops the plan
            match update:
                case Record():
                    console.clear()
                    if as_json:
                        print_json([update])
                    yield update
                case Readied(text) if not quiet:
                    click.echo(text, err=True)
                case Happened(event=Log(text)) if not quiet:
                    console.write(text)
                case Happened(event=Cell() as cell) if cells and not quiet:
                    console.at(cell)


def print_result(plan: Plan, records: list[Record], failures: str | None = None) -> None:
    """Print what came of a plan: its table, what failed (by default, as the records say), its last record, the best."""
    from ml_experiment_nb import loop, triage
    from ml_experiment_nb.records import pairs

    result = loop.collect(plan, records)
    if plan.table is not None:
        print_rows([{**one, "run_id": (one["run_id"] or "")[:8]} for one in _results(plan, result)])
    elif plan.nested:
        print_table(result)
    if plan.kind == "group":
        if text := triage.report(result) if failures is None else failures.rstrip():
            click.echo(text, err=True)
    else:
        for failed in [record for record in result if record.failure][: 3 if plan.nested else 0]:
            click.echo(f"{failed.name}: {failed.failure}", err=True)
    last = records[-1]
    told = tuple(note for note in last.notes if note not in plan.notes)  # those were told when it began
    click.echo(str(replace(last, notes=told)))
    if result.best is not None:
        click.echo(f"  best     {result.best.name}: {pairs(result.best.params)} ({pairs(result.best.metrics)})")
    for one in result.front if plan.kind == "group" and result.metric is None else ():
        click.echo(f"  front    {one.name}: {pairs(one.params)} ({pairs(one.metrics)})")
    if plan.output is not None and plan.table is None and (last.failure is None or last.failure.type != "SpecError"):
        click.echo(f"  notebook {plan.output}")
    if last.run_id:
        click.echo(f"  look     ml-experiment show {last.run_id[:8]}, or ml-experiment ui")


def exit_code(last: Record) -> int:
    """Return the exit code that says how a run ended."""
    if last.ok:
        return 0
    return _CODES.get(last.failure.type if last.failure else "", 1)


def _write_results(plan: Plan, records: list[Record], file: str | None) -> None:
    """Write the table of results, if one is wanted; what stands there is kept where there is nothing to write."""
    from ml_experiment_nb.rows import results_text

    trials = [one for one in records if one.kind == "trial"]
    if file is None or not trials:
        return
    text = results_text(_results(plan, trials), Path(file).suffix.lower())
    try:
        write_whole(Path(file), text, errors="backslashreplace")
    except OSError as error:
        raise SpecError(f"the results can't be written: {error.strerror}", file=file) from None


def _results(plan: Plan, records: Iterable[Record]) -> list[dict[str, Any]]:
    from ml_experiment_nb.rows import results

    if plan.table is not None:
        return results(records, plan.table.names)
    drawn = dict.fromkeys(name for one in records for name in one.params if name not in plan.group.params)
    return results(records, list(plan.group.param_space or drawn), number="trial")
