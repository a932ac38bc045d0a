"""A group shown again, from whichever kernel: live while it runs, and as it ended when it has."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from ml_experiment_nb import attached, drivers
from ml_experiment_nb.errors import ExperimentError, RunNotFoundError, SpecError
from ml_experiment_nb.literals import read_value
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.updates import Update
from ml_experiment_nb.widgets import live_html
from ml_experiment_nb.widgets.bundle import bundle
from ml_experiment_nb.widgets.live import LiveGroup
from ml_experiment_nb.widgets.live_output import LiveOutput


def group_of(store: Store, run_id: str | None) -> Record:
    """Return the record of a group, or of a trial's group: by default of the one that runs, else of the newest.

    Raises:
        RunNotFoundError: There is none.
        SpecError: The run is no group.
    """
    if run_id is None:
        run_id = attached.running_group(store)
    if run_id is None:
        newest = store.records(tags={"mlexp.kind": "group"}, limit=1)
        if not newest:
            raise RunNotFoundError("this project has no group yet: %%group above a cell makes one")
        return newest[0]
    record = store.record(run_id)
    if record.kind == "trial" and record.parent_id is not None:
        return store.record(record.parent_id)
    if record.kind != "group":
        raise SpecError(f"{run_id} is a single {record.kind}, which has no progress to show: %compare shows runs")
    return record


def attach(store: Store, record: Record, plan: Plan) -> threading.Thread:
    """Show a group live below the cell that runs, and return at once: a thread keeps it up to date."""
    output = LiveOutput(plan, drivers.folders(home(store.root)), table=True)
    output.group.since(record.started)
    thread = threading.Thread(target=_follow, args=(store, record, output), name="attached group", daemon=True)
    thread.start()
    if record.status.ended:  # then there is nothing to wait for
        thread.join()
    return thread


def as_it_stands(store: Store, record: Record, plan: Plan) -> dict[str, Any]:
    """Return a group as it is now as an output without a widget, for a notebook that nobody looks at."""
    group = LiveGroup(plan)
    group.since(record.started)
    for update in attached.so_far(store, record):
        if (where := _elsewhere(update)) is not None:
            group.leave(where)
        else:
            group.take(_whole(store, update))
    group.lasted(record.seconds)
    return bundle("group", text=str(group), html=live_html.page(group))


def _follow(store: Store, record: Record, output: LiveOutput) -> None:
    try:
        for update in attached.updates(store, record):
            if output.is_gone:
                break
            if (where := _elsewhere(update)) is not None:
                output.leave(where)
                return
            output.take(_whole(store, update))
            if isinstance(update, Record) and update.kind == "group":
                output.group.lasted(update.seconds)
    except Exception as error:  # whatever it is, the view says it: nobody sees what ends a thread
        what = str(error) if isinstance(error, ExperimentError) else f"{type(error).__name__}: {error}"
        output.leave(f"{what}: run %attach again when that is mended")
        return
    output.close()


def _elsewhere(update: Update) -> str | None:
    """Return where a group goes on of which no more is to be known here; None where more comes, or it has ended."""
    if not isinstance(update, Record) or update.kind != "group" or update.status.ended:
        return None
    return f"{attached.elsewhere(update)}: run %attach again to see how it stands then"


def _whole(store: Store, update: Update) -> Update:
    """Return a record with its parameters as values and its failure with its traceback: a store has them apart."""
    if not isinstance(update, Record):
        return update
    given = {name: read_value(value) if isinstance(value, str) else value for name, value in update.params.items()}
    failure = update.failure
    if failure is not None and update.status is Status.FAILED and not failure.traceback:
        failure = replace(failure, traceback=store.text(update, "record/error.txt") or "")
    return replace(update, params=given, failure=failure)
