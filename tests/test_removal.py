"""Runs deleted and brought back, in a real store."""

from __future__ import annotations

import pytest

from ml_experiment_nb import removal
from ml_experiment_nb.errors import RunNotFoundError, StillRunningError
from ml_experiment_nb.readings import RETRIED
from ml_experiment_nb.tracking import Store


@pytest.fixture
def store(stored):
    return Store(stored)


def run_of(store, status="FINISHED", **tags):
    tags = {name.replace("_", ".", 1): value for name, value in tags.items()}
    run = store.client.create_run(store.experiment_id("E"), run_name="N", tags=tags)
    if status is not None:
        store.client.set_terminated(run.info.run_id, status)
    return run.info.run_id


def listed(store):
    return {one.run_id for one in store.records()}


def test_a_group_goes_with_its_trials_lost_tries_too_and_comes_back_so(store):
    group, other = run_of(store), run_of(store)
    trials = [run_of(store, mlflow_parentRunId=group) for _ in range(2)]
    trials.append(store.client.create_run(
        store.experiment_id("E"), tags={"mlflow.parentRunId": group, RETRIED: trials[0]}
    ).info.run_id)  # fmt: skip
    assert {*removal.delete(store, group)} == {group, *trials}
    assert listed(store) == {other}
    assert store.is_deleted(group)
    assert removal.delete(store, group) == []
    assert {*removal.restore(store, group)} == {group, *trials}
    assert listed(store) == {group, other, *trials}
    assert removal.restore(store, group) == []


def test_a_run_that_goes_on_is_not_deleted(store):
    run = run_of(store, None)
    with pytest.raises(StillRunningError, match="stop it first"):
        removal.delete(store, run)
    assert listed(store) == {run}


def test_a_run_that_is_not_there_is_not_found(store):
    for verb in (removal.delete, removal.restore):
        with pytest.raises(RunNotFoundError):
            verb(store, "0" * 32)
