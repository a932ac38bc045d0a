"""A group that is looked at while it runs, by a clock of its own."""

from datetime import UTC, datetime, timedelta

from ml_experiment_nb.records import Failure, Record, Status
from ml_experiment_nb.updates import Started

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOOM = Failure("ValueError", "too <large>", 'Traceback\n  File "/home/me/train.py", line 12, in fit\nValueError')


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds

    def now(self):
        return BEGAN + timedelta(seconds=self.seconds)


def trial(number, status=Status.FINISHED, params=None, failure=None, notes=(), **metrics):
    name, run = f"svm #{number}", f"run{number}"
    return Record(run, name, "e", "trial", status, params or {}, metrics, BEGAN, 2.0, failure, number, notes=notes)


def group(status=Status.FINISHED, failure=None, notes=()):
    return Record("parent", "svm", "e", "group", status, {}, {}, BEGAN, 9.0, failure, notes=notes)


def started(number, params=None):
    return Started(str(number), f"svm #{number}", f"run{number}", record=trial(number, Status.RUNNING, params))
