"""The run of the same cell before this one."""

from dataclasses import replace
from datetime import timedelta

import pytest
from made_records import record

from ml_experiment_nb import earlier
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.earlier import CELL, in_store, remember, remembered
from ml_experiment_nb.events import Metrics
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.tracking import Store


@pytest.fixture(autouse=True)
def session(monkeypatch):
    monkeypatch.setattr(earlier, "_last", {})


def of_cell(cell, code, **changes):
    tags = {name: value for name, value in ((CELL, cell), ("mlexp.code_hash", code)) if value is not None}
    return record(kind="experiment", tags=tags, **changes)


def test_a_cell_is_known_by_its_id_though_its_code_was_edited():
    remember(first := of_cell("c1", "aaa", run_id="1"))
    remember(of_cell("c2", "aaa", run_id="2"))
    assert remembered(of_cell("c1", "bbb")) is first


def test_where_nobody_says_the_id_by_its_code():
    remember(first := of_cell(None, "aaa"))
    assert remembered(of_cell(None, "aaa", params={"C": 7})) is first
    assert remembered(of_cell(None, "bbb")) is None


def test_only_what_finished_counts_and_only_in_the_same_experiment():
    remember(first := of_cell("c1", "aaa", run_id="1"))
    remember(of_cell("c1", "aaa", run_id="2", status=Status.FAILED))
    assert remembered(of_cell("c1", "aaa")) is first
    assert remembered(of_cell("c1", "aaa", experiment="another")) is None


@pytest.mark.parametrize("by_client", [False, True], ids=["by SQL", "by the client"])
def test_in_the_store_it_is_the_last_one_that_finished_before(stored, monkeypatch, by_client):
    store = Store(stored)
    taken = replace(snapshot(stored), packages=())

    def made(accuracy, status=Status.FINISHED, **tags):
        live = open_run(store, name="svm", experiment="svm", kind="experiment", params={}, tags=tags, snapshot=taken)
        live.add(Metrics({"acc": accuracy}))
        return live.close(Outcome(status))

    given = {CELL: "it's c1", "mlexp.code_hash": "aaa"}
    first = made(0.1, **given)
    made(0.2, Status.FAILED, **given)
    made(0.3, **given | {CELL: "c2"})
    last = made(0.4, **given)
    if by_client:
        monkeypatch.setattr("ml_experiment_nb.sqlstore.listed", lambda *_: None)
    assert in_store(last, stored).run_id == first.run_id
    assert in_store(last, stored).metrics == {"acc": 0.1}
    assert in_store(replace(first, started=first.started - timedelta(seconds=1)), stored) is None
    assert in_store(replace(last, tags={"mlexp.code_hash": "zzz"}), stored) is None
    assert in_store(replace(last, tags={}), stored) is None


def test_it_has_the_names_that_the_run_has_though_the_store_writes_them_otherwise(stored):
    store, taken = Store(stored), replace(snapshot(stored), packages=())

    def made(accuracy):
        tags = {CELL: "c1"}
        given = {"name": "svm", "experiment": "svm", "kind": "experiment", "params": {"C+": 1}}
        live = open_run(store, **given, tags=tags, snapshot=taken)
        live.add(Metrics({"acc@1": accuracy}))
        return live.close(Outcome(Status.FINISHED))

    made(0.1)
    before = in_store(made(0.4), stored)
    assert (before.params, before.metrics) == ({"C+": 1}, {"acc@1": 0.1})


def test_a_database_that_has_gone_is_not_made_anew(stored):
    database = home(stored) / "mlflow.db"
    database.rename(database.with_name("away.db"))
    assert in_store(of_cell("c1", "aaa"), stored) is None
    assert not database.exists()
