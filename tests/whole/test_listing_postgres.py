"""Listing the runs of a real PostgreSQL: by SQL, by MLflow's client, and what SQLite says of the same runs."""

import os
from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
import services
from click.testing import CliRunner
from filled_store import ORDERS, WHICH, fill, filled
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from ml_experiment_nb import sqlstore
from ml_experiment_nb.cli import commands
from ml_experiment_nb.errors import RunNotFoundError
from ml_experiment_nb.listing import as_frame, best_run, runs
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.stores import default_uri
from ml_experiment_nb.tracking import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(services.find_postgres() is None, reason="PostgreSQL is not installed"),
]
__all__ = ["filled"]  # a fixture


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The address of a PostgreSQL with the runs that `filled` has in SQLite, and its project."""
    folder = tmp_path_factory.mktemp("postgres")
    with services.postgres() as server, pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("MLFLOW_", "ML_EXPERIMENT_"))]:
            patch.delenv(name)
        patch.setenv("MLFLOW_TRACKING_URI", f"{server}/postgres")
        store = Store(folder)
        fill(store)
        client = MlflowClient(store.uri)
        run = client.create_run(client.create_experiment('näme\'s "50%"'), run_name="o'dd; --")
        client.log_batch(
            run.info.run_id,
            metrics=[Metric("a", float(k), 1, 0) for k in (-1, 2)] + [Metric("loss/val", -1e300, 1, 0)],
            params=[Param("Ünit", "a\\b'c"), Param("long", "x" * 5000)],
        )
        client.set_terminated(run.info.run_id)
        yield f"{server}/postgres", folder


@pytest.fixture
def team(project, tables, monkeypatch):
    uri, folder = tables
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("ML_EXPERIMENT_ROOT", str(folder))
    return Store(folder)


@pytest.fixture
def by_client(monkeypatch):
    """Have listings read by MLflow's client alone."""
    return lambda: monkeypatch.setattr(sqlstore, "is_sql", lambda uri: False)


@pytest.mark.parametrize(("which", "order_by"), list(product(WHICH, ORDERS)))
def test_sql_and_client_say_the_same(team, which, order_by):
    for limit in (None, 1, 4):
        one = wanted(**which, order_by=order_by, limit=limit, tags=limit == 4)
        by_sql, by_client = sqlstore.list_records(team.uri, one), team.listed_by_client(one)
        pd.testing.assert_frame_equal(as_frame(by_sql, tags=one.tags), as_frame(by_client, tags=one.tags))
        assert by_sql


@pytest.mark.parametrize(("which", "order_by"), list(product(WHICH, ORDERS)))
def test_sqlite_says_the_same(team, filled, which, order_by):
    def told(uri, most):
        asked = wanted(**which, order_by=order_by, tags=True)
        found = [one for one in sqlstore.list_records(uri, asked) if not one.experiment.startswith("näme")]
        names = ["" if one.experiment == "plain" else one.name for one in found]  # MLflow gives a run one by chance
        told = [(one.kind, one.status, one.number, one.params, str(one.metrics)) for one in found]
        return list(zip(names, told, strict=True))[:most]

    if order_by in (None, "seconds", "name"):  # which differ, as they were not written at once
        assert sorted(map(str, told(team.uri, None))) == sorted(map(str, told(default_uri(filled), None)))
    else:
        assert told(team.uri, None)[:1] == told(default_uri(filled), None)[:1]


def test_a_group_s_trials_and_the_beginning_of_an_id(team):
    [group] = sqlstore.list_records(team.uri, wanted(kind="group"))
    assert sqlstore.run_id_of(team.uri, group.run_id[:9]) == group.run_id
    trials = sqlstore.list_records(team.uri, replace(wanted(order_by="trial"), group=group.run_id))
    assert [one.name for one in trials] == ["trial 0", "trial 1", "trial 2", "trial 3"]
    assert list(runs(group=group.run_id[:9], status="pruned")["trial"]) == [3]
    for beginning in ("zzzz", "%", ""):
        with pytest.raises(RunNotFoundError):
            sqlstore.run_id_of(team.uri, beginning)


def test_odd_names_and_values(team):
    [one] = sqlstore.list_records(team.uri, wanted(experiment='näme\'s "50%"'))
    assert (one.name, one.params["Ünit"], len(one.params["long"])) == ("o'dd; --", "a\\b'c", 5000)
    assert one.metrics == {"a": 2.0, "loss/val": -1e300}


def test_runs_the_best_run_and_ls(team, by_client):
    def said():
        best = best_run("svm", maximize="acc")
        result = CliRunner().invoke(commands, ["ls", "--limit", "50"])
        assert result.exit_code == 0, result.output
        return best.to_json(), runs(tags=True), result.output

    by_sql = said()
    by_client()
    best, frame, printed = said()
    assert by_sql[0] == best
    pd.testing.assert_frame_equal(by_sql[1], frame)
    assert by_sql[2] == printed
    assert "svm 2" in printed


def test_all_of_thousands_are_read_alike(team, monkeypatch):
    asked = wanted(experiment="search", tags=True)
    expected = [one.to_json() for one in sqlstore.list_records(team.uri, asked)]
    monkeypatch.setattr(sqlstore, "_FEW", 2)
    assert [one.to_json() for one in sqlstore.list_records(team.uri, asked)] == expected
