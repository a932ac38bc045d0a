import math

import pytest

from ml_experiment_nb.conditions import Comparison, Joined, parse_condition
from ml_experiment_nb.errors import SpecError


@pytest.mark.parametrize(
    ("text", "name", "sign", "number"),
    [
        ("val_accuracy >= 0.99", "val_accuracy", ">=", 0.99),
        ("loss<1e-3", "loss", "<", 1e-3),
        ("val/loss <= -.5", "val/loss", "<=", -0.5),
        ("val.loss == +3.", "val.loss", "==", 3.0),
        ("'val loss' != 0", "val loss", "!=", 0.0),
        ('"a and b" > 2', "a and b", ">", 2.0),
        ("`x-y` > inf", "x-y", ">", math.inf),
        ("  précision > 1\n", "précision", ">", 1.0),
    ],
)
def test_a_comparison(text, name, sign, number):
    assert parse_condition(text) == Comparison(name, sign, number)


def test_and_binds_more_than_or_and_brackets_most():
    a, b, c = (Comparison(name, ">", 1.0) for name in "abc")
    assert parse_condition("a > 1 or b > 1 and c > 1") == Joined("or", (a, Joined("and", (b, c))))
    assert parse_condition("(a > 1 or b > 1) and c > 1") == Joined("and", (Joined("or", (a, b)), c))
    assert parse_condition("((a > 1))") == a
    assert parse_condition("a > 1 and b > 1 and a > 1").names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "metrics", "met"),
    [
        ("a >= 1", {"a": 1}, True),
        ("a > 1", {"a": 1}, False),
        ("a <= 1", {"a": 1}, True),
        ("a < 1", {"a": 0.5}, True),
        ("a == 1", {"a": 1.0}, True),
        ("a != 1", {"a": 1.0}, False),
        ("a > 1", {}, False),
        ("a > 1", {"b": 2}, False),
        ("a > 1", {"a": math.nan}, False),
        ("a > 1 and b > 1", {"a": 2}, False),
        ("a > 1 or b > 1", {"a": 2}, True),
        ("a > 1 and (b < 1 or c < 1)", {"a": 2, "b": 3, "c": 0}, True),
    ],
)
def test_whether_it_is_met(text, metrics, met):
    assert parse_condition(text).met(metrics) is met


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("acc", "ends where a comparison after acc should stand"),
        ("acc >", "ends where a number after > should stand"),
        ("acc > high", "'high' stands where a number after > should"),
        ("acc = 1", "'= 1' can't be read"),
        ("0.9 < acc", "'0.9' stands where a metric should"),
        ("acc > 1 2", "'2' is one too many"),
        ("acc > 1x", "can't be read"),
        ("(acc > 1", "ends where a closing bracket should stand"),
        ("acc > 1)", "')' is one too many"),
        ("and > 1", "'and' stands where a metric should"),
        ("not acc > 1", "'not' stands where a metric should"),
        ("acc > 1 and", "ends where a metric should stand"),
        ("__import__('os').system('touch x') > 1", "can't be read"),
        ("f(x) > 1", "'(' stands where a comparison after f should"),
        ("0 if acc else 1", "'0' stands where a metric should"),
        ("(" * 5000 + "a > 1" + ")" * 5000, "too many brackets"),
    ],
)
def test_what_is_no_condition(text, says):
    with pytest.raises(SpecError) as caught:
        parse_condition(text)
    assert says in str(caught.value)
    assert caught.value.key == "stop_when"
    assert "write a metric, one of" in str(caught.value)
