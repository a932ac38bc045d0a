"""A store that is away while a single experiment runs: nothing is lost, and its record says so."""

import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from ml_experiment_nb import inplace, recording, report
from ml_experiment_nb.absences import Absence, Waiting, note, waiting
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.events import Note, Tags
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.sweeps import sweep
from ml_experiment_nb.tracking import Store


@pytest.fixture
def gone(stored):
    """Take the store away, and bring it back."""

    class Gone:
        path = stored / ".ml-experiment/mlflow.db"

        def go(self):
            self.path.rename(self.path.with_name("away.db"))

        def come(self):
            self.path.with_name("away.db").rename(self.path)

    return Gone()


@pytest.fixture
def spec(script):
    return spec_from_mapping({"name": "here", "kind": "experiment", "run": script("C = 1").path})


@pytest.fixture
def often(monkeypatch):
    """Have runs written at each report."""
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.0)


def history(store, run_id):
    return [(one.value, one.step) for one in MlflowClient(store.uri).get_metric_history(run_id, "loss")]


def test_what_is_reported_while_the_store_is_away_is_written_when_it_is_back(stored, gone, spec, often):
    with inplace.here(spec, {"C": 1}) as live:
        report(loss=3.0, step=0)
        gone.go()
        for step in range(1, 4):
            report(loss=3.0 - step, step=step)
            time.sleep(0.05)
        assert len(waiting(live.folder).metrics) >= 1
        gone.come()
        time.sleep(0.1)
        report(loss=-1.0, step=4)
    store = Store(stored)
    assert history(store, live.run_id) == [(3.0, 0), (2.0, 1), (1.0, 2), (0.0, 3), (-1.0, 4)]
    record = store.record(live.run_id)
    assert record.status is Status.FINISHED
    assert record.notes == ("the store was away for 1 s; what was recorded meanwhile was written when it was back",)
    assert live.record.notes == record.notes
    assert [*(stored / ".ml-experiment/runs").iterdir()] == []


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_a_store_that_is_away_at_the_end_is_waited_for(stored, gone, spec, fails):
    back = threading.Timer(1.5, gone.come)
    with suppress(ValueError), inplace.here(spec, {}) as live:
        report(loss=1.0)
        gone.go()
        back.start()
        if fails:
            raise ValueError("odd")
    store = Store(stored)
    record = store.record(live.run_id)
    assert record.status is (Status.FAILED if fails else Status.FINISHED)
    assert record.metrics == {"loss": 1.0}
    assert record.notes[0].startswith("the store was away for")


def test_an_error_of_the_code_is_not_hidden_by_a_store_that_stays_away(stored, gone, spec, monkeypatch):
    monkeypatch.setenv("ML_EXPERIMENT_STORE_PATIENCE", "0")

    def code():
        report(loss=1.0)
        gone.go()
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd") as caught, inplace.here(spec, {"C": 5}) as live:
        code()
    assert "what was recorded stays in" in caught.value.__notes__[0]
    gone.come()
    store = Store(stored)
    sweep(store)
    record = store.record(live.run_id)
    assert (record.status, str(record.failure), record.metrics) == (Status.FAILED, "ValueError: odd", {"loss": 1.0})
    assert record.params == {"C": 5}


