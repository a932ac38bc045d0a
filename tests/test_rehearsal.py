"""What a plan knows of a sampler and a pruner before anything runs."""

import subprocess
import sys

import optuna
import pytest

from ml_experiment_nb.algorithms import Pruner, Sampler
from ml_experiment_nb.checks import check_search
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.rehearsal import make_pruner, make_sampler
from ml_experiment_nb.specs import spec_from_mapping

SPACE = {"C": "loguniform(0.01, 1000)", "gamma": "choice(['scale', 'auto'])", "depth": "range(1, 10, 2)"}
FINITE = {"a": "choice([1, 'x', None])", "b": ["range(0, 4)", "choice([[1], [2]])"]}
TWO = [{"name": "acc", "direction": "maximize"}, {"name": "size"}]


def group(**keys):
    return spec_from_mapping({"kind": "group", "run": "train.py", "param_space": SPACE, **keys})


def check(**keys):
    check_search(group(**keys))


@pytest.mark.parametrize("name", Sampler.NAMES)
@pytest.mark.parametrize("metric", [None, "acc", TWO], ids=["none", "one", "two"])
def test_every_sampler_is_tried_out(name, metric):
    if name == "GP":
        pytest.importorskip("torch")
    space = FINITE if name in ("Grid", "BruteForce") else SPACE
    if name == "CmaEs" and metric is TWO:
        with pytest.raises(SpecError, match="CmaEs can't optimise several metrics: use TPE"):
            check(sampler=name, param_space=space, metric=metric)
    else:
        check(sampler=name, param_space=space, metric=metric)


@pytest.mark.parametrize(
    ("sampler", "key", "says"),
    [
        ({"name": "TPE", "n_startup_trial": 3}, "sampler.n_startup_trial", "did you mean 'n_startup_trials'"),
        ({"name": "Random", "zzz": 3}, "sampler.zzz", "it takes seed"),
        ({"name": "TPE", "n_startup_trials": "many"}, "sampler", "can't draw"),
        ({"name": "NSGAII", "population_size": 1}, "sampler", "population_size"),
        ({"name": "NSGAII", "mutation_prob": 7}, "sampler", "mutation_prob"),
        ({"name": "QMC", "qmc_type": "magic"}, "sampler", "qmc_type"),
        ({"name": "CmaEs", "sigma0": "wide"}, "sampler", "CmaEs"),
        ({"name": "TPE", "seed": "one"}, "sampler", "TPE"),
        ({"name": "Grid", "search_space": {}}, "sampler.search_space", "leave it out"),
        ("Grid", "param_space.C", "is continuous"),
        ("BruteForce", "param_space.C", "is continuous"),
        ("tpe(n_startup_trial=3)", "sampler.n_startup_trial", "did you mean 'n_startup_trials'"),
    ],
)
def test_a_sampler_that_can_not_be(sampler, key, says):
    with pytest.raises(SpecError) as caught:
        check(sampler=sampler)
    assert (caught.value.key, says in caught.value.problem) == (key, True), caught.value


@pytest.mark.slow
@pytest.mark.parametrize("name", Pruner.NAMES)
def test_every_pruner_is_tried_out(name):
    options = {"Threshold": {"lower": 0.0}}.get(name, {})
    check(pruner={"name": name, **options}, metric="acc")


@pytest.mark.parametrize(
    ("pruner", "key", "says"),
    [
        ({"name": "Median", "n_warmup_step": 3}, "pruner.n_warmup_step", "did you mean 'n_warmup_steps'"),
        ({"name": "Median", "n_startup_trials": "few"}, "pruner", "Median"),
        ({"name": "Percentile", "percentile": 200}, "pruner", "Percentile"),
        ("Threshold", "pruner", "lower or upper"),
        ({"name": "Hyperband", "max_resource": "lots"}, "pruner", "max_resource"),
        ({"name": "Patient", "patience": -1}, "pruner", "patience"),
        ({"name": "Patient", "wrapped_pruner": {"name": "medan"}}, "pruner", "did you mean 'Median'"),
        ({"name": "Wilcoxon", "p_threshold": 2}, "pruner", "p_threshold"),
        ("percentile(percentile=200)", "pruner", "Percentile"),
    ],
)
def test_a_pruner_that_can_not_be(pruner, key, says):
    with pytest.raises(SpecError) as caught:
        check(pruner=pruner)
    assert (caught.value.key, says in caught.value.problem) == (key, True), caught.value


