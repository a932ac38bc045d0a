"""Verdicts: metrics compared with tolerances, and what is said of what differs."""

import math

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.verdicts import (
    Difference,
    Tolerance,
    Verdict,
    VerdictAnswer,
    could_not_run,
    judged,
    metric_differences,
    read_tolerances,
)

FILE = Difference("file", "model.pkl", "1 kB", "2 kB")


def test_the_same_metrics_are_identical() -> None:
    metrics = {"accuracy": 0.9, "loss": math.nan, "worst": -math.inf}
    assert metric_differences(metrics, dict(metrics)) == []
    verdict = judged([], {"metric": 3, "file": 1, "output": 0})
    assert verdict.answer is VerdictAnswer.IDENTICAL
    assert verdict.sentence == "identical: 3 metrics and 1 file are the same"


def test_a_run_with_nothing_to_compare_says_so() -> None:
    assert judged([], {}).sentence == "identical: it ended as it had, and has nothing else to compare"
    assert judged([], {"metric": 1}).sentence == "identical: 1 metric is the same"


def test_a_metric_that_is_near_enough_is_tolerated_and_said() -> None:
    [found] = metric_differences({"accuracy": 0.9}, {"accuracy": 0.905}, read_tolerances(["accuracy=0.01"]))
    assert found == Difference("metric", "accuracy", "0.9", "0.905", "+0.005 or +0.56%, allowed: 0.01", tolerated=True)
    verdict = judged([found], {"metric": 1})
    assert verdict.answer is VerdictAnswer.WITHIN
    assert verdict.answer.is_same
    assert verdict.first is None
    assert verdict.sentence.startswith("within tolerance: metric accuracy 0.9 → 0.905")


@pytest.mark.parametrize(
    ("after", "is_near"), [(0.89, True), (0.91, True), (0.8899, False), (math.nan, False), (math.inf, False)]
)
def test_a_tolerance_holds_both_ways_and_at_its_edge(after: float, is_near: bool) -> None:
    [found] = metric_differences({"accuracy": 0.9}, {"accuracy": after}, {"accuracy": Tolerance(absolute=0.01)})
    assert found.tolerated is is_near


def test_a_share_is_one_of_what_the_metric_was() -> None:
    tolerances = read_tolerances(["1%"])
    [near] = metric_differences({"loss": -200.0}, {"loss": -201.9}, tolerances)
    [far] = metric_differences({"loss": 0.0}, {"loss": 1e-9}, tolerances)
    assert near.tolerated
    assert "allowed: 1%" in near.note
    assert not far.tolerated


def test_what_is_not_tolerated_comes_first() -> None:
    found = metric_differences({"a": 1.0, "b": 1.0}, {"a": 1.001, "b": 2.0}, read_tolerances(["a=0.1"]))
    assert [one.name for one in found] == ["b", "a"]
    verdict = judged(found, {"metric": 2})
    assert verdict.answer is VerdictAnswer.DIFFERS
    assert not verdict.answer.is_same
    assert verdict.sentence == "differs: metric b 1 → 2 (+1 or +100.00%)"


def test_a_metric_that_is_new_or_gone_differs_whatever_is_tolerated() -> None:
    found = metric_differences({"a": 1.0}, {"b": 2.0}, read_tolerances(["5"]))
    assert [str(one) for one in found] == [
        "metric a is not there any more (it was 1)", "metric b is new (2)"
    ]  # fmt: skip
    assert not any(one.tolerated for one in found)


def test_a_metric_whose_tolerance_is_infinite_may_be_anything() -> None:
    tolerances = read_tolerances(["seconds=inf"])
    [found] = metric_differences({"seconds": 1.0}, {"seconds": 99.0}, tolerances)
    [gone] = metric_differences({"seconds": 1.0}, {}, tolerances)
    [longer] = metric_differences({"seconds": [(0, 1.0)]}, {"seconds": [(0, 1.0), (1, 2.0)]}, tolerances)
    assert found.tolerated
    assert gone.tolerated
    assert longer.tolerated


