import json
import os
import subprocess
import sys
import threading
import time

import pytest
from mlflow import MlflowClient

from ml_experiment_nb import drivers, inplace, openings, recording
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.system import system_info
from ml_experiment_nb.drivers import read_driver
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.events import Log, Metrics, Note
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store


@pytest.fixture
def store(stored):
    return Store(stored)


@pytest.fixture
def open_run(store):
    def make(**options):
        taken = Snapshot(None, system_info(notes=[]), (), ())
        given = {"name": "run", "experiment": "e", "kind": "trial", "params": {"C": 0.5, "long": "x" * 7000}}
        return openings.open_run(store, **{**given, **options}, tags={}, snapshot=taken)

    return make


def died(live):
    """Leave a run as a driver does that is killed."""
    live.drop()
    return live.run_id


def left(store):
    folder = store.root / ".ml-experiment/runs"
    return sorted(one.name for one in folder.iterdir()) if folder.exists() else []


def test_a_run_whose_driver_died_is_closed_with_what_it_left(open_run, store):
    live = open_run()
    live.add(Log("hello\n"))
    (live.artifacts / "model.bin").write_bytes(b"123")
    live.add(Metrics({"loss": 1.0}, step=0))
    live.flush()
    run_id = died(live)
    driver = read_driver(live.folder)
    [record] = sweep(store)
    assert record.run_id == run_id
    found = store.record(run_id)
    assert (found.status, found.failure.type) == (Status.KILLED, "DriverDied")
    assert found.failure.message == f"its driver died ({driver}) and left it"
    assert found.params["C"] == 0.5
    assert found.metrics == {"loss": 1.0}
    assert store.log_text(found) == "hello\n"
    assert {"model.bin", "record/log.txt", "record/params/long.txt"} <= set(store.artifacts(found))
    assert MlflowClient(store.uri).get_run(run_id).info.status == "KILLED"
    assert left(store) == []
    assert sweep(store) == []


def test_a_silent_run_ended_when_its_driver_was_last_alive(open_run, store, monkeypatch):
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.0)
    live = open_run()
    for path in live.folder.rglob("*"):  # as if all of it had been written at the beginning, an hour ago
        os.utime(path, (time.time() - 3600,) * 2)
    live.flush_if_due()
    assert live.artifacts.stat().st_mtime > time.time() - 1800
    ended = time.time() + 60  # as if it had gone on for a minute
    os.utime(live.artifacts, (ended, ended))
    died(live)
    (live.folder / drivers.STOP).touch()  # what others have written says nothing of it
    [record] = sweep(store)
    assert record.started.timestamp() + record.seconds == pytest.approx(ended, abs=1)


def test_parameters_that_were_not_written_yet_are_not_lost(open_run, store):
    run_id = died(open_run())
    assert MlflowClient(store.uri).get_run(run_id).data.params == {}  # a trial's are written with what follows
    sweep(store)
    assert store.record(run_id).params["C"] == 0.5


def test_a_run_that_lives_is_left_alone(open_run, store):
    live = open_run()
    assert sweep(store) == []
    assert store.record(live.run_id).status is Status.RUNNING
    assert live.close(Outcome(Status.FINISHED)).ok
    assert left(store) == []


def test_a_driver_that_knew_how_its_run_ended_is_believed(open_run, store):
    live = open_run()
    live.add(Metrics({"acc": 0.5}))
    live.settle(Outcome(Status.FAILED, Failure("ValueError", "odd", "Traceback …")))
    run_id = died(live)
    sweep(store)
    found = store.record(run_id)
    assert (found.status, str(found.failure), found.metrics) == (Status.FAILED, "ValueError: odd", {"acc": 0.5})
    assert store.text(found, "record/error.txt") == "Traceback …"


def test_a_run_that_could_not_be_written_is_written_by_a_later_sweep(open_run, store, monkeypatch):
    live = open_run()
    live.add(Metrics({"acc": 0.25}))
    live.add(Note("by the way"))

    def gone(uri):
        raise StoreError("it has gone")

    with monkeypatch.context() as patch:
        patch.setattr(recording, "check", gone)
        with pytest.raises(StoreError, match="what was recorded stays in"):
            live.close(Outcome(Status.FINISHED), {"mlexp.best.C": "1"})
    assert sweep(store) == []  # its driver holds it, and may try again
    live.drop()
    sweep(store)
    found = store.record(live.run_id)
    assert (found.status, found.metrics, found.tags["mlexp.best.C"]) == (Status.FINISHED, {"acc": 0.25}, "1")
    assert "by the way" in found.notes
    assert left(store) == []


def test_a_driver_that_died_before_its_run_had_a_folder(store, open_run, monkeypatch):
    def refuse(self, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drivers.Hold, "move", refuse)
        with pytest.raises(KeyboardInterrupt):
            open_run(name="one")
    [name] = left(store)
    assert name.startswith("new-")
    assert [record.name for record in sweep(store)] == ["one"]
    assert [record.status for record in store.records()] == [Status.KILLED]
    assert left(store) == []


def test_a_driver_that_died_before_its_run_was_there(store, open_run, monkeypatch):
    def refuse(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "create_run", refuse)
        with pytest.raises(KeyboardInterrupt):
            open_run()
    assert sweep(store) == []
    assert (left(store), store.records()) == ([], [])


