"""Runs that outlive their driver, or are another process's: ``resume``, ``attach`` and ``stop``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.cli.look import say_closed
from ml_experiment_nb.cli.showing import exit_code, print_result, run_plan

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record


@click.command()
@click.argument("run_id", metavar="GROUP")
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Run N trials more than it was asked for.")
@click.option("--failed", is_flag=True, help="Run the points of failed trials again.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print each record as a line of JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def resume(run_id: str, trials: int | None, failed: bool, plan_only: bool, as_json: bool, quiet: bool) -> None:
    """Go on with a group that was killed, stopped or cut short. GROUP is its run id, or the beginning of it.

    The same run and the same study go on, with the files as they are today. Trials that were running are run again
    with the same parameters; of a table, the rows without a finished run.
    """
    from ml_experiment_nb.forecast import forecast
    from ml_experiment_nb.groups import resumed
    from ml_experiment_nb.looking import opened_archive

    plan = resumed(run_id, trials=trials, failed=failed, store=opened_archive(closed=say_closed))
    if plan_only:
        click.echo(str(plan))
        click.echo(forecast(plan))
        return
    sys.exit(exit_code(run_plan(plan, as_json=as_json, quiet=quiet)))


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, and wait for the end.")
def attach(run_id: str, quiet: bool) -> None:
    """Show a run that another process drives: a group's progress and result, or what a single run prints.

    Ctrl-C ends the looking, and not the run.
    """
    from ml_experiment_nb.sweeps import opened_store

    store = opened_store(closed=say_closed)
    record = store.record(run_id)
    try:
        last = _group(store, record, quiet) if record.kind == "group" else _single(store, record, quiet)
    except KeyboardInterrupt:
        click.echo(f"detached: {str(record.run_id)[:8]} goes on", err=True)
        return
    sys.exit(exit_code(last))


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--timeout", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds to wait for it.")
@click.option("--gone", is_flag=True, help="The driver's machine is gone for good: close its run without asking.")
def stop(run_id: str, timeout: float, gone: bool) -> None:
    """Stop a run: a group, one of its trials or a single run, whichever process drives it.

    It ends with all processes that it started, and its runs are closed as killed. `resume` goes on with a group.
    """
    from ml_experiment_nb import groups
    from ml_experiment_nb.sweeps import opened_store

    store = opened_store(closed=say_closed)
    before = store.record(run_id)
    record = groups.stop(run_id, store=store, timeout=timeout, gone=gone)
    short = str(record.run_id)[:8]
    if before.status.ended:
        click.echo(f"{record.name} ({short}) had ended: {record.status}", err=True)
        return
    why = f", {record.failure}" if record.failure else ""
    click.echo(f"{record.name} ({short}) has ended: {record.status}{why}")
    if record.kind == "group":
        click.echo(f"  go on    ml-experiment resume {short}")


def _group(store: Any, record: Record, quiet: bool) -> Record:
    from ml_experiment_nb import attached
    from ml_experiment_nb.groups import recorded_plan
    from ml_experiment_nb.progress import show_progress
    from ml_experiment_nb.records import Record

    plan = recorded_plan(store, record)
    updates = attached.updates(store, record)
    shown = (one for one in updates if isinstance(one, Record)) if quiet else show_progress(plan, updates)
    records = list(shown)
    print_result(plan, records, failures=store.text(records[-1], "record/failures.txt") or "")
    return records[-1]


def _single(store: Any, record: Record, quiet: bool) -> Record:
    from ml_experiment_nb import attached

    for text in attached.log(store, record):
        if not quiet:
            click.echo(text, nl=False)
    last: Record = store.record(record.run_id)
    click.echo(str(last), err=True)
    return last
