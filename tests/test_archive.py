import math
from dataclasses import replace

import pytest
from mlflow.entities import Dataset, DatasetInput

from ml_experiment_nb.addresses import local_path
from ml_experiment_nb.archive import Tables
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.errors import RunNotFoundError
from ml_experiment_nb.events import Metrics
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.tracking import Store

FINISHED = Outcome(Status.FINISHED)


def never():
    raise AssertionError("MLflow's client was asked")


@pytest.fixture
def run(stored):
    store = Store(stored)
    live = open_run(
        store, name="svm", experiment="SVM", kind="experiment", params={"C": 1}, tags={}, snapshot=snapshot(stored)
    )
    live.add(Metrics({"loss": 0.5, "acc": 0.1}, 1))
    live.add(Metrics({"loss": math.nan}, 2))
    (live.artifacts / "figures" / "a b").mkdir(parents=True)
    (live.artifacts / "figures" / "a b" / "n 1.txt").write_text("one\r\ntwo")
    (live.artifacts / "empty").write_text("")
    record = live.close(FINISHED)
    data = Dataset("train", "abc", "local", '{"uri": "/d/train.csv"}', None, None)
    store.client.log_inputs(str(record.run_id), [DatasetInput(data, [])])
    return record


def test_tables_say_what_mlflows_client_says(stored, run):
    client, tables = Store(stored), opened_archive()
    assert isinstance(tables, Tables)
    tables = Tables(stored, client.uri, never)
    for name in (str(run.run_id), str(run.run_id)[:6]):
        assert tables.record(name).to_json() == client.record(name).to_json()
        assert tables.record(name).tags == client.record(name).tags
    record = tables.record(str(run.run_id))
    assert repr(tables.history(record)) == repr(client.history(record))
    assert [(one.step, str(one.value)) for one in tables.history(record, "loss")] == [(1, "0.5"), (2, "nan")]
    assert (
        tables.data_sets(record) == client.data_sets(record) == [("train", "abc", "local", '{"uri": "/d/train.csv"}')]
    )
    assert tables.input_files(record) == {"/d/train.csv": "abc"}
    assert tables.files(record) == client.files(record)
    assert {"empty": 0, "figures/a b/n 1.txt": 8}.items() <= tables.files(record).items()
    assert tables.text(record, "figures/a b/n 1.txt") == client.text(record, "figures/a b/n 1.txt") == "one\ntwo"
    assert tables.digest(record, "empty") == client.digest(record, "empty")
    assert [one.run_id for one in tables.records()] == [run.run_id]


def test_a_run_that_is_not_there_is_an_error_without_mlflow(stored, run):
    tables = Tables(stored, opened_archive().uri, never)
    for name in ("zzzz", "0" * 32, "a%", ""):
        with pytest.raises(RunNotFoundError):
            tables.record(name)
    assert Store(stored).record(str(run.run_id)[:5]).run_id == run.run_id


def test_a_deleted_run_is_shown_by_its_whole_id_alone(stored, run):
    store = Store(stored)
    store.client.delete_run(str(run.run_id))
    tables = Tables(stored, store.uri, never)
    assert tables.record(str(run.run_id)).name == store.record(str(run.run_id)).name == "svm"
    with pytest.raises(RunNotFoundError):
        tables.record(str(run.run_id)[:8])


def test_no_file_outside_of_a_runs_artifacts_is_read(stored, run):
    (local_path(run.artifact_uri).parent / "secret").write_text("x")
    tables = Tables(stored, opened_archive().uri, never)
    assert tables.content(run, "../secret") is None
    assert tables.content(run, "/etc/hostname") is None
    assert tables.content(run, "figures") is None
    assert tables.files(replace(run, artifact_uri=f"{run.artifact_uri}-none")) == {}


def test_what_tables_can_not_tell_is_asked_of_mlflow(stored, run):
    asked = []

    def client():
        asked.append(1)
        return Store(stored)

    tables = Tables(stored, opened_archive().uri, client)
    assert tables.files(replace(run, artifact_uri="s3://elsewhere/x")) == tables.files(run)
    assert asked == [1]
    other = Tables(stored, f"sqlite:///{stored}/none.db", client)
    assert other.record(str(run.run_id)).run_id == run.run_id
