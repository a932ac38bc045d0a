from datetime import UTC, datetime

import pytest

from ml_experiment_nb.cli.look import say_closed
from ml_experiment_nb.records import Record, Status

RECORD = Record(
    run_id="a" * 32, name="svm", experiment="svm", kind="group", status=Status.FINISHED, params={}, metrics={},
    started=datetime(2026, 11, 1, tzinfo=UTC), seconds=1.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("dead", "message"),
    [(0, ""), (1, "the driver of a run had died; it is closed now"), (2, "of 2 runs had died; they are closed now")],
)
def test_runs_that_were_closed_are_counted(dead, message, capsys):
    say_closed([RECORD] * dead)
    assert message in capsys.readouterr().err
