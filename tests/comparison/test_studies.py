import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ml_experiment_nb.comparison.studies import distributions, study_of
from ml_experiment_nb.records import Record, Status, now


def record(params, metrics, status=Status.FINISHED):
    return Record("a" * 32, "a", "a", "experiment", status, params, metrics, now(), 1.0)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.1, 0.5], FloatDistribution(0.1, 0.5)),
        ([0.001, 0.5], FloatDistribution(0.001, 0.5, log=True)),
        ([-1.0, 500.0], FloatDistribution(-1, 500)),
        ([1, 5], IntDistribution(1, 5)),
        ([1, 1000], IntDistribution(1, 1000, log=True)),
        ([1, 2.5], FloatDistribution(1, 2.5)),
        (["a", "b", "a"], CategoricalDistribution(["a", "b"])),
        ([True, False], CategoricalDistribution([True, False])),
        ([1, "auto", None], CategoricalDistribution([1, "auto", None])),
        ([1.0, math.inf], CategoricalDistribution([1.0, math.inf])),
    ],
)
def test_every_value_is_in_its_distribution(values, wanted):
    assert distributions([{"x": value} for value in values]) == {"x": wanted}


@pytest.mark.parametrize("large", [10**400, "1" + "0" * 400, 10**5000, "7" * 5000], ids=range(4))
def test_a_number_that_no_double_holds_is_a_choice(large):
    trials = study_of([record({"C": large}, {"m": 1.0}), record({"C": 2}, {"m": 2.0})], ["m"], [False]).trials
    assert isinstance(trials[0].distributions["C"], CategoricalDistribution)
    assert [type(trial.params["C"]) for trial in trials] == [str, int]


def test_parameters_read_from_a_store_are_text():
    records = [
        record({"C": text, "k": k}, {"m": 1.0}) for text, k in (("0.5", "rbf"), ("1e-3", "[1, 2]"), ("2", "nan"))
    ]
    trials = study_of(records, ["m"], [False]).trials
    assert [trial.params for trial in trials] == [
        {"C": 0.5, "k": "rbf"},
        {"C": 0.001, "k": "[1, 2]"},
        {"C": 2, "k": "nan"},
    ]


def test_runs_that_say_nothing_of_the_metric_are_left_out():
    records = [
        record({"C": 1}, {"m": 1.0}),
        record({"C": 2}, {"m": 1.0}, Status.FAILED),
        record({"C": 3}, {"m": math.nan}),
        record({"C": 4}, {}),
        record({}, {"m": 2.0}),
    ]
    [trial] = study_of(records, ["m"], [True]).trials
    assert trial.params == {"C": 1}
