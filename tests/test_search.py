import math

import optuna
import pytest
from made_studies import FINISHED, SPACE, ask_all, study_of
from optuna.trial import TrialState

from ml_experiment_nb.algorithms import Pruner, Sampler
from ml_experiment_nb.errors import MetricError, SpecError, StoreError
from ml_experiment_nb.records import Failure, Outcome, Status


def states(search):
    return [trial.state for trial in study_of(search).trials]


@pytest.mark.parametrize("name", Sampler.NAMES)
@pytest.mark.parametrize("parallel", [1, 3])
def test_every_sampler_asks_and_is_told(search, name, parallel):
    if name == "GP":
        pytest.importorskip("torch")
    space = {"a": "choice([1, 2, 3])", "b": "range(0, 4)"} if name in ("Grid", "BruteForce") else SPACE
    found = search(sampler=name, param_space=space, num_trials=12)
    told = 0
    while draws := [draw for draw in (found.ask() for _ in range(parallel)) if draw]:
        for draw in draws:
            assert list(draw.params) == list(space)
            found.tell(draw.number, FINISHED, {"acc": draw.number / 10})
            told += 1
    assert told == 12
    assert states(found) == [TrialState.COMPLETE] * 12


@pytest.mark.parametrize("name", ["Grid", "BruteForce"])
@pytest.mark.parametrize("parallel", [1, 4, 100])
def test_an_exhaustive_search_tries_every_point_once_and_ends(search, name, parallel):
    found = search(sampler=name, param_space={"a": "choice([1, 'x', None])", "b": "randint(1, 2)"})
    seen = []
    while draws := [draw for draw in (found.ask() for _ in range(parallel)) if draw]:
        seen += [(draw.params["a"], draw.params["b"]) for draw in draws]
        for draw in draws:
            found.tell(draw.number, FINISHED, {"acc": 0.5})
    assert sorted(seen, key=str) == sorted([(a, b) for a in (1, "x", None) for b in (1, 2)], key=str)
    assert found.ask() is None


def test_a_grid_may_be_cut_short(search):
    assert len(ask_all(search(sampler="grid-search", param_space={"a": "range(0, 10)"}, num_trials=4))) == 4


def test_a_grid_of_real_numbers_is_refused(search):
    with pytest.raises(SpecError, match="C"):
        search(sampler="Grid")


@pytest.mark.parametrize("name", ["CmaEs", "QMC"])
def test_what_a_plan_tells_of_a_choice_is_not_told_in_each_trial(search, name, caplog, capfd):
    optuna.logging.enable_propagation()
    try:
        ask_all(search(sampler=name, num_trials=4))
    finally:
        optuna.logging.disable_propagation()
    assert "independently" not in caplog.text + capfd.readouterr().err


@pytest.mark.parametrize("name", ["TPE", "Random", "CmaEs", "QMC", "NSGAII", "Grid"])
def test_a_seed_repeats_the_draws(search, name):
    space = {"a": "range(0, 5)", "b": "choice([1, 2])"} if name == "Grid" else SPACE
    first, second = (
        [draw.params for draw in ask_all(search(f"s{k}", sampler=name, param_space=space, num_trials=8, seed=7))]
        for k in range(2)
    )
    assert first == second


def test_another_seed_draws_otherwise(search):
    first, second = (
        [draw.params for draw in ask_all(search(f"s{k}", sampler="Random", num_trials=4, seed=k))] for k in range(2)
    )
    assert first != second


def test_draws_are_plain_python_of_the_right_type(search):
    draw = search(seed=1).ask()
    assert {name: type(value) for name, value in draw.params.items()} == {"C": float, "gamma": str, "depth": int}
    assert 0.01 <= draw.params["C"] <= 1000
    assert draw.params["depth"] in (1, 3, 5, 7, 9)


def test_a_list_of_distributions_draws_one_a_position(search):
    found = search(
        param_space={"layers": ["randint(8, 16)", "randint(100, 200)", "choice([5])"], "C": "uniform(0, 1)"}, seed=1
    )
    for _ in range(5):
        draw = found.ask()
        first, second, third = draw.params["layers"]
        assert 8 <= first <= 16
        assert 100 <= second <= 200
        assert third == 5
        found.tell(draw.number, FINISHED, {"acc": 0.5})


# ------------------------------------------------------------------------------------------------ told


def test_the_study_knows_what_came_of_each_trial(search):
    found = search(num_trials=5)
    for outcome in (
        FINISHED,
        Outcome(Status.FAILED, Failure("ValueError", "x")),
        Outcome(Status.PRUNED),
        Outcome(Status.KILLED),
        FINISHED,
    ):
        draw = found.ask()
        found.tell(draw.number, outcome, {"acc": 0.25, "other": 3.0})
    complete, fail, pruned = TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED
    assert states(found) == [complete, fail, pruned, fail, complete]
    assert study_of(found).best_value == 0.25
    assert study_of(found).direction == optuna.study.StudyDirection.MAXIMIZE


def test_a_metric_that_never_came_names_the_nearest(search):
    found = search()
    with pytest.raises(MetricError, match=r"'acc' was never reported.*it reported ac, loss.*did you mean 'ac'"):
        found.tell(found.ask().number, FINISHED, {"ac": 0.5, "loss": 1.0})
    assert states(found) == [TrialState.FAIL]


def test_no_metrics_at_all(search):
    found = search()
    with pytest.raises(MetricError, match=r'no metrics at all.*return \{"acc": value\}'):
        found.tell(found.ask().number, FINISHED, {})