def test_several_metrics_are_not_pruned():
    with pytest.raises(SpecError, match=r"can't be judged by several metrics.*leave the pruner out"):
        check(pruner="median", metric=TWO)
    check(pruner="none", metric=TWO)


def test_a_patient_pruner_may_wrap_another():
    made = make_pruner(group(pruner={"name": "patient", "patience": 2, "wrapped_pruner": "median"}))
    assert isinstance(made, optuna.pruners.PatientPruner)
    assert isinstance(made._wrapped_pruner, optuna.pruners.MedianPruner)


def test_trials_that_run_at_once_do_not_draw_alike_unless_that_is_asked_for():
    assert make_sampler(group())._constant_liar is True
    assert make_sampler(group(sampler={"name": "tpe", "constant_liar": False}))._constant_liar is False


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match="CmaEsSampler needs the package cmaes, which isn't here"):
        check(sampler="cma-es")


def test_a_rehearsal_says_nothing_and_leaves_no_trace(project, capfd, recwarn):
    check(sampler={"name": "TPE", "multivariate": True, "group": True}, pruner="hyperband", metric="acc")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert list(project.iterdir()) == []


# --- points to begin with ---


@pytest.mark.parametrize(
    ("keys", "key", "says"),
    [
        ({"enqueue": [{"C": 1}, {"C": 0.001}]}, "enqueue[1].C", "0.001 is outside of loguniform(0.01, 1000)"),
        ({"enqueue": [{"gama": "auto"}]}, "enqueue[0].gama", "isn't in param_space; did you mean 'gamma'?"),
        ({"enqueue": [{"depth": 2}]}, "enqueue[0].depth", "2 is outside of range(1, 10, 2)"),
        ({"enqueue": [{"kernel": "rbf"}], "params": {"kernel": "rbf"}}, "enqueue[0].kernel", "is fixed for all trials"),
        ({"enqueue": [{"C": 1}] * 3, "num_trials": 2}, "enqueue", "has 3 points, and num_trials is 2"),
        ({"enqueue": [{"a": 1}], "sampler": "grid", "param_space": FINITE}, "enqueue", "tries every point anyway"),
        ({"enqueue": [{"b": [1]}], "param_space": FINITE}, "enqueue[0].b", "[1] is no list of 2 values"),
        ({"enqueue": [{"b": [1, [3]]}], "param_space": FINITE}, "enqueue[0].b", "[3] is outside of"),
    ],
)
def test_a_point_that_can_not_be(keys, key, says):
    with pytest.raises(SpecError) as caught:
        check(**keys)
    assert (caught.value.key, says in caught.value.problem) == (key, True), caught.value


def test_points_that_can_be():
    check(enqueue=[{"C": 1, "gamma": "auto", "depth": 9}, {"C": 0.01}])
    check(enqueue=[{"anything": 1}], param_space={})
    check(enqueue=[{"a": None, "b": [3, [2]]}], param_space=FINITE)


def test_an_open_space_has_no_grid():
    with pytest.raises(SpecError, match="Grid needs to know the space"):
        check(sampler="grid", param_space={})
    check(sampler="brute-force", param_space={})


# --- cheap ---


def test_a_plan_of_a_group_that_asks_for_nothing_special_needs_no_optuna(project, script):
    script("C = 1", "train.py")
    code = (
        "import sys; from ml_experiment_nb import make_plan; from ml_experiment_nb.specs import spec_from_mapping\n"
        "make_plan(spec_from_mapping({'kind': 'group', 'run': 'train.py', 'param_space': {'C': 'uniform(0, 1)'},\n"
        "                             'enqueue': [{'C': 1}], 'seed': 1}))\n"
        "print('optuna' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "False\n"
