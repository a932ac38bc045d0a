"""Deleting runs so that they can be brought back: MLflow's own soft delete, of a group with its trials."""

from __future__ import annotations

from ml_experiment_nb.errors import StillRunningError
from ml_experiment_nb.stores import translated
from ml_experiment_nb.tracking import Store


def delete(store: Store, run_id: str) -> list[str]:
    """Delete a run and the runs that belong to it, and return their ids; their files stay, until MLflow's `gc`.

    Raises:
        RunNotFoundError: There is no such run.
        StillRunningError: It goes on.
        StoreError: The store can't be reached.
    """
    record = store.record(run_id)
    if not record.status.ended:
        raise StillRunningError(f"{record.name} ({run_id[:8]}) goes on: stop it first")
    found = [*store.family(run_id, deleted=False), *([] if store.is_deleted(run_id) else [run_id])]
    with translated(store.uri):
        for one in found:  # itself last: what was not done yet is found again
            store.client.delete_run(one)
    return found


def restore(store: Store, run_id: str) -> list[str]:
    """Bring back a deleted run and the deleted runs that belong to it, and return their ids.

    Raises:
        RunNotFoundError: There is no such run.
        StoreError: The store can't be reached.
    """
    found = [*([run_id] if store.is_deleted(run_id) else []), *store.family(run_id, deleted=True)]
    with translated(store.uri):
        for one in found:
            store.client.restore_run(one)
    return found
