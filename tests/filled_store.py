"""A store with runs of all kinds, and what is asked of it by who lists them."""

import math
import os
from dataclasses import replace

import pandas as pd
import pytest
from mlflow.entities import Metric

from ml_experiment_nb import sqlstore
from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.events import Metrics, Note
from ml_experiment_nb.listing import as_frame
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.projects import home
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.stores import default_uri
from ml_experiment_nb.tracking import Store

FINISHED = Outcome(Status.FINISHED)


@pytest.fixture(scope="module")
def filled(database, tmp_path_factory):
    """A project with runs of all kinds, and of a plain client; copied by none: nobody writes to it."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("MLFLOW_", "ML_EXPERIMENT_"))]:
            patch.delenv(name)
        (home(folder) / "mlflow.db").write_bytes(database.read_bytes())
        store = Store(folder)
        fill(store)
        store.settle()
    return folder


@pytest.fixture
def many(project, filled, monkeypatch):
    """That project, in use."""
    monkeypatch.setenv("ML_EXPERIMENT_ROOT", str(filled))
    return filled


def both(many, group=None, **asked):
    """Return what both ways say; their records are the same."""
    one = wanted(**asked)
    if group is not None:
        one = replace(one, group=sqlstore.run_id_of(default_uri(many), group))
    by_sql = sqlstore.list_records(default_uri(many), one)
    by_client = Store(many).listed_by_client(one)
    pd.testing.assert_frame_equal(as_frame(by_sql, tags=one.tags), as_frame(by_client, tags=one.tags))
    if one.tags:  # NaN is not itself
        assert [told.to_json() for told in by_sql] == [told.to_json() for told in by_client]
    return by_sql


def fill(store):
    taken = snapshot(store.root)

    def start(name, experiment="svm", kind="experiment", **more):
        params, tags = more.pop("params", {}), more.pop("tags", {})
        return open_run(
            store, name=name, experiment=experiment, kind=kind, params=params, tags=tags, snapshot=taken, **more
        )

    for k, kernel in enumerate(["rbf", "poly", "linear"]):
        live = start(f"svm {k}", params={"C": 10**k, "kernel": kernel, "gamma": 0.5 * k}, tags={"team": "vision"})
        live.add(Metrics({"acc": 0.7 + k / 10, "loss": math.nan if k == 1 else 1.0 - k / 10}, 1))
        live.add(Note("a remark"))
        live.close(FINISHED)
    start("bad", params={"C": "auto"}).close(Outcome(Status.FAILED, Failure("ValueError", "wrong: really")))
    group = start("search", "search", "group", params={"C": "uniform(0, 1)"})
    for k in range(4):
        live = start(f"trial {k}", "search", "trial", params={"C": k / 4}, parent_id=group.run_id, number=k)
        live.add(Metrics({"acc": 0.99 if k == 3 else k / 10}, None))
        live.close(Outcome(Status.PRUNED) if k == 3 else FINISHED)
    lost = start("lost", "search", "trial", parent_id=group.run_id, number=9)
    lost.close(Outcome(Status.KILLED, Failure("SlotLostError", "")), {"mlexp.retried_by": "x"})
    group.close(FINISHED)
    client = store.client
    plain = client.create_run(client.create_experiment("plain"), tags={"team": "theirs"})
    client.log_param(plain.info.run_id, "C", "007")
    client.log_batch(plain.info.run_id, metrics=[Metric("acc", math.inf, 5, 0)])
    client.set_terminated(plain.info.run_id)
    gone = client.create_run("0")
    client.delete_run(gone.info.run_id)
    old = client.create_experiment("old")
    client.set_terminated(client.create_run(old).info.run_id)
    client.delete_experiment(old)


WHICH = [
    {},
    {"experiment": "search"},
    {"kind": "experiment"},
    {"status": "finished", "experiment": "svm"},
    {"status": "pruned"},
    {"condition": "params.C > 1"},
    {"condition": "tags.team = 'vision' and metrics.acc < 0.9"},
    {"condition": "tags.team = 'theirs' or kind = group"},
]


ORDERS = [None, "metrics.acc", "metrics.acc DESC", "metrics.loss desc", "params.C DESC", "acc DESC", "seconds", "name"]
