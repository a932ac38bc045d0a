"""Deleting runs so that they can be brought back: MLflow's own soft delete, of a group with its trials."""

from __future__ import annotations

from ml_experiment_nb.errors import StillRunningError
from ml_experiment_nb.stores import translated
from ml_experiment_nb.tracking import Store

DELETED_WITH = "mlexp.deleted_with"  # the run that was to be deleted when this one was; only deleted runs have it


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
            store.client.set_tag(one, DELETED_WITH, run_id)
            store.client.delete_run(one)
    return found


def restore(store: Store, run_id: str) -> list[str]:
    """Bring back a deleted run and the runs that were deleted with it, and return their ids.

    What was deleted before, by itself, stays so; of a run that something else has deleted, such as MLflow's page, all
    that belongs to it comes back.

    Raises:
        RunNotFoundError: There is no such run.
        StoreError: The store can't be reached.
    """
    is_deleted = store.is_deleted(run_id)
    found = store.family(run_id, deleted=True, tags={DELETED_WITH: run_id})
    with translated(store.uri):
        if is_deleted and DELETED_WITH not in store.run(run_id).data.tags:
            found = store.family(run_id, deleted=True)
        found += [run_id] if is_deleted else []
        for one in found:  # itself last, as well
            store.client.restore_run(one)
            if DELETED_WITH in store.run(one).data.tags:
                store.client.delete_tag(one, DELETED_WITH)
    return found
