"""What the comparison's widget is told when it asks."""

from __future__ import annotations

from array import array
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from mlflow.entities import Metric, Param

from ml_experiment_nb.comparison import answers
from ml_experiment_nb.comparison.answers import answer
from ml_experiment_nb.comparison.view import Comparison
from ml_experiment_nb.comparison.widget import ComparisonWidget
from ml_experiment_nb.errors import ExperimentError, MetricError
from ml_experiment_nb.records import Records
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.widgets.bundle import MIME

BEGAN = 1_790_000_000_000


@pytest.fixture
def compared(stored, tmp_path):
    """Four runs with a curve each and a picture, and their store."""
    store = Store(stored)
    experiment = store.experiment_id("e")
    for k in range(4):
        run_id = store.client.create_run(experiment, run_name=f"run {k}", start_time=BEGAN).info.run_id
        curve = [Metric("loss", 1 / (k + step + 1), BEGAN + 500 * step, step) for step in (2, 0, 1)]
        store.client.log_batch(run_id, curve, [Param("C", str(2**k)), Param("seed", "7")])
        (tmp_path / "roc.png").write_bytes(b"picture %d" % k)
        store.client.log_artifact(run_id, str(tmp_path / "roc.png"), "figures")
        store.client.log_text(run_id, "words", "notes.txt")
        store.client.set_terminated(run_id, end_time=BEGAN + 2000)
    records = sorted(store.records(experiment="e"), key=lambda one: one.name)
    return Records(records, metric="loss"), store


def test_curves_are_in_the_order_of_their_steps(compared):
    said, buffers = answer({"what": "curves", "rows": [2], "metric": "loss"}, *compared)
    assert said == {"curves": [{"row": 2, "count": 3}]}
    assert list(array("d", buffers[0])) == [0, 1, 2, 0, 0.5, 1, 1 / 3, 1 / 4, 1 / 5]
    said, buffers = answer({"what": "curves", "rows": [0, 1], "metric": "nothing"}, *compared)
    assert ([one["count"] for one in said["curves"]], buffers) == ([0, 0], [b"", b""])


def test_of_a_long_curve_points_are_picked_evenly_and_the_last_one_is_kept(compared, monkeypatch):
    monkeypatch.setattr(answers, "POINTS", 2)
    _, buffers = answer({"what": "curves", "rows": [0], "metric": "loss"}, *compared)
    assert list(array("d", buffers[0]))[:2] == [0, 2]


def test_importances_of_many_runs_are_reckoned_from_some_of_them(compared, monkeypatch):
    said, _ = answer({"what": "importances", "metric": "loss"}, *compared)
    assert said == {"importances": [("C", 1.0)], "note": ""}
    monkeypatch.setattr(answers, "WEIGHED", 2)
    said, _ = answer({"what": "importances", "metric": "loss"}, *compared)
    assert said["note"] == "reckoned from one in 2 of the 4 runs"
    with pytest.raises(MetricError, match="none of the runs has a metric 'los'"):
        answer({"what": "importances", "metric": "los"}, *compared)


def test_images_come_with_their_bytes_unless_they_are_too_large(compared, monkeypatch):
    said, buffers = answer({"what": "images", "rows": [1, 3]}, *compared)
    assert said == {
        "images": [
            {"row": 1, "path": "figures/roc.png", "type": "image/png", "buffer": 0},
            {"row": 3, "path": "figures/roc.png", "type": "image/png", "buffer": 1},
        ]
    }
    assert buffers == [b"picture 1", b"picture 3"]
    monkeypatch.setattr(answers, "ALL_OF_THEM", 10)
    said, buffers = answer({"what": "images", "rows": [1, 3]}, *compared)
    assert said["images"][1] == {"row": 3, "path": "figures/roc.png", "problem": "9 B: too large to show here"}
    assert buffers == [b"picture 1"]
    monkeypatch.setattr(answers, "IMAGES", 0)
    said, _ = answer({"what": "images", "rows": [0]}, *compared)
    assert said["images"] == [{"row": 0, "path": "…", "problem": "1 more images are not shown"}]


def test_what_is_not_known_is_said(compared):
    with pytest.raises(ExperimentError, match="doesn't know what 'poems' is"):
        answer({"what": "poems"}, *compared)


def test_a_widget_has_the_runs_as_columns_and_answers_whatever_comes(compared):
    records, store = compared
    widget = ComparisonWidget(Comparison(records, store).ranked(), store)
    assert [one["key"] for one in widget.columns if not one["hidden"]] == [
        "name", "status", "metrics.loss", "params.C", "params.seed", "seconds", "started",
    ]  # fmt: skip
    assert (widget.goals, widget.best) == ([["loss", False]], 0)
    sent = []
    widget.send = lambda content, buffers=None: sent.append(content)
    widget._on_message(widget, {"ask": "1", "what": "curves", "rows": [99], "metric": "loss"}, [])
    widget._on_message(widget, {"ask": "2", "what": "poems"}, [])
    widget._on_message(widget, {"something": "else"}, [])
    assert [(one["answer"], one["error"].split(":")[0]) for one in sent] == [
        ("1", "IndexError"),
        ("2", "this kernel doesn't know what 'poems' is"),
    ]
    widget.close()


def test_what_is_kept_of_many_runs_is_small(compared):
    records, store = compared
    many = [replace(records[0], run_id=f"{k:032x}", started=datetime.now(UTC)) for k in range(5000)]
    view = Comparison(records.like(many), store)
    found = view._repr_mimebundle_()
    assert found[MIME] == {"kind": "comparison"}
    assert len(found["text/html"]) + len(found["text/plain"]) < 150_000
    assert "4980 more" in found["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" not in found  # no front end asked for it
    assert len(view.selected) == 0