def test_curves_differ_where_they_first_part() -> None:
    before = [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5)]
    after = [(0, 3.0), (1, 2.01), (2, 1.5), (3, 0.5)]
    [exact] = metric_differences({"loss": before}, {"loss": after})
    [allowed] = metric_differences({"loss": before}, {"loss": after}, {"loss": Tolerance(absolute=0.1)})
    [near] = metric_differences({"loss": before}, {"loss": after}, {"loss": Tolerance(absolute=1.0)})
    assert str(exact) == "metric loss 2 → 2.01 (at step 1, +0.01 or +0.50%)"
    assert allowed.note.startswith("at step 2")
    assert not allowed.tolerated
    assert near.note.startswith("at step 2")
    assert near.tolerated


def test_a_curve_that_is_longer_differs() -> None:
    [found] = metric_differences({"loss": [(0, 3.0), (1, 2.0)]}, {"loss": [(0, 3.0)]}, read_tolerances(["1"]))
    assert str(found) == "metric loss 2 values → 1 values (as far as both go they agree)"
    [shifted] = metric_differences({"loss": [(0, 3.0)]}, {"loss": [(1, 3.0)]}, read_tolerances(["1"]))
    assert not shifted.tolerated


def test_values_that_people_read_alike_are_told_apart() -> None:
    [found] = metric_differences({"loss": 0.1}, {"loss": math.nextafter(0.1, 1)})
    assert (found.before, found.after) == ("0.1", "0.10000000000000002")


def test_a_pattern_is_for_all_metrics_that_fit_and_a_name_wins() -> None:
    tolerances = read_tolerances(["0.5", "val_*=0.1", "val_loss=0"], known=["val_loss", "val_auc", "other"])
    found = metric_differences(
        {"val_loss": 1.0, "val_auc": 1.0, "other": 1.0}, {"val_loss": 1.05, "val_auc": 1.05, "other": 1.4}, tolerances
    )
    assert {one.name: one.tolerated for one in found} == {"val_loss": False, "val_auc": True, "other": True}


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("accuracy=much", "'much' is no number from 0 on"),
        ("accuracy=-0.1", "no number from 0 on"),
        ("accuracy=nan", "no number from 0 on"),
        ("=0.1", "write it as METRIC=VALUE"),
        ("acuracy=0.1", "the run has no metric 'acuracy'; did you mean 'accuracy'?"),
        ("zzz=0.1", "it has accuracy, loss"),
    ],
)
def test_a_tolerance_that_cannot_be_meant_is_refused(word: str, problem: str) -> None:
    with pytest.raises(SpecError) as raised:
        read_tolerances([word], known=["accuracy", "loss"])
    assert problem in str(raised.value)


def test_a_verdict_says_what_was_other_before_it_ran_and_what_differs() -> None:
    data = Difference("data", "iris.csv", "sha256:aa", "sha256:bb", "its content has changed")
    verdict = judged([FILE], {"metric": 1, "file": 1}, [data])
    assert str(verdict).splitlines() == [
        "differs: data iris.csv is another, file model.pkl 1 kB → 2 kB",
        "  before it ran  data iris.csv sha256:aa → sha256:bb (its content has changed)",
        "  differs        file model.pkl 1 kB → 2 kB",
    ]
    assert verdict.first == FILE


def test_what_could_not_run_says_why_in_a_line() -> None:
    verdict = could_not_run("no module named\n  'gone'")
    assert str(verdict) == "could not run: no module named 'gone'"
    assert not verdict.answer.is_same


def test_a_verdict_is_read_back_from_json() -> None:
    verdict = judged([FILE], {"file": 1}, [Difference("packages", "numpy", "1.0", "2.0")])
    text = verdict.to_json()
    assert Verdict.from_json(text) == verdict
    assert '"sentence": "differs: file model.pkl' in text
