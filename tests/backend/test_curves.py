"""The histories of metrics, as they are sent to a page."""

from __future__ import annotations

import math

from ml_experiment_nb.backend.curves import curves, thinned
from ml_experiment_nb.readings import Point


def points(values, metric="loss"):
    return [Point(metric, step, 1000 + step, value) for step, value in enumerate(values)]


def test_each_metric_has_its_columns_and_json_s_names_of_what_is_no_number():
    found = curves([*points([1.0, math.nan, math.inf]), *points([0.5], "acc")])
    assert found == {
        "loss": {"steps": [0, 1, 2], "times": [1000, 1001, 1002], "values": [1.0, "NaN", "Infinity"], "count": 3},
        "acc": {"steps": [0], "times": [1000], "values": [0.5], "count": 1},
    }
    assert curves([]) == {}


def test_of_many_points_the_ends_and_the_extremes_stay_in_their_order():
    values = [math.sin(k / 300) for k in range(10_000)]
    values[7001], values[3] = 9.0, -9.0
    kept = thinned(points(values), 100)
    assert len(kept) <= 100
    assert [one.step for one in kept] == sorted({one.step for one in kept})
    assert {0, 3, 7001, 9999} <= {one.step for one in kept}


def test_few_points_stay_as_they_are_and_a_stretch_of_nothing_but_nan_has_one():
    few = points([1.0, 2.0])
    assert thinned(few) == few
    assert len(thinned(points([math.nan] * 1000), 10)) in range(2, 11)