def test_without_a_store_nothing_begins(project, spec, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(StoreError, match="no tracking server answers"), inplace.here(spec, {}):
        raise AssertionError
    assert time.monotonic() - began < 10
    assert [*project.glob(".ml-experiment/runs/*")] == []


KILLED = """
import os, signal, time
from ml_experiment_nb import recording, report, inplace
from ml_experiment_nb.specs import spec_from_mapping

recording.FLUSH_SECONDS = 0.0
spec = spec_from_mapping({"name": "here", "kind": "experiment", "run": "script.py"})
with inplace.here(spec, {}):
    report(loss=3.0, step=0)
    os.rename(".ml-experiment/mlflow.db", ".ml-experiment/away.db")
    for step in range(1, 6):
        time.sleep(0.05)
        report(loss=3.0 - step, step=step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_driver_that_is_killed_while_the_store_is_away_loses_nothing(stored, gone, spec):
    subprocess.run([sys.executable, "-c", KILLED], cwd=stored, check=False)
    gone.come()
    store = Store(stored)
    [record] = sweep(store)
    assert record.status is Status.KILLED
    assert history(store, record.run_id) == [(3.0 - step, step) for step in range(6)]
    assert [*(stored / ".ml-experiment/runs").iterdir()] == []


SAYS_ALL = """
import os, signal
import numpy as np
from ml_experiment_nb import events
from ml_experiment_nb import inplace, recording, reports
from ml_experiment_nb.capture.inputs import inputs_of
from ml_experiment_nb.datasets import Data
from ml_experiment_nb.specs import spec_from_mapping

spec = spec_from_mapping({"name": "here", "kind": "experiment", "run": "script.py"})
with inplace.here(spec, {"C": 1}) as live:
    live.add(events.Note("said while it was there"))
    live.add(events.Tags({"stage": "first"}))
    live.flush()
    os.rename(".ml-experiment/mlflow.db", ".ml-experiment/away.db")
    recording.FLUSH_SECONDS = 0.0
    live.add(events.Metrics({"loss": 1.0}))
    recording.FLUSH_SECONDS = 600.0  # the store is not tried again
    live.add(events.Note("said while it was away"))
    live.add(events.Tags({"stage": "second", "ärt": "x"}))
    live.add(events.Tags({"stage": "third"}))
    live.add(events.Params({"depth": 3}))
    live.use(inputs_of(Data(values=("X",)), live.folder, {"X": np.zeros((3, 2))}, live.folder))
    live.add(events.Metrics({"loss": 0.5}))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_all_that_was_said_while_the_store_was_away_is_there_though_the_driver_was_killed(stored, gone, spec):
    subprocess.run([sys.executable, "-c", SAYS_ALL], cwd=stored, check=False)
    gone.come()
    store = Store(stored)
    [record] = sweep(store)
    run = MlflowClient(store.uri).get_run(record.run_id)
    assert record.notes == store.record(record.run_id).notes
    assert {"said while it was there", "said while it was away"} <= set(record.notes)
    assert (run.data.tags["stage"], run.data.tags["ärt"]) == ("third", "x")
    assert (run.data.params["C"], run.data.params["depth"]) == ("1", "3")
    assert history(store, record.run_id) == [(1.0, 0), (0.5, 0)]
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["X"]
    assert run.data.tags["mlexp.data"].startswith("X (ndarray 3 x 2)")


@pytest.mark.slow
def test_what_a_sweep_can_not_write_waits_for_the_next_one(stored, gone, spec):
    subprocess.run([sys.executable, "-c", SAYS_ALL], cwd=stored, check=False)
    gone.come()
    store = Store(stored)
    gone.go()
    assert sweep(store) == []
    gone.come()
    [record] = sweep(store)
    assert "said while it was away" in record.notes
    assert store.record(record.run_id).tags["stage"] == "third"


def test_notes_and_tags_of_a_run_are_in_the_store_while_it_goes_on(stored, spec, often):
    with inplace.here(spec, {}) as live:
        live.add(Note("odd data"))
        live.add(Tags({"stage": "first"}))
        record = Store(stored).record(live.run_id)
        assert (record.status, record.notes, record.tags["stage"]) == (Status.RUNNING, ("odd data",), "first")


def test_a_thread_that_waits_for_the_store_does_not_keep_others_waiting(stored, gone, spec, often):
    with inplace.here(spec, {}) as live:
        live.flush()
        with live._writes:  # as a thread does whose request isn't answered
            other = threading.Thread(target=lambda: live.add(Note("said meanwhile")))
            other.start()
            other.join(10)
            assert not other.is_alive()
            assert waiting(live.folder).notes == ["said meanwhile"]
        live.flush()
        assert waiting(live.folder) == Waiting([], [], [], {}, [])
    assert Store(stored).record(live.run_id).notes == ("said meanwhile",)


def test_what_waits_is_kept_once(tmp_path):
    absence = Absence(tmp_path)
    metrics = [Metric("a", float(k), k, k) for k in range(4)]
    param, read = Param("p", "1"), Input("x", "0" * 32, "code", {}, "3 rows")
    absence.begin(Waiting(metrics[:2], [param], [read], {"t": "1"}, ["odd"]), 0.0)
    absence.begin(Waiting(metrics, [param], [read], {"t": "1"}, ["odd"]), 0.0)
    found = waiting(tmp_path)
    assert [(one.key, one.value, one.timestamp, one.step) for one in found.metrics] == [
        ("a", float(k), k, k) for k in range(4)
    ]
    assert [(one.key, one.value) for one in found.params] == [("p", "1")]
    assert (found.inputs, found.tags, found.notes) == ([read], {"t": "1"}, ["odd"])
    absence.wrote(3, 1, 1)
    absence.begin(Waiting([*metrics[3:], Metric("a", 9.0, 9, 9)], [], [], {"t": "2"}, ["odd", "even"]), 2.0)
    found = waiting(tmp_path)
    assert [one.value for one in found.metrics] == [0.0, 1.0, 2.0, 3.0, 9.0]
    assert (found.tags, found.notes) == ({"t": "2"}, ["odd", "even"])
    assert (absence.pause, absence.lasts) == (10.0, True)
    assert absence.end().startswith("the store was away for")
    assert absence.end() is None
    assert waiting(tmp_path) == Waiting([], [], [], {}, [])


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (31.4, "31 s"), (75, "1 min 15 s")])
def test_how_long_it_was_away(seconds, said):
    assert note(seconds).startswith(f"the store was away for {said};")


def test_a_line_that_was_cut_is_left_out(tmp_path):
    (tmp_path / "waiting.jsonl").write_text('["metric", "a", 1.0, 1, 1]\n["metric", "a", 2')
    assert [one.value for one in waiting(tmp_path).metrics] == [1.0]
    Absence(tmp_path).begin(Waiting([Metric("a", 3.0, 3, 3)], [], [], {}, []), 0.0)  # the disk was full, and is not now
    assert [one.value for one in waiting(tmp_path).metrics] == [1.0, 3.0]
