"""What a spec says of the libraries that are recorded by themselves."""

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.jobs import job
from ml_experiment_nb.libraries import LIBRARIES, Autolog, read_autolog
from ml_experiment_nb.observing import ObservingOptions, autologging
from ml_experiment_nb.specs import spec_from_mapping, to_mapping
from ml_experiment_nb.words import autolog_keys


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, Autolog()),
        (True, Autolog()),
        (False, Autolog(libraries=())),
        ("xgboost", Autolog(libraries=("xgboost",))),
        (["scikit-learn", "pytorch", "Keras", "tensorflow"], Autolog(libraries=("sklearn", "torch", "keras"))),
        ({"log_models": False}, Autolog(log_models=False)),
        ({"libraries": ["lightgbm"], "log_plots": True}, Autolog(libraries=("lightgbm",), log_plots=True)),
    ],
)
def test_forms_of_autolog_are_read_and_written(given, meant):
    assert read_autolog(given) == meant
    spec = spec_from_mapping({"run": "train.py", "autolog": given})
    assert spec.autolog == meant
    assert spec_from_mapping(to_mapping(spec)) == spec


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["xgbost"], "'xgbost' is no library that is recorded; did you mean 'xgboost'?"),
        (["prophet"], "they are fastai, keras, lightgbm"),
        ({"log_model": True}, "did you mean 'log_models'?"),
        (3, "must be true, false, names of libraries or a mapping, not 3"),
        ({"libraries": 3}, "must be a list of names"),
    ],
)
def test_what_makes_no_sense_is_named(given, said):
    with pytest.raises(SpecError, match="autolog") as raised:
        spec_from_mapping({"run": "train.py", "autolog": given})
    assert said in str(raised.value)


def test_a_model_is_kept_of_an_experiment_and_not_of_a_trial_unless_it_is_asked_for():
    group = {"run": "train.py", "param_space": {"C": "uniform(0, 1)"}}
    assert ObservingOptions.of(spec_from_mapping({"run": "train.py"})).autolog["models"] is True
    assert ObservingOptions.of(spec_from_mapping(group)).autolog["models"] is False
    assert ObservingOptions.of(spec_from_mapping({**group, "autolog": {"log_models": True}})).autolog["models"] is True


def test_what_is_typed_becomes_the_key():
    assert autolog_keys(None, False) == {}
    assert autolog_keys(None, True) == {"autolog": False}
    assert autolog_keys("sklearn, xgboost", False) == {"autolog": ["sklearn", "xgboost"]}
    with pytest.raises(SpecError, match="give one of them"):
        autolog_keys("sklearn", True)


def test_a_job_checks_its_autolog_at_once():
    with pytest.raises(SpecError, match="did you mean 'lightgbm'"):
        job(autolog=["lightgmb"])(lambda: None)
    assert job(autolog=False)(lambda: None).more == {"autolog": Autolog(libraries=())}


def test_every_library_has_a_module_that_is_waited_for():
    assert set(autologging.MODULES.values()) == set(LIBRARIES)