def test_nan_is_a_failure_and_infinity_a_value(search):
    found = search(num_trials=2)
    with pytest.raises(MetricError, match="acc is nan"):
        found.tell(found.ask().number, FINISHED, {"acc": math.nan})
    found.tell(found.ask().number, FINISHED, {"acc": math.inf})
    assert states(found) == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_failed_trial_needs_no_metric(search):
    found = search()
    found.tell(found.ask().number, Outcome(Status.FAILED), {})
    assert states(found) == [TrialState.FAIL]


def test_a_group_without_a_metric_only_tries_its_points(search):
    found = search(metric=None, num_trials=3)
    while draw := found.ask():
        found.tell(draw.number, FINISHED, {})
    assert states(found) == [TrialState.COMPLETE] * 3


# ------------------------------------------------------------------------------------------------ pruning


def test_the_median_pruner_gives_the_worse_half_up(search):
    found = search(pruner={"name": "median", "n_startup_trials": 2, "n_warmup_steps": 1}, num_trials=4)
    verdicts = []
    for value in (0.9, 0.8, 0.1, 0.95):
        draw = found.ask()
        verdicts.append([found.report(draw.number, value, step) for step in range(3)])
        pruned = any(verdicts[-1])
        found.tell(draw.number, Outcome(Status.PRUNED) if pruned else FINISHED, {"acc": value})
    assert verdicts == [[False] * 3, [False] * 3, [False, True, True], [False] * 3]
    assert states(found)[2] == TrialState.PRUNED
    assert study_of(found).trials[2].intermediate_values == {0: 0.1, 1: 0.1, 2: 0.1}


def test_a_step_reported_twice_keeps_its_first_value(search, recwarn):
    found = search(pruner="median")
    draw = found.ask()
    found.report(draw.number, 0.5, 0)
    found.report(draw.number, 0.7, 0)
    assert study_of(found).trials[0].intermediate_values == {0: 0.5}
    assert not recwarn.list


def test_a_step_that_optuna_does_not_take_prunes_nothing(search):
    found = search(pruner="median")
    assert found.report(found.ask().number, 0.5, -1) is False


def test_nan_on_the_way_is_no_crash(search):
    found = search(pruner={"name": "median", "n_startup_trials": 0})
    first, second = found.ask(), found.ask()
    assert found.report(first.number, math.nan, 0) in (True, False)
    assert found.report(second.number, 0.5, 0) in (True, False)


@pytest.mark.parametrize("name", Pruner.NAMES)
def test_every_pruner_is_made_and_judges(search, name):
    options = {"Threshold": {"lower": 0.0}}.get(name, {})
    found = search(pruner={"name": name, **options}, num_trials=3)
    for _ in range(3):
        draw = found.ask()
        for step in range(3):
            assert found.report(draw.number, 0.5, step) in (True, False)
        found.tell(draw.number, FINISHED, {"acc": 0.5})
    found.close()


# ------------------------------------------------------------------------------------------------ asked wrongly


@pytest.mark.parametrize(
    ("keys", "key", "text"),
    [
        ({"sampler": {"name": "TPE", "n_startup_trial": 3}}, "sampler.n_startup_trial", "'n_startup_trials'"),
        ({"sampler": {"name": "Random", "zzz": 3}}, "sampler.zzz", "it takes seed"),
        ({"pruner": {"name": "Median", "n_warmup_step": 3}}, "pruner.n_warmup_step", "'n_warmup_steps'"),
        ({"pruner": {"name": "Percentile", "percentile": 200}}, "pruner", "Percentile"),
        ({"pruner": "Threshold"}, "pruner", "lower"),
        ({"sampler": {"name": "TPE", "n_startup_trials": "many"}}, "sampler", "TPE can't draw"),
    ],
)
def test_an_option_that_is_wrong(search, keys, key, text):
    with pytest.raises(SpecError) as caught:
        search(**keys).ask()
    assert caught.value.key == key
    assert text in caught.value.problem


def test_a_grid_takes_no_search_space_of_its_own(search):
    with pytest.raises(SpecError, match="param_space"):
        search(sampler={"name": "Grid", "search_space": {"a": [9]}}, param_space={"a": "range(0, 2)"})


@pytest.mark.parametrize("storage", ["sqlite:////no/such/folder/x.db", "nonsense://x", "/proc/no/x.log"])
def test_a_storage_that_can_not_be_opened(search, storage):
    with pytest.raises(StoreError, match="can't be opened"):
        search(storage=storage)


def test_a_storage_that_is_away_is_told_in_a_line_without_its_password(search):
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as caught:
        search(storage="postgresql://me:s3cr3t@127.0.0.1:1/x")
    assert "postgresql://me:***@127.0.0.1:1/x can't be opened: (psycopg.OperationalError)" in str(caught.value)
    assert [one for one in ("\n", "s3cr3t", "sqlalche.me") if one in str(caught.value)] == []


# ------------------------------------------------------------------------------------------------ kept


def test_closing_leaves_no_trial_running(search):
    found = search(num_trials=5)
    draws = [found.ask() for _ in range(4)]
    found.tell(draws[1].number, FINISHED, {"acc": 0.5})
    found.close()
    found.close()
    assert states(found) == [TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]


def test_a_draw_that_failed_is_closed_too(search):
    found = search(sampler={"name": "TPE", "n_startup_trials": "many"})
    with pytest.raises(SpecError):
        found.ask()
    found.close()
    assert states(found) == [TrialState.FAIL]


def test_a_sampler_whose_package_is_missing_names_it(search, monkeypatch):
    found = search()

    def ask(**_):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(found._study, "ask", ask)
    with pytest.raises(SpecError, match="torch"):
        found.ask()


def test_closing_a_grid_whose_last_points_are_running(search):
    found = search(sampler="Grid", param_space={"a": "range(0, 3)"})
    for _ in range(3):
        found.ask()
    found.close()
    assert states(found) == [TrialState.FAIL] * 3
