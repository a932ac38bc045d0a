"""Runs deleted and brought back, in a real store."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException

from ml_experiment_nb import removal
from ml_experiment_nb.errors import RunNotFoundError, StillRunningError, StoreError
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


def test_what_was_deleted_before_is_not_brought_back_with_its_group(store):
    group = run_of(store)
    first, second = (run_of(store, mlflow_parentRunId=group) for _ in range(2))
    for _ in range(2):
        assert removal.delete(store, first) == [first]
        assert removal.delete(store, group) == [second, group]
        assert removal.restore(store, group) == [second, group]
        assert listed(store) == {group, second}
        assert removal.restore(store, first) == [first]
        assert not [name for one in store.records() for name in one.tags if "deleted" in name]


def test_what_was_begun_to_be_deleted_or_restored_is_done_by_the_next_try(store, monkeypatch):
    group = run_of(store)
    trials = [run_of(store, mlflow_parentRunId=group) for _ in range(2)]

    for verb, name in ((removal.delete, "delete_run"), (removal.restore, "restore_run")):
        with monkeypatch.context() as away:
            done = fails_after_one(away, store.client, name)
            with pytest.raises((MlflowException, StoreError)):
                verb(store, group)
        assert {*done, *verb(store, group)} == {group, *trials}
        assert listed(store) == (set() if verb is removal.delete else {group, *trials})


def fails_after_one(monkeypatch, client, name):
    real, done = getattr(client, name), []

    def call(run_id):
        if done:
            raise MlflowException("away")
        real(run_id)
        done.append(run_id)

    monkeypatch.setattr(client, name, call)
    return done


def test_a_group_that_mlflow_s_page_has_deleted_comes_back_with_its_trials(store):
    group = run_of(store)
    trial = run_of(store, mlflow_parentRunId=group)
    for one in (trial, group):
        store.client.delete_run(one)
    assert removal.restore(store, group) == [trial, group]


def test_a_run_that_goes_on_is_not_deleted(store):
    run = run_of(store, None)
    with pytest.raises(StillRunningError, match="stop it first"):
        removal.delete(store, run)
    assert listed(store) == {run}


def test_a_run_that_is_not_there_is_not_found(store):
    for verb in (removal.delete, removal.restore):
        with pytest.raises(RunNotFoundError):
            verb(store, "0" * 32)
