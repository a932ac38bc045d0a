"""What tests say of two runs that are compared."""

from dataclasses import replace
from datetime import UTC, datetime

from ml_experiment_nb.comparison.differences import Evidence
from ml_experiment_nb.records import Record, Status


def record(**more):
    first = Record("a" * 32, "svm", "svm", "experiment", Status.FINISHED, {}, {}, datetime.now(UTC), 1.0)
    return replace(first, **more)


def evidence(run=None, **more):
    return Evidence(run or record(), **more)
