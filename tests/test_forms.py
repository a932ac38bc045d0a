import pytest
from made_records import experiment_record
from made_specs import EXAMPLES, PARAMS, parsed, whole, yaml

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.forms import RecordedSpec, as_file, asked_by
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.specs import Group, spec_from_mapping

# --- spec and file ---


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_every_key_goes_through_a_file(example, suffix):
    spec = whole(**yaml(example))
    form = as_file(RecordedSpec(spec), suffix)
    assert form.losses == ()
    assert spec_from_mapping(yaml(form.text)) == spec


def test_there_is_an_example_of_every_key():
    shown = {key for example in EXAMPLES for key in yaml(example)}
    assert set(Group.model_fields) - {"run"} <= shown | {"sampler", "samples"}


@pytest.mark.parametrize("params", PARAMS)
def test_parameters_go_through_a_file(params):
    spec = whole(params=params)
    assert spec_from_mapping(yaml(as_file(RecordedSpec(spec)).text)) == spec


def test_what_a_file_can_not_hold_is_said():
    form = as_file(RecordedSpec(whole(params={"C": (1, 2)}, kind="experiment")))
    assert form.losses == ("params.C is (1, 2), which a file holds as [1, 2]",)


def test_a_trial_that_has_drawn_by_itself_comes_back_with_what_it_drew():
    group = spec_from_mapping({"run": "a.py", "kind": "group", "param_space": {}, "params": {"n": 1}})
    found = asked_by(experiment_record(kind="trial", params={"n": 1, "kind": "svm", "C": 0.5}), spec_text(group))
    assert found.spec.kind == "experiment"
    assert found.spec.params == {"n": 1, "kind": "svm", "C": 0.5}


# --- from records ---


def test_what_the_record_can_not_tell():
    with pytest.raises(SpecError, match="no spec is kept with the run 'n'"):
        asked_by(experiment_record(), None)
    text = "name: f\nrun: [{function: '__main__:f'}]\n"
    with pytest.raises(SpecError, match="f was defined where it was called"):
        asked_by(experiment_record(), text)
    text = spec_text(parsed("%%group x\nC = choice([1, '1'])\nC"))
    with pytest.raises(SpecError, match="C: the record has it as '1', which doesn't tell its options apart"):
        asked_by(experiment_record(kind="trial", params={"C": "1"}), text)


@pytest.mark.parametrize(
    "value", ["choice([None, (1, 2), 'x', 0.1])", "range(9)", "loguniform(1e-9, 1)", "uniform(0, 1)"]
)
def test_a_trial_s_values_are_what_they_were(value):
    space = {"C": value, "D": f"[{value}, choice(['a', 'b'])]"}
    group = spec_from_mapping({"run": "a.py", "param_space": space, "params": {"shape": [1]}})
    from ml_experiment_nb.forecast import first_points

    for point in first_points(group):
        params = {name: str(drawn) for name, drawn in {**group.params, **point}.items()}
        asked = asked_by(experiment_record(kind="trial", params=params), spec_text(group))
        assert asked.spec.params == {"shape": [1], **point}
        assert asked.losses == ()
