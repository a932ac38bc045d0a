from datetime import UTC, datetime

import pytest
from mlflow.entities import Metric, Param

from ml_experiment_nb import dues
from ml_experiment_nb.absences import Waiting
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.dues import Due
from ml_experiment_nb.records import Failure, Outcome, Status

WHEN = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)


def data(due):
    """What a due says, in a form that can be compared: MLflow's entities can't."""
    waiting = due.waiting
    metrics = [(one.key, one.value, one.timestamp, one.step) for one in waiting.metrics]
    params = [(one.key, one.value) for one in waiting.params]
    return due.outcome, due.ended, metrics, params, list(waiting.inputs), dict(waiting.tags), list(waiting.notes)


def test_what_is_left_comes_back(tmp_path):
    outcome = Outcome(Status.FAILED, Failure("ValueError", "no", "Traceback"))
    reads = Input("X", "0" * 32, "local", {"uri": "x.csv"}, "2 rows")
    waiting = Waiting([Metric("loss", 0.5, 12, 3)], [Param("C", "1")], [reads], {"a": "b"}, ["a note"])
    left = Due(outcome, WHEN, waiting)
    dues.leave(tmp_path, left)
    assert data(dues.left(tmp_path)) == data(left)
    assert [path.name for path in tmp_path.iterdir()] == [dues.FILE]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"status": "FINISHED"}', '{"failure": {"odd": 1}}'])
def test_where_the_driver_died_before_or_as_it_wrote(tmp_path, text):
    if text is not None:
        (tmp_path / dues.FILE).write_text(text)
    assert dues.left(tmp_path) is None
