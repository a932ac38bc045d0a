import dataclasses
import json
import math

import pytest
from made_records import record

from ml_experiment_nb.records import (
    Failure,
    Outcome,
    Record,
    Records,
    Status,
    costs_of,
    dominates,
    duration,
    number,
    pairs,
    row,
)

FULL = record(
    failure=Failure("ValueError", "wrong", "Traceback …"),
    status=Status.FAILED,
    parent_id="p",
    artifact_uri="file:///x",
    tags={"a": "b"},
    notes=("one", "two"),
)


@pytest.mark.parametrize("one", [record(), FULL, record(run_id=None, number=None, params={}, metrics={})])
def test_json_round_trip(one):
    text = one.to_json()
    assert "\n" not in text
    assert Record.from_json(text) == one


def test_json_is_strict_json_even_for_numbers_that_are_none():
    one = record(metrics={"a": math.nan, "b": math.inf, "c": -math.inf}, params={"x": math.nan})
    data = json.loads(one.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert data["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}
    back = Record.from_json(one.to_json())
    assert math.isnan(back.metrics["a"])
    assert (back.metrics["b"], back.metrics["c"]) == (math.inf, -math.inf)


def test_json_of_parameters_that_json_does_not_know():
    class Model:
        def __str__(self):
            return "a model"

        def __deepcopy__(self, memo):
            raise AssertionError("a record is not the place to copy a model")

    one = record(params={"model": Model(), "keys": {(1, 2): {3}}, "both": (1, [2])})
    assert json.loads(one.to_json())["params"] == {
        "model": "a model",
        "keys": {"(1, 2)": "{3}"},
        "both": [1, [2]],
    }


def test_a_record_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().name = "other"


def test_record_as_text():
    assert str(record()) == (
        "svm #1  ✓ finished  1.50 s  0123456789abcdef0123456789abcdef\n"
        "  params   C=0.5, kernel=rbf\n"
        "  metrics  acc=0.9877"
    )
    assert str(dataclasses.replace(FULL, run_id=None, params={}, metrics={})) == (
        "svm #1  ✗ failed  1.50 s  (not tracked)\n  ValueError: wrong\n  note: one\n  note: two"
    )


def test_record_as_html_is_escaped():
    html = record(name="<b>", params={"<i>": "<script>"}, notes=("a & b",))._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<b>&lt;b&gt;</b>" in html
    assert "a &amp; b" in html


def test_status():
    assert [status for status in Status if not status.ended] == [Status.RUNNING]
    assert [record(status=status).ok for status in Status] == [status is Status.FINISHED for status in Status]


@pytest.mark.parametrize(
    ("failure", "text"), [(Failure("KeyError", ""), "KeyError"), (Failure("ValueError", "no"), "ValueError: no")]
)
def test_failure_as_text(failure, text):
    assert str(failure) == text
    assert Outcome(Status.FAILED, failure).failure is failure


def trials(*values, status=Status.FINISHED):
    return [record(number=k, metrics={} if v is None else {"acc": v}, status=status) for k, v in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "maximize", "best"),
    [
        ((0.5, 0.9, 0.7), True, 1),
        ((0.5, 0.9, 0.7), False, 0),
        ((math.nan, 0.1, None), True, 1),
        ((math.inf, 0.1), True, 0),
        ((math.nan, None), True, None),
        ((), True, None),
    ],
)
def test_best(values, maximize, best):
    found = Records(trials(*values), metric="acc", maximize=maximize).best
    assert (found.number if found else None) == best


def test_best_is_a_finished_one_and_needs_a_metric():
    assert Records(trials(0.9, status=Status.FAILED), metric="acc", maximize=True).best is None
    assert Records(trials(0.9)).best is None


def points(*pairs, status=Status.FINISHED):
    return [record(number=k, metrics=dict(zip("ab", pair, strict=True)), status=status) for k, pair in enumerate(pairs)]


@pytest.mark.parametrize(
    ("pairs", "maximize", "front"),
    [
        ([(1, 1), (2, 2), (0, 3)], (True, True), [1, 2]),
        ([(1, 1), (2, 2), (0, 3)], (False, False), [0, 2]),
        ([(1, 1), (2, 2), (0, 3)], (True, False), [0, 1]),
        ([(1, 2), (1, 2), (1, 3)], (False, False), [0, 1]),
        ([(1, 2), (1, 1)], (False, False), [1]),
        ([(math.nan, 2), (1, 3)], (False, False), [1]),
        ([(-math.inf, 2), (1, 3), (2, 1)], (False, False), [0, 2]),
        ([], (True, True), []),
    ],
)
def test_the_front_of_two_metrics(pairs, maximize, front):
    found = Records(points(*pairs), None, ("a", "b"), maximize)
    assert [one.number for one in found.front] == front
    assert (found.best, found.metric) == (None, None)
    assert [one.number for one in found.front.front] == front
    assert [one.number for one in found[:1].front] == [
        one.number for one in found[:1] if one.metrics["a"] == one.metrics["a"]
    ]


def test_the_front_of_one_metric_are_the_best_ones():
    found = Records(trials(0.5, 0.9, None, 0.9), None, "acc", maximize=True)
    assert [one.number for one in found.front] == [1, 3]
    assert [one.number for one in Records(trials(0.5)).front] == []
    assert [
        one.number for one in Records(points((1, 1), status=Status.PRUNED), None, ("a", "b"), (True, True)).front
    ] == []


def test_records_are_a_sequence():
    parent = record(name="group", kind="group")
    found = Records(trials(0.1, 0.2, 0.3), parent, "acc", maximize=True)
    assert len(found) == 3
    assert [one.number for one in found] == [0, 1, 2]
    assert found[-1].number == 2
    some = found[:2]
    assert (len(some), some.best.number, some.parent) == (2, 1, parent)
    assert repr(found) == "<3 records of 'group'>"
    assert repr(Records([])) == "<0 records>"


def test_records_as_text():
    found = Records([record(), record(name="b", number=2, params={"C": 1, "gamma": 2.0}, metrics={})])
    assert str(found).splitlines() == [
        "2 runs; 2 finished",
        "run     status        took    C  kernel  gamma     acc  id",
        "svm #1  ✓ finished  1.50 s  0.5  rbf            0.9877  01234567",
        "b       ✓ finished  1.50 s    1              2          01234567",
    ]
    assert str(Records([])) == "no records"


def test_records_as_html_are_escaped():
    html = Records([record(name="<b>", params={"<x>": "<y>"})])._repr_html_()
    assert "<b>" not in html
    assert "<x>" not in html
    assert "<y>" not in html


def test_row():
    assert row(record(number=None, run_id=None)) == {
        "run_id": "", "name": "svm #1", "status": "finished", "seconds": 1.5,
        "params.C": 0.5, "params.kernel": "rbf", "metrics.acc": 0.98765,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.5, "0.5"),
        (1 / 3, "0.3333"),
        (1e-5, "1.000e-05"),
        (123456.7, "1.235e+05"),
        (2.5e6, "2.500e+06"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (7, "7"),
        (True, "True"),
        (None, "None"),
        ("two\n  lines", "two lines"),
        ("x" * 100, "x" * 79 + "…"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_pairs():
    assert pairs({"a": 1, "b": 0.25}) == "a=1, b=0.25"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (0.521, "0.52 s"),
        (59.999, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.9, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_costs_are_less_where_a_record_is_better():
    goals = (("accuracy", True), ("size", False))
    assert costs_of(record(metrics={"accuracy": 0.9, "size": 3.0, "loss": 1.0}), goals) == (-0.9, 3.0)
    assert costs_of(record(metrics={"accuracy": 0.9}), goals) is None
    assert costs_of(record(metrics={"accuracy": 0.9, "size": math.nan}), goals) is None
    assert costs_of(record(metrics={}), ()) == ()


def test_what_is_nowhere_worse_and_somewhere_better_dominates():
    assert dominates((1.0, 2.0), (1.0, 3.0))
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert not dominates((1.0, 3.0), (2.0, 2.0))
