"""Records that tests make."""

from datetime import UTC, datetime

from ml_experiment_nb.records import Record, Status, now

STARTED = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def record(**changes):
    usual = {
        "run_id": "0123456789abcdef0123456789abcdef", "name": "svm #1", "experiment": "svm", "kind": "trial",
        "status": Status.FINISHED, "params": {"C": 0.5, "kernel": "rbf"}, "metrics": {"acc": 0.98765},
        "started": STARTED,
        "seconds": 1.5, "number": 1,
    }  # fmt: skip
    return Record(**usual | changes)


def experiment_record(**changes):
    fields = {"run_id": "ab" * 16, "name": "n", "experiment": "n", "kind": "experiment", "status": Status.FINISHED}
    return Record(**{**fields, "params": {}, "metrics": {}, "started": now(), "seconds": 1.0, **changes})
