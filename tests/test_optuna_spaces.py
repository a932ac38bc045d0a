import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ml_experiment_nb.errors import SpaceError
from ml_experiment_nb.optuna_spaces import from_optuna, grid, to_optuna
from ml_experiment_nb.spaces import Choice, LogUniform, RandInt, Range, Uniform, contains

SPACE = {
    "C": LogUniform(0.01, 1000),
    "depth": Range(0, 10, 4),
    "width": (RandInt(1, 2), Uniform(0, 1, 0.3)),
    "gamma": Choice(("scale", None, 2)),
    "layers": Choice(([64, 64], (8,), "[64, 64]")),
    "flag": Choice((1, True)),
}
STORED_LAYERS = ("[64, 64]", "(8,)", "'[64, 64]'")


@pytest.mark.filterwarnings("error")
def test_a_space_in_optuna_s_form_and_back():
    assert to_optuna(SPACE) == {
        "C": FloatDistribution(0.01, 1000, log=True),
        "depth": IntDistribution(0, 8, step=4),
        "width[0]": IntDistribution(1, 2),
        "width[1]": FloatDistribution(0, 0.9, step=0.3),
        "gamma": CategoricalDistribution(("scale", None, 2)),
        "layers": CategoricalDistribution(STORED_LAYERS),
        "flag": CategoricalDistribution(("1", "True")),
    }
    flat = {
        "C": 0.5, "depth": 4, "width[0]": 2, "width[1]": 0.3, "gamma": None, "layers": "(8,)", "flag": "True"
    }  # fmt: skip
    assert from_optuna(SPACE, flat) == {
        "C": 0.5,
        "depth": 4,
        "width": [2, 0.3],
        "gamma": None,
        "layers": (8,),
        "flag": True,
    }


def test_what_optuna_draws_the_space_contains():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        drawn = from_optuna(SPACE, study.ask(to_optuna(SPACE)).params)
        width = drawn.pop("width")
        assert all(contains(SPACE[name], value) for name, value in drawn.items())
        assert [contains(d, v) for d, v in zip(SPACE["width"], width, strict=True)] == [True, True]


def test_a_drawn_list_is_the_trial_s_own():
    space = {"layers": Choice(([64],))}
    drawn = from_optuna(space, {"layers": "[64]"})
    drawn["layers"].append(8)
    assert from_optuna(space, {"layers": "[64]"}) == {"layers": [64]}


@pytest.mark.parametrize("flat", [{}, {"layers": "[1]"}])
def test_another_study_s_parameters_are_an_error(flat):
    with pytest.raises(SpaceError, match="another space") as raised:
        from_optuna({"layers": Choice(([64],))}, flat)
    assert raised.value.key == "param_space.layers"


def test_a_grid_lists_every_value_and_optuna_walks_it():
    space = {name: value for name, value in SPACE.items() if name != "C"}
    assert grid(space) == {
        "depth": [0, 4, 8],
        "width[0]": [1, 2],
        "width[1]": [0.0, 0.3, 0.6, 0.9],
        "gamma": ["scale", None, 2],
        "layers": list(STORED_LAYERS),
        "flag": ["1", "True"],
    }
    small = {"width": SPACE["width"]}
    study = optuna.create_study(sampler=optuna.samplers.GridSampler(grid(small)))
    drawn = set()
    for _ in range(8):
        trial = study.ask(to_optuna(small))
        drawn.add(tuple(trial.params.values()))
        trial.study.stop = lambda: None  # the grid's last tell wants to stop an `optimize`
        study.tell(trial, 0.0)
    assert drawn == {(w, h) for w in (1, 2) for h in (0.0, 0.3, 0.6, 0.9)}


@pytest.mark.parametrize(
    ("distribution", "problem"),
    [
        (Uniform(0, 1), "uniform(0, 1) is continuous, and a grid lists every value: give it a step"),
        (LogUniform(1, 10), "write choice([...])"),
        (RandInt(0, 10**9), "1,000,000,001 values, too many for a grid"),
        (Uniform(0, 1, 1e-9), "too many for a grid"),
    ],
)
def test_what_a_grid_can_t_list_is_an_error(distribution, problem):
    with pytest.raises(SpaceError) as raised:
        grid({"C": (distribution,)})
    assert problem in str(raised.value)
    assert raised.value.key == "param_space.C[0]"
