"""A store with runs for the panel: a group of three trials, a run that has failed, and one of another experiment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from lab import write_notebook
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

LONG = "a forest with a name that is far too long for the side bar"
NINE = 1_790_000_000_000  # when the store's first run has begun


def record(folder: Path) -> Path:
    """Put the runs into a project's store, and return its file."""
    client = MlflowClient(f"sqlite:///{folder}/.ml-experiment/mlflow.db")
    svm, trees = (
        client.create_experiment(name, artifact_location=(folder / "artifacts" / name).as_uri())
        for name in ("SVM", "trees")
    )
    error = {"mlexp.error": "ValueError: no <C> of -1"}
    make_run(client, svm, "first", 0, status="FAILED", params={"C": "-1"}, tags=error)
    space = {"C": "loguniform(0.01, 100)"}
    group = make_run(client, svm, "search", 1, "group", params=space, metrics={"accuracy": [0.95]})
    for k in range(3):
        tags = {"mlflow.parentRunId": group, "mlexp.trial": str(k)}
        given = {"params": {"C": f"{k}.5"}, "metrics": {"loss": [1.0, 0.5, 0.25], "accuracy": [0.85 + k / 20]}}
        trial = make_run(client, svm, f"search #{k}", 2 + k, "trial", tags=tags, **given)
        if k == 2:
            (folder / "log.txt").write_text("epoch 1\nepoch 2\n")
            (folder / "roc.txt").write_text("0 0\n1 1\n")
            client.log_artifact(trial, str(folder / "log.txt"), "record")
            client.log_artifact(trial, str(folder / "roc.txt"), "figures")
            client.log_artifact(trial, str(write_notebook(folder / "done.ipynb", ["C = 2.5"])))
    make_run(client, trees, LONG, 9, metrics={"auc": [0.7]})
    with closing(sqlite3.connect(folder / ".ml-experiment" / "mlflow.db")) as made:
        made.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file is copied
    return folder / ".ml-experiment" / "mlflow.db"


def make_run(client, experiment, name, minute, kind="experiment", status="FINISHED", params=(), metrics=(), tags=()):
    """Put a run into a store, as the package keeps it, and return its id."""
    begun = NINE + 60_000 * minute
    run_id = client.create_run(experiment, run_name=name, start_time=begun).info.run_id
    said = {"mlexp.kind": kind, "mlexp.status": status.lower(), **dict(tags)}
    client.log_batch(
        run_id,
        [Metric(one, value, begun, step) for one, all_ in dict(metrics).items() for step, value in enumerate(all_)],
        [Param(*one) for one in dict(params).items()],
        [RunTag(*one) for one in said.items()],
    )
    client.set_terminated(run_id, status, end_time=begun + 2500)
    return run_id
