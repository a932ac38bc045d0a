import json

import pytest

from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.words import given, read_assignments, search_keys


def test_what_was_not_typed_asks_for_nothing():
    empty = {"trials": None, "maximize": (), "minimize": None, "enqueue": [], "define_by_run": False, "seed": None}
    assert search_keys(empty) == {}
    assert given(empty) == []


def test_the_keys_of_a_spec():
    typed = {
        "trials": 3, "sampler": "tpe(n_startup_trials=2)", "pruner": "median", "seed": 0, "timeout_per_trial": 1.5,
        "max_failures": 2, "stop_when": "a > 1", "storage": "sqlite:///x.db", "maximize": ["acc", "auc"],
        "minimize": ("size",), "enqueue": ["C=1 gamma=scale", "layers='[8, 16]'"],
    }  # fmt: skip
    assert search_keys(typed) == {
        "num_trials": 3, "sampler": "tpe(n_startup_trials=2)", "pruner": "median", "seed": 0,
        "timeout_per_trial": 1.5, "max_failures": 2, "stop_when": "a > 1", "storage": "sqlite:///x.db",
        "metric": [
            {"name": "acc", "direction": "maximize"},
            {"name": "auc", "direction": "maximize"},
            {"name": "size", "direction": "minimize"},
        ],
        "enqueue": [{"C": 1, "gamma": "scale"}, {"layers": [8, 16]}],
    }  # fmt: skip
    assert set(given(typed)) == set(typed)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [("C", ParameterError, "'C' is not NAME=VALUE"), ("C='1", SpecError, "--enqueue \"C='1\" can't be read")],
)
def test_a_point_that_can_not_be_read(text, error, says):
    with pytest.raises(error) as caught:
        search_keys({"enqueue": [text]})
    assert says in str(caught.value)


def test_read_assignments():
    assert read_assignments(["C=0.5", "name = a=b", "empty="]) == {"C": 0.5, "name": "a=b", "empty": ""}
    for wrong in ("C", "=1", "a b=1", "1a=2", ""):
        with pytest.raises(ParameterError, match=r"is not NAME=VALUE, such as C=0\.5"):
            read_assignments([wrong])
    assert json.dumps(read_assignments(["x=nan"])) == '{"x": NaN}'
