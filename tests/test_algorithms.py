import pytest

from ml_experiment_nb.specs import (
    Pruner,
    Sampler,
    spec_from_mapping,
)

GROUP = {"run": "a.py", "param_space": {"C": "range(3)"}}


@pytest.mark.parametrize(
    ("names", "canonical"),
    [
        (["TPE", "tpe", "TPESampler"], "TPE"),
        (["CMA-ES", "CmaEs", "cma_es", "cma"], "CmaEs"),
        (["GridSearch", "grid", "grid-search"], "Grid"),
        (["RandomSearch", "Random"], "Random"),
        (["gp"], "GP"),
        (["qmc"], "QMC"),
        (["NSGA-II", "nsga2"], "NSGAII"),
        (["nsgaiii"], "NSGAIII"),
        (["brute_force"], "BruteForce"),
    ],
)
def test_a_sampler_s_names(names, canonical):
    assert [spec_from_mapping({**GROUP, "samples": name}).sampler.name for name in names] == [canonical] * len(names)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("median", "Median"),
        ("percentile", "Percentile"),
        ("Hyperband", "Hyperband"),
        ("sha", "SuccessiveHalving"),
        ("successive-halving", "SuccessiveHalving"),
        ("patient", "Patient"),
        ("threshold", "Threshold"),
        ("WilcoxonPruner", "Wilcoxon"),
        ("nop", "Nop"),
        ("none", "Nop"),
    ],
)
def test_a_pruner_s_names(name, canonical):
    assert spec_from_mapping({**GROUP, "pruner": name}).pruner == Pruner(name=canonical)


def test_no_pruner_is_the_default():
    assert spec_from_mapping(GROUP).pruner is None
    assert spec_from_mapping({**GROUP, "pruner": None}).pruner is None


def test_an_algorithm_s_text():
    assert [str(Sampler(name="cma")), str(Pruner(name="sha", options={"min_resource": 2}))] == [
        "CmaEs",
        "SuccessiveHalving(min_resource=2)",
    ]


def test_the_canonical_names_are_optuna_s():
    optuna = pytest.importorskip("optuna")
    for name in Sampler.NAMES:
        assert hasattr(optuna.samplers, f"{name}Sampler")
    for name in Pruner.NAMES:
        assert hasattr(optuna.pruners, f"{name}Pruner")
