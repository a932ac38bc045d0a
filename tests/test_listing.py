import json
import re
import subprocess
import sys
from contextlib import closing

import pytest
from filled_store import both, filled, many
from mlflow import MlflowClient

from ml_experiment_nb import listing
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.errors import RunNotFoundError, SpecError, StoreError
from ml_experiment_nb.listing import best_run, listed, runs
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.projects import home
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.records import Status
from ml_experiment_nb.tracking import Store

__all__ = ["filled", "many"]  # fixtures


def test_the_trials_of_a_group(many):
    [group] = both(many, kind="group")
    trials = both(many, group=group.run_id[:8], order_by="trial")
    assert [one.name for one in trials] == ["trial 0", "trial 1", "trial 2", "trial 3"]  # not the one tried again
    assert list(runs(group=group.run_id[:8], status="pruned")["trial"]) == [3]


def test_the_frame(many):
    frame = runs("svm", tags=True, order_by="metrics.acc DESC")
    assert list(frame.columns[:9]) == [
        "run_id", "name", "experiment", "kind", "status", "started", "seconds", "group", "trial"
    ]  # fmt: skip
    assert list(frame["name"]) == ["svm 2", "svm 1", "svm 0", "bad"]
    assert list(frame["params.C"]) == [100, 10, 1, "auto"]
    assert frame["params.gamma"].dtype == float
    assert frame["metrics.acc"].dtype == float
    assert frame["metrics.acc"].iloc[0] == pytest.approx(0.9)
    assert str(frame["started"].dtype).startswith("datetime64[")
    assert frame["trial"].isna().all()
    assert list(frame["tags.team"].dropna().unique()) == ["vision"]
    assert not any(name.startswith("tags.") for name in runs("svm").columns)
    assert runs("svm", status="finished")["params.C"].dtype == "Int64"
    assert list(runs("plain")["params.C"]) == ["007"]  # no number would be the same again
    assert len(runs()) == 11


def test_runs_of_which_there_are_none(many):
    assert list(runs(where="C > 1e9").columns) == list(runs("svm").columns[:9])
    assert len(runs(where="C > 1e9")) == 0


def test_the_best_run(many):
    best = best_run("svm", maximize="acc")
    assert (best.name, best.params["kernel"], best.tags["team"]) == ("svm 2", "linear", "vision")
    assert best_run("svm", minimize="metrics.loss").name == "svm 2"
    assert best_run("search", maximize="acc").name == "trial 2"  # the pruned one has more
    assert best_run("svm", maximize="acc", where="kernel != linear").name == "svm 1"
    with pytest.warns(UserWarning, match="none of the runs has a metric 'nothing'"):
        assert best_run(maximize="nothing") is None
    for words in ({}, {"maximize": "acc", "minimize": "loss"}):
        with pytest.raises(SpecError, match="which metric is best"):
            best_run("svm", **words)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"order_by": "metrics.acx"}, "none of the runs has a metric 'acx'; did you mean 'acc'?"),
        ({"order_by": "acx"}, "none of the runs has a metric 'acx'; did you mean 'acc'?"),
        ({"where": "metrics.acx > 0.1"}, "none of the runs has a metric 'acx'; did you mean 'acc'?"),
        ({"where": "acc > 0.1 and tags.teem = 'a'"}, "none of the runs has a tag 'teem'"),
    ],
)
def test_a_name_that_no_run_has_is_told(many, asked, said):
    with pytest.warns(UserWarning, match=re.escape(said)) as told:
        runs(**asked)
    assert len(told) == 1
    assert told[0].filename == __file__


def test_of_many_runs_the_newest_are_looked_at_for_a_name(many, monkeypatch):
    monkeypatch.setattr(listing, "_LOOKED_AT", 2)
    with pytest.warns(UserWarning, match="none of the newest 2 runs has a metric 'acx'"):
        runs(where="metrics.acx > 0.1")


def test_a_best_run_by_a_metric_that_no_run_has_is_none_and_told(many):
    with pytest.warns(UserWarning, match="none of the runs has a metric 'acx'; did you mean 'acc'"):
        assert best_run(maximize="acx") is None


@pytest.mark.parametrize("asked", [{"where": "acc > 1e9"}, {"order_by": "acc"}, {"where": "status = 'running'"}])
def test_nothing_is_told_of_names_that_runs_have(many, asked, recwarn):
    runs(**asked)
    assert not [one for one in recwarn if one.category is UserWarning]


def test_nothing_is_recorded_yet(project):
    assert len(runs()) == 0
    assert best_run(maximize="acc") is None
    assert list(project.iterdir()) == []


def test_what_can_not_be_asked(many):
    with pytest.raises(RunNotFoundError, match=r"no experiment is called 'svn' in .*; did you mean 'svm'"):
        runs("svn")
    with pytest.raises(RunNotFoundError, match="no run 'abcd' in"):
        runs(group="abcd")
    with pytest.raises(SpecError, match="there is no status 'done'"):
        runs(status="done")
    with pytest.raises(SpecError, match="limit is 0"):
        runs(limit=0)
    with pytest.raises(SpecError, match="order_by is empty"):
        runs(order_by=" ")
    for ask in (
        lambda: runs(order_by="metrics.system/run_memory_usage_megabytes DESC"),
        lambda: runs(order_by="system/run_memory_usage_megabytes"),
        lambda: runs(where="metrics.system/run_memory_usage_megabytes > 5"),
        lambda: best_run(minimize="system/run_memory_usage_megabytes"),
    ):
        with pytest.raises(SpecError, match="'system/run_memory_usage_megabytes' is sampled while a run goes on"):
            ask()


def test_a_database_with_other_tables_is_left_to_mlflow(stored, monkeypatch):
    import sqlite3

    with closing(sqlite3.connect(home(stored) / "mlflow.db")) as database, database:
        database.execute("alter table runs rename column name to title")
        database.execute("update alembic_version set version_num = 'ffffffffffff'")
    with pytest.raises(StoreError, match="was made by another MLflow version"):
        listed(stored, wanted())


def test_runs_of_a_dead_driver_are_closed_first(stored):
    live = open_run(
        Store(stored), name="left", experiment="e", kind="experiment", params={}, tags={}, snapshot=snapshot(stored)
    )
    [goes_on] = listed(stored, wanted())
    assert goes_on.status is Status.RUNNING
    live.drop()
    told = []
    [record] = listed(stored, wanted(), closed=told.extend)
    assert record.status is Status.KILLED
    assert [one.run_id for one in told] == [record.run_id]


def test_a_listing_needs_no_mlflow(many):
    code = (
        "import sys, json\n"
        "from ml_experiment_nb.listing import best_run\n"
        "best = best_run('svm', maximize='acc')\n"
        "print(json.dumps([best.name, 'mlflow' in sys.modules, 'pandas' in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == ["svm 2", False, False]


def test_what_plain_mlflow_writes_meanwhile_is_there(stored):
    store = Store(stored)
    client = MlflowClient(store.uri)
    assert len(runs()) == 0
    run = client.create_run("0", run_name="theirs")
    assert list(runs()["status"]) == ["running"]
    client.set_terminated(run.info.run_id, "FAILED")
    assert list(runs()["status"]) == ["failed"]
