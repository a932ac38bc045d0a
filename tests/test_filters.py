from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.filters import Name, read_filter, read_name
from ml_experiment_nb.records import Record, Status

RUN = Record(
    "a" * 32, "SVM one", "svm", "trial", Status.FINISHED, {"C": "0.5", "kernel": "rbf", "both": "3"},
    {"val_accuracy": 0.9, "val/loss": 0.1, "both": 7.0}, datetime(2026, 11, 5, tzinfo=UTC), 12.0,
    number=4, parent_id="b" * 32, tags={"team": "vision", "note.long": "it's"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("metrics.val_accuracy > 0.89", True),
        ("metrics.val_accuracy > 0.9", False),
        ("metrics.val_accuracy >= 0.9 and params.kernel = 'rbf'", True),
        ("metrics.val_accuracy >= 0.9 AND params.kernel = 'poly'", False),
        ("params.kernel = 'poly' or kernel = rbf", True),
        ("kernel = rbf or kernel = poly and C > 1", True),
        ("(kernel = rbf", None),
        ("metrics.`val/loss` < 1e0", True),
        ('metrics."val/loss" < .2', True),
        ("val/loss <= 0.1", True),
        ("params.C = 0.50", True),
        ("params.C = '0.50'", False),
        ("C != 0.5", False),
        ("C > -1", True),
        ("kernel > 1", False),
        ("missing = 1", False),
        ("missing != 1", False),
        ("params.kernel LIKE 'r_f'", True),
        ("params.kernel like 'R%'", False),
        ("params.kernel ILIKE 'R%'", True),
        ("params.kernel like 'r.f'", False),
        ("params.kernel in ('poly', 'rbf')", True),
        ("params.kernel not in ('poly', 'rbf')", False),
        ("params.C in (1, 0.5)", True),
        ("tags.team = 'vision'", True),
        ('tags.`note.long` = "it\'s"', True),
        ("attributes.status = 'finished' and attributes.kind = 'trial'", True),
        ("status = finished and experiment = svm", True),
        ("name = 'SVM one'", True),
        ("seconds < 12.5 and trial = 4", True),
        ("started >= '2026-11-01' and started < '2026-11-10T12:00'", True),
        ("attributes.start_time > 1700000000000", True),
        ("both = 7", True),
        ("params.both = 3", True),
    ],
)
def test_what_a_filter_says_of_a_run(text, met):
    if met is None:
        with pytest.raises(SpecError):
            read_filter(text)
    else:
        assert read_filter(text).met(RUN) is met


def test_a_metric_that_is_nan_meets_nothing():
    run = replace(RUN, metrics={"loss": float("nan")})
    assert not any(read_filter(f"loss {sign} 1").met(run) for sign in ("<", ">", "=", "<=", ">="))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "ends too early"),
        ("C", "ends too early"),
        ("C =", "ends too early"),
        ("C = 1 and", "ends too early"),
        ("C = 1 D = 2", "at 'D'"),
        ("C ~ 1", "at '~ 1'"),
        ("C = 'open", 'at "\'open"'),
        ("1 = C", "at '1'"),
        ("C in 1", "at '1'"),
        ("C in (1", "ends too early"),
        ("C in (1 2)", "at '2'"),
        ("attributes.statu = 'failed'", "did you mean 'status'"),
    ],
)
def test_what_can_not_be_read(text, why):
    with pytest.raises(SpecError) as caught:
        read_filter(text)
    assert why in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_names():
    assert read_name("metrics.a.b") == Name("metrics", "a.b")
    assert read_name("parameters.`x y`") == Name("params", "x y")
    assert read_name("val.acc") == Name("", "val.acc")
    assert read_name("status") == Name("attributes", "status")
