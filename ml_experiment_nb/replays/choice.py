"""Which runs are meant when one is to be done again."""

from __future__ import annotations

from ml_experiment_nb.archive import SPEC
from ml_experiment_nb.entries import known_as
from ml_experiment_nb.errors import ReplayError
from ml_experiment_nb.groups import goals_of, trials_of
from ml_experiment_nb.readings import id_of
from ml_experiment_nb.records import Record, Records
from ml_experiment_nb.replays.material import OF
from ml_experiment_nb.spec_files import parse_mapping
from ml_experiment_nb.tracking import Store


def chosen(store: Store, run: str | Record | Records, *, every: bool = False) -> list[Record]:
    """Return the runs that one stands for.

    A replay stands for its original; a group, or its records, for its best trial, or with `every` for all that
    finished; an experiment of several files for its steps; any other run for itself.

    Raises:
        RunNotFoundError: There is no such run, or more than one.
        ReplayError: It isn't recorded, or nothing of it finished.
        StoreError: The store can't be reached.
    """
    if isinstance(run, Records):
        if run.parent is None and len(run) != 1:
            raise ReplayError(f"these {len(run)} runs are no group's: replay one of them")
        run = run.parent or run[0]
    if isinstance(run, Record) and run.run_id is None:
        raise ReplayError(f"{run.name} is a job: it was not recorded, and can't be done again")
    record = store.record(id_of(run))
    if OF in record.tags:
        record = store.record(record.tags[OF])
    if record.kind == "group":
        return _trials(store, record, every)
    return _steps(store, record) or [record]


def _trials(store: Store, record: Record, every: bool) -> list[Record]:
    finished = [one for one in trials_of(store, record) if one.ok]
    if not finished:
        raise ReplayError(f"no trial of the group {record.name!r} finished: replay one of them by its id")
    if every or len(finished) == 1:
        return finished
    measured = {name for one in finished for name in one.metrics}
    goals = {known_as(name, measured): more for name, more in goals_of(store, record).items()}
    if (best := Records(finished, None, tuple(goals), tuple(goals.values())).best) is not None:
        return [best]
    raise ReplayError(
        f"the group {record.name!r} has no single best trial: replay one of them by its id, or all (--all)"
    )


def _steps(store: Store, record: Record) -> list[Record]:
    """Return the runs of an experiment's files, where it has several of them."""
    text = store.text(record, SPEC)
    if record.kind != "experiment" or record.parent_id is not None or text is None:
        return []
    if len(parse_mapping(text).get("run", ())) < 2:
        return []
    return [one for one in store.children(str(record.run_id)) if one.ok]
