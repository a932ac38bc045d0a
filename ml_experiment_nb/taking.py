"""The result of an earlier run, taken for one that is asked again."""

from __future__ import annotations

from ml_experiment_nb.entries import key_of
from ml_experiment_nb.events import Metrics, Note, Params, Tags
from ml_experiment_nb.known import TAKEN_FROM, taken_note
from ml_experiment_nb.observing.seeding import UNSEEDED
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Record
from ml_experiment_nb.tracking import Store


def executed_notebook(store: Store, record: Record) -> str | None:
    """Return the text of the notebook that a run has executed, as its artifacts have it; None where it isn't there."""
    found = [name for name in store.artifacts(record) if name.endswith(".ipynb") and "/" not in name]
    return store.text(record, found[0]) if len(found) == 1 else None


def write_output(store: Store, record: Record, output: str) -> bool:
    """Write the notebook that an earlier run has executed to where it is wanted; return whether it is there.

    Raises:
        SpecError: It can't be written.
    """
    from ml_experiment_nb.work.places import write_text

    if (text := executed_notebook(store, record)) is None:
        return False
    write_text(text, output)
    return True


def take(live: OpenRun, found: Record, plan: Plan) -> None:
    """Give an open run the metrics, and the defaults of its code, of an earlier one, and say from which they are.

    Args:
        live: The run.
        found: The record of the earlier one.
        plan: Whose run it is: a metric that it is after has its own name, and not MLflow's for it.
    """
    known = {key_of(name) for name in live.params}
    defaults = {name: value for name, value in found.params.items() if name not in known}  # as its code gave itself
    live.add(Params(defaults))
    names = {key_of(name): name for name in plan.goal[0]}
    live.add(Metrics({names.get(name, name): value for name, value in found.metrics.items()}))
    live.add(Note(taken_note(found)))
    tags = {TAKEN_FROM: str(found.run_id)}
    if unseeded := found.tags.get(UNSEEDED):
        tags[UNSEEDED] = unseeded
    live.add(Tags(tags))
