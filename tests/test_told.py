import pytest

from ml_experiment_nb.absences import Waiting
from ml_experiment_nb.entries import PARAM_LENGTH
from ml_experiment_nb.events import Metrics
from ml_experiment_nb.masking import Veil
from ml_experiment_nb.told import Told


@pytest.fixture
def saved():
    return {}


@pytest.fixture
def told(saved):
    return Told(Veil(), saved.__setitem__)


def test_the_first_value_of_a_parameter_is_the_run_s(told):
    told.add_params({"C": 0.5})
    told.add_params({"C": 0.5, "kernel": "rbf"})
    assert (told.params, told.notes) == ({"C": 0.5, "kernel": "rbf"}, [])
    told.add_params({"C": 1.0})
    assert told.params["C"] == 0.5
    assert told.notes == ["parameter 'C' was given as 0.5; the code ran with 1.0"]
    assert [(one.key, one.value) for one in told.new_params] == [("C", "0.5"), ("kernel", "rbf")]


def test_a_long_parameter_is_kept_whole_beside(told, saved):
    text = "x" * (PARAM_LENGTH + 1)
    told.add_params({"words": text})
    assert saved == {"params/words.txt": text}
    assert [len(one.value) for one in told.new_params] == [PARAM_LENGTH]
    assert told.params == {"words": text}


def test_a_parameter_of_bytes_that_are_no_text_is_written_so_that_a_store_takes_it(told):
    told.add_params({"file": "caf\udce9.csv"})
    assert [one.value for one in told.new_params] == ["caf\\udce9.csv"]
    assert told.params == {"file": "caf\udce9.csv"}


def test_a_library_s_own_parameters_stand_apart(told):
    told.add_autologged({"C": 1.0, "gamma": "scale"})
    told.add_params({"C": 1.0})
    assert (told.params, told.autologged, told.notes) == ({"C": 1.0}, {"gamma": "scale"}, [])


def test_a_value_without_a_step_comes_after_the_last_one(told):
    told.add_metrics(Metrics({"loss": 2.0}, step=3, time=10.0))
    told.add_metrics(Metrics({"loss": 1.0}, time=10.0))
    first, second = told.pending
    assert (second.step, second.timestamp) == (3, first.timestamp + 1)
    assert told.metrics == {"loss": 1.0}


def test_what_the_code_itself_tells_comes_before_a_library_s_own(told):
    told.add_metrics(Metrics({"training_score": 1.0}, autologged=True))
    assert "mlexp.metrics" not in told.new_tags
    told.add_metrics(Metrics({"val_acc%": 0.5}))
    told.add_metrics(Metrics({"SVC_score": 0.75}, autologged=True))
    assert list(told.metrics_by_worth()) == ["val_acc%", "training_score", "SVC_score"]
    assert told.new_tags == {"mlexp.metrics": '["val_acc_"]'}


def test_a_note_is_taken_once_in_the_list_that_others_hold(told):
    held = told.notes
    told.note("a")
    told.note("a")
    told.add_autologged({"C": 1.0})
    told.add_params({"C": 2.0})
    assert told.notes is held
    assert held[0] == "a"
    assert len(held) == 2


def test_what_another_driver_left_is_to_be_written(told):
    before = Told(Veil(), lambda name, text: None)
    before.add_params({"C": 0.5})
    before.add_metrics(Metrics({"loss": 1.0}, step=0))
    before.note("one")
    told.note("two")
    told.take_over(before.waiting())
    assert not told.is_written
    assert (told.metrics, told.notes) == ({"loss": 1.0}, ["two", "one"])
    told.take_over(Waiting())
    assert told.is_written
