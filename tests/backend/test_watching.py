"""What a watcher tells of a project, with a real store: what has changed, once, and nothing else."""

from __future__ import annotations

import json
import os
import time

import pytest
import services

from ml_experiment_nb import removal, submissions
from ml_experiment_nb.backend import watching
from ml_experiment_nb.backend.watching import Watcher
from ml_experiment_nb.tracking import Store


@pytest.fixture
def told(stored, monkeypatch):
    """A watcher that has begun, and what it tells when it looks."""
    monkeypatch.setattr(watching, "LONGEST", 0.0)
    monkeypatch.setattr(watching, "WITHOUT_FILE", 0.0)
    events = []
    watcher = Watcher(stored, stored, lambda name, said: events.append((name, said)))
    watcher.begin()

    def look():
        events.clear()
        watcher.look()
        return [*events]

    return look


@pytest.fixture
def store(stored):
    return Store(stored)


def begun(store, name="N"):
    return store.client.create_run(store.experiment_id("E"), run_name=name).info.run_id


def test_a_run_is_told_when_it_begins_changes_and_is_deleted(told, store):
    assert told() == []
    run = begun(store)
    ((name, said),) = told()
    assert (name, [one["run_id"] for one in said["changed"]], said["removed"]) == ("runs", [run], [])
    assert told() == []
    store.client.log_metric(run, "loss", 0.5)
    ((_, said),) = told()
    assert said["changed"][0]["metrics"] == {"loss": 0.5}
    store.client.set_terminated(run)
    ((_, said),) = told()
    assert said["changed"][0]["status"] == "finished"
    removal.delete(store, run)
    assert told() == [("runs", {"changed": [], "removed": [run]})]


def test_what_is_written_in_the_same_moment_as_the_write_before_is_seen_by_the_next_look(told, store, monkeypatch):
    moment = []

    def stamps(uri):
        moment.append(time.time_ns())
        yield moment[0], 4096

    monkeypatch.setattr(watching, "_stamps", stamps)
    told()
    run = begun(store)
    ((_, said),) = told()
    assert [one["run_id"] for one in said["changed"]] == [run]


def test_a_run_that_only_makes_room_for_newer_ones_is_not_removed(told, store, monkeypatch):
    monkeypatch.setattr(watching, "NEWEST", 2)
    first, second = begun(store), begun(store)
    for run in (first, second):
        store.client.set_terminated(run)
    told()
    begun(store)
    ((_, said),) = told()
    assert said["removed"] == []


def test_an_old_run_that_goes_on_is_watched(told, store, monkeypatch):
    monkeypatch.setattr(watching, "NEWEST", 2)
    old = begun(store, "old")
    for _ in range(3):
        store.client.set_terminated(begun(store))
    told()
    store.client.log_metric(old, "loss", 0.5)
    ((_, said),) = told()
    assert [one["run_id"] for one in said["changed"]] == [old]


def test_the_trials_of_a_group_make_room_and_the_end_of_both_is_told(told, store, monkeypatch):
    monkeypatch.setattr(watching, "NEWEST", 2)
    group = begun(store, "group")
    trials = []
    for _ in range(3):
        trials.append(begun(store, "trial"))
        assert [said["removed"] for _, said in told()] == [[]]
        store.client.set_terminated(trials[-1])
        assert [said["removed"] for _, said in told()] == [[]]
    store.client.set_terminated(group, "KILLED")
    ((_, said),) = told()
    assert [(one["run_id"], one["status"]) for one in said["changed"]] == [(group, "killed")]
    assert said["removed"] == []
    assert told() == []
    removal.delete(store, trials[-1])
    ((_, said),) = told()
    assert said["removed"] == [trials[-1]]


def test_an_old_run_that_is_deleted_while_it_goes_on_is_told(told, store, monkeypatch):
    monkeypatch.setattr(watching, "NEWEST", 1)
    old = begun(store, "old")
    store.client.set_terminated(begun(store))
    told()
    store.client.delete_run(old)
    assert told() == [("runs", {"changed": [], "removed": [old]})]


def test_what_cannot_be_read_is_told_and_the_next_look_is_as_any(told, store):
    run = begun(store)
    told()
    store.client.set_tag(run, "mlexp.notes", "no JSON")
    ((name, said),) = told()
    assert (name, said["message"].partition(":")[0]) == ("trouble", "JSONDecodeError")
    assert told() == []
    store.client.set_tag(run, "mlexp.notes", "[]")
    assert told() == [("hello", {})]


def test_a_job_is_told_as_it_changes_and_one_that_has_ended_is_not_read_again(told, stored, monkeypatch):
    folder = submissions.folder_of(stored, "0" * 12)
    folder.mkdir(parents=True)
    asked = {"kind": "group", "name": "N", "words": [], "cwd": "", "started": submissions.now().isoformat()}
    (folder / "asked.json").write_text(json.dumps(asked))
    states = []
    for step in (None, lambda: submissions.say_run(folder, "r"), lambda: submissions.say_end(folder, 0, None)):
        if step is not None:
            step()
        ((name, said),) = told()
        assert name == "jobs"
        states.append(said["changed"][0]["state"])
        assert told() == []
    assert states == ["starting", "running", "finished"]
    monkeypatch.setattr(submissions, "read", None)
    assert told() == []
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert told() == [("jobs", {"changed": [], "removed": ["0" * 12]})]


def test_a_store_that_is_away_is_told_once_and_that_it_is_back(told, stored, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{services.free_port()}")
    ((name, said),) = told()
    assert name == "trouble"
    assert "no tracking server answers" in said["message"]
    assert told() == []
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    os.utime(stored / ".ml-experiment" / "mlflow.db")
    assert told() == [("hello", {})]


@pytest.mark.slow
def test_a_project_without_a_store_is_watched_until_it_has_one(project, monkeypatch):
    events = []
    watcher = Watcher(project, project, lambda name, said: events.append(name))
    watcher.begin()
    watcher.look()
    assert events == []
    begun(Store(project))
    watcher.look()
    assert events == ["runs"]
