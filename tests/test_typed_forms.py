import shlex

import pytest
from made_specs import EXAMPLES, PARAMS, folder, parsed, whole, yaml

from ml_experiment_nb.command_requests import read_command
from ml_experiment_nb.command_requests.forms import _options
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.forms import RecordedSpec
from ml_experiment_nb.identity import spec_hash
from ml_experiment_nb.magics import ExperimentMagics
from ml_experiment_nb.specs import Group, spec_from_mapping, to_mapping
from ml_experiment_nb.targets import Notebook
from ml_experiment_nb.typed_forms import IN_CELL, NOT_IN_MAGIC, as_cell, as_words

__all__ = ["folder"]  # a fixture


CELL = "C = loguniform(0.1, 10)\nkernel = 'rbf'\nshape = (1, 2)\nmath = 3\n{'a': C * math}"


def by_words(spec):
    """Return the spec that the words of one ask for; None where there are no words for it."""
    words = as_words(spec, _options())
    if words is None:
        return None
    assert shlex.split(shlex.join(words)) == words
    plan = read_command(words[2:])
    return plan.spec.model_copy(update={"root_path": plan.cwd})


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("run", ["train.py", "train.ipynb"])
def test_parameters_go_through_a_command(folder, params, run):
    keys = {"run": str(folder / run), "root_path": str(folder), "params": params, "allow_unknown_params": True}
    spec = spec_from_mapping({"kind": "experiment", "name": "a name", **keys})
    spec = spec.model_copy(update={"params": {"C": 1, **params}})
    found = by_words(spec)
    if params.get("kernel") != "uniform(0, 1)":
        assert found == spec
    else:
        assert found is None


OPTIONS = ["kind: job", "each: rows.csv", "{each: rows.csv, slots: 2}", "memory: 1GB", "allow_unknown_params: true"]


@pytest.mark.parametrize("example", [*EXAMPLES, *OPTIONS])
def test_a_key_goes_through_a_command_or_there_is_none(folder, example):
    keys = {key: value for key, value in yaml(example).items() if key not in ("name", "root_path", "run")}
    if isinstance(keys.get("each"), str):
        keys["each"] = str(folder / "rows.csv")
    spec = whole(**keys, run=str(folder / "train.py")).model_copy(update={"root_path": str(folder)})
    if not isinstance(spec, Group):
        spec = spec.model_copy(update={"params": {"C": 1}})
    read = by_words(spec)
    assert read is None or to_mapping(read) == to_mapping(spec)
    assert read is not None or example not in OPTIONS


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "python3"}, {"execution_timeout": 5, "start_timeout": 9}, {"report_mode": True},
        {"request_save_on_cell_execute": False}, {"autosave_cell_every": 0, "log_output": True, "log_level": "INFO"},
        {"from_cell": 1, "until_cell": "parameters"}, {"stdout_file": "/tmp/a b", "stderr_file": "/tmp/c"},
        {"language": "python", "engine": "nbclient"},
    ],
)  # fmt: skip
def test_a_notebook_s_options_go_through_a_command(folder, options):
    run = {"notebook": str(folder / "train.ipynb"), **options}
    spec = spec_from_mapping({"name": "train", "run": run, "root_path": str(folder), "kind": "experiment"})
    assert by_words(spec) == spec


def test_every_option_of_a_notebook_has_a_place():
    assert set(Notebook.model_fields) - {"path"} <= _options().keys()


LINES = [
    "", "-p C=0.5 -p kernel='range(9)'", "-p kernel=linear", "-p kernel='a b'", "-p shape=[1]", "-p shape='{1: 2}'",
    "-p kernel=\"'5'\"", "-p kernel='$x'", "-p C='[uniform(0, 1), choice([1, 2])]'", "--trials 3 --seed 4",
    "--sampler nsga-ii --pruner sha", "--minimize a --slots 3", "--maximize 'the metric' --tag a=b --tag 'c=d e'",
    "--timeout-per-trial 2.5 --memory 1GB --storage sqlite:///x.db --executor inline",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", ["SVM", "'a name'", '"it\'s"'])
def test_a_group_s_cell_comes_back(line, name):
    cell = CELL if "-p C" not in line else CELL.replace("math = 3", "math = range(3)")
    spec = parsed(f"%%group {name} {line}\n{cell}")
    form = as_cell(RecordedSpec(spec))
    again = parsed(form.text)
    assert form.losses == ()
    assert spec_hash(again) == spec_hash(spec)
    assert as_cell(RecordedSpec(again)).text == form.text
    if not {"{", "$"} & set(line):
        assert again == spec


@pytest.mark.parametrize("line", ["", "-p kernel=linear --tag a=b", "-p shape='(3, 4)' -p kernel=None"])
def test_an_experiment_s_cell_comes_back(line):
    spec = parsed(f"%%experiment SVM -p C=0.5 {line}\n{CELL}")
    assert parsed(as_cell(RecordedSpec(spec)).text) == spec


def test_a_cell_with_rows_comes_back():
    rows = "[{'C': 1, 'kernel': 'x'},\n {'C': 2.5, 'shape': (1,)}]"
    spec = parsed(f"rows = {rows}\n\n%%group SVM --each rows --slots 2\n{CELL}")
    assert parsed(as_cell(RecordedSpec(spec)).text) == spec


@pytest.mark.parametrize(
    ("line", "lead"),
    [
        ("--sampler 'tpe(n_startup_trials=3)' --pruner 'threshold(upper=1.5)' --maximize a", "C = uniform(0, 1)"),
        (
            "--maximize a --minimize b --enqueue C=1 --enqueue \"C=0.5 k='a b'\"",
            "C = uniform(0, 1)\nk = choice(['a b'])",
        ),
        ("--timeout 5 --max-failures 2 --stop-when 'a > 1 or b < 2'", "C = uniform(0, 1)"),
        ("--define-by-run --trials 3", "C = 1"),
    ],
)
def test_a_search_s_cell_comes_back(line, lead):
    spec = parsed(f"%%group SVM {line}\n{lead}\nC")
    assert parsed(as_cell(RecordedSpec(spec)).text) == spec


def test_every_key_has_a_place_in_a_cell():
    """Give the magic an option for a new key, or say in `NOT_IN_MAGIC` that it has none."""
    options = {word for action in ExperimentMagics.group.parser._actions for word in action.option_strings}
    named = {"num_trials": "--trials"} | {
        key: f"--{key.replace('_', '-')}" for key in Group.model_fields if key != "num_trials"
    }
    without = {key for key, word in named.items() if word not in options}
    assert without - IN_CELL == NOT_IN_MAGIC


def test_what_a_magic_has_no_option_for():
    spec = parsed(f"%%group SVM\n{CELL}").model_copy(update={"description": "x", "root_path": "/"})
    assert as_cell(RecordedSpec(spec)).losses == ("description: %%group has no option for it",)
    with pytest.raises(SpecError, match="no cell was run"):
        as_cell(RecordedSpec(whole()))
    with pytest.raises(SpecError, match="IPython would fill in"):
        as_cell(RecordedSpec(spec.model_copy(update={"name": "{x}"})))