def test_a_driver_that_died_as_it_cleared_up(open_run, store, monkeypatch):
    live = open_run()
    with monkeypatch.context() as patch:
        patch.setattr(recording.OpenRun, "_let_go", lambda self: None)
        live.close(Outcome(Status.FINISHED))
    died(live)
    (live.folder / "secrets.json").write_text("[]")  # as of one that has any
    assert sweep(store) == []
    assert store.record(live.run_id).status is Status.FINISHED
    assert left(store) == []


def test_a_run_that_the_store_does_not_know_is_kept_aside(open_run, store):
    live = open_run()
    live.add(Log("hello\n"))
    died(live)
    live.folder.rename(live.folder.with_name("0" * 32))
    assert sweep(store) == []
    assert left(store) == []
    assert (store.root / ".ml-experiment/lost" / ("0" * 32) / "artifacts/record/log.txt").read_text() == "hello\n"


def test_a_run_that_was_deleted_in_the_store_keeps_no_other_one_open(open_run, store):
    live = [open_run() for _ in range(3)]
    for one in live:
        one.add(Metrics({"loss": 1.0}))
        store.client.delete_run(one.run_id) if one is live[1] else None
        died(one)
    closed = {one.run_id: one for one in sweep(store)}
    assert {live[0].run_id, live[2].run_id} <= closed.keys()
    assert store.record(live[2].run_id).status is Status.KILLED
    assert sweep(store) == []


def test_a_run_that_is_deleted_while_it_goes_on_ends_all_the_same(open_run, store):
    live = open_run()
    live.add(Metrics({"loss": 1.0}))
    store.client.delete_run(live.run_id)
    record = live.close(Outcome(Status.FINISHED))
    assert record.status is Status.FINISHED
    assert any("may have been deleted there" in note for note in record.notes)
    assert sweep(store) == []


def test_a_run_of_another_store_is_that_one_s(open_run, store, monkeypatch):
    live = open_run()
    died(live)
    driver = json.loads((live.folder / "driver").read_text())
    (live.folder / "driver").write_text(json.dumps({**driver, "store": "http://elsewhere"}))
    assert sweep(store) == []
    assert left(store) == [live.run_id]


def test_what_else_lies_in_a_run_s_folder_stays(open_run, store):
    live = open_run(kind="group")
    (live.folder / "payload-1").write_text("values")
    died(live)
    sweep(store)
    assert [one.name for one in live.folder.iterdir()] == ["payload-1"]


@pytest.mark.slow
def test_several_sweeps_at_once_close_each_run_once(open_run, store):
    ids = {died(open_run(number=k)) for k in range(12)}
    swept, threads = [], []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: swept.append(sweep(Store(store.root)))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    closed = [record.run_id for records in swept for record in records]
    assert sorted(closed) == sorted(ids)
    assert {record.status for record in store.records()} == {Status.KILLED}
    assert left(store) == []


@pytest.mark.slow
def test_runs_that_are_opened_and_closed_meanwhile_are_never_swept(open_run, store):
    ended = threading.Event()
    swept = []

    def keep_sweeping():
        other = Store(store.root)
        while not ended.is_set():
            swept.extend(sweep(other))

    thread = threading.Thread(target=keep_sweeping)
    thread.start()
    try:
        records = [open_run(number=k).close(Outcome(Status.FINISHED)) for k in range(25)]
    finally:
        ended.set()
        thread.join()
    assert swept == []
    assert all(record.ok for record in records)
    assert {record.status for record in store.records()} == {Status.FINISHED}


def test_looking_costs_no_question_to_the_store_when_nothing_is_to_be_done(open_run, store, monkeypatch):
    live = open_run()
    with monkeypatch.context() as patch:
        patch.setattr(store, "client", None)
        assert sweep(store) == []
    live.close(Outcome(Status.FINISHED))


@pytest.mark.slow
def test_a_cell_s_run_is_swept_too_when_its_kernel_was_killed(stored, store):
    code = """
import os
from ml_experiment_nb import inplace
from ml_experiment_nb.specs import spec_from_mapping
with inplace.here(spec_from_mapping({"name": "cell", "run": [{"source": "1"}]}), {"C": 1}):
    print("hello", flush=True)
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True)
    assert [record.status for record in store.records()] == [Status.RUNNING]
    with inplace.here(spec_from_mapping({"name": "other", "run": [{"source": "1"}]}), {}):
        pass  # whoever runs something sweeps
    found = {record.name: record for record in store.records()}
    assert (found["cell"].status, found["other"].status) == (Status.KILLED, Status.FINISHED)
    assert store.log_text(found["cell"]) == "hello\n"


def test_a_full_disk_keeps_no_run_open(open_run, store, monkeypatch):
    live = open_run()

    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", full)
        patch.setattr("pathlib.Path.write_text", full)
        live.add(Log("hello\n"))
        live.settle(Outcome(Status.FINISHED))
        record = live.close(Outcome(Status.FINISHED))
    assert record.ok
    assert any("of the log could be written" in note for note in record.notes)
    assert store.record(record.run_id).ok
