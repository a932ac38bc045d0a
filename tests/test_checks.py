"""What is wrong with what is asked is known before anything runs."""

import pytest
from planned_scripts import PREPARE, TRAIN, folder, group, rows, spec

from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell

__all__ = ["folder", "rows", "spec"]  # fixtures


def test_a_job_that_nothing_calls_is_noted(spec, folder):
    (folder / "idle.py").write_text(PREPARE.removesuffix("prepare()\n"))
    plan = make_plan(spec(run="idle.py"))
    assert plan.notes == ("idle defines the job prepare and doesn't call it: end the file with prepare()",)


@pytest.mark.parametrize(
    ("source", "is_noted"),
    [
        ("C = 1.0\nprint(C)", True),
        ("if True:\n    C = 1.0\nprint(C)", True),
        ("import sys\nC = 1.0\nif len(sys.argv) > 1:\n    C = float(sys.argv[2])", False),
        ("import argparse\np = argparse.ArgumentParser()\np.add_argument('--C')\nC = 1\nC = p.parse_args().C", False),
        ("from elsewhere import options\nC = options().C", False),
        ("def f():\n    C = 1", False),
        ("from ml_experiment_nb import job\nC = 1.0\n@job\ndef main(C):\n    return C\nmain()", False),
    ],
)
def test_a_script_that_says_itself_what_it_is_given_is_noted(spec, folder, source, is_noted):
    (folder / "own.py").write_text(source)
    for keys in ({"params": {"C": 2}}, {"kind": "group", "param_space": {"C": "uniform(0, 1)"}, "num_trials": 1}):
        notes = [note for note in make_plan(spec(**{"params": {}, **keys}, run="own.py")).notes if "itself" in note]
        says = "own itself says what C is, and isn't seen to read what it is given"
        assert [note.partition(":")[0] for note in notes] == ([says] if is_noted else [])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"params": {"C": 1, "kernal": "rbf"}}, "kernal: train has no such parameter; did you mean 'kernel'?"),
        ({"params": {"C": 1, "x": 1}}, "x: train has no such parameter; it takes C, gamma, kernel"),
        ({"params": {}}, r"C: train: main\(\) needs it; give it in params, or with -p C=…"),
        ({"run": ["prepare.py", "train.py"], "params": {"C": 1, "sed": 1}}, "sed: prepare, train has no such.*'seed'"),
        ({"run": "book.ipynb", "params": {"c": 1}}, "'C'"),
        ({"run": "missing.py"}, "there is no such script"),
    ],
)
def test_parameters_that_do_not_fit(spec, keys, says):
    with pytest.raises(SpecError, match=says):
        make_plan(spec(**keys))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "^name: has 0 characters: it takes 1 to 500"),
        ({"name": "n" * 501}, "^name: has 501 characters"),
        ({"name": "n\udcff"}, "^name: is no text: 'n.udcff' holds bytes that are no UTF-8"),
        ({"params": {"C": "\udcfe"}}, r"^params\.C: is no text"),
        ({"timeout": float("nan")}, "^timeout: nan is no number of seconds"),
    ],
)
def test_what_options_set_is_checked_before_a_run_is_opened(spec, changes, says):
    with pytest.raises(SpecError, match=says):
        make_plan(spec().model_copy(update=changes))


def test_a_row_of_a_table_holds_text(spec):
    with pytest.raises(SpecError, match=r"^each\[1\]\.kernel: is no text: '.ud800'"):
        make_plan(spec(kind="group", each=[{"kernel": "rbf"}, {"kernel": "\ud800"}]))


def test_a_space_is_checked_like_parameters(spec):
    with pytest.raises(ParameterError, match="gama: train has no such parameter; did you mean 'gamma'"):
        make_plan(group(spec, param_space={"C": "uniform(0, 1)", "gama": "uniform(0, 1)"}))
    with pytest.raises(ParameterError, match=r"main\(\) needs it"):
        make_plan(group(spec, param_space={"gamma": "uniform(0, 1)"}))


@pytest.mark.parametrize(
    "keys",
    [
        {"run": "plain.py", "params": {"anything": 1}},
        {"run": ["train.py", "plain.py"], "params": {"C": 1, "anything": 1}},
        {"params": {"C": 1, "anything": 1}, "allow_unknown_params": True},
        {"run": [{"command": "echo {x}"}], "params": {"x": 1}},
    ],
)
def test_what_can_not_be_asked_takes_anything(spec, keys):
    assert make_plan(spec(**keys)).tasks()


@pytest.mark.parametrize(
    ("text", "keys", "says"),
    [
        ("C,gama\n1,2\n", {}, r"params\.csv:1: gama: train has no such parameter; did you mean 'gamma'\?"),
        (
            "C,D\n1,2\n",
            {"run": "book.ipynb"},
            r"params\.csv:1: D: the parameters cell \(cell 1\) has no such parameter",
        ),
        ("C,gamma\n1,2\n,3\n", {}, r"params\.csv:3: C: train: main\(\) needs it"),
        ("C\n1\n", {"params": {"C": 1}}, r"params\.csv:1: C: is fixed for all rows \(params, -p\), and the table"),
        ("C\n1\n", {"params": {"D": 1}}, "^D: train has no such parameter"),
        ("C\n1\n", {"each": [{"C": 1}, {"C": 2, "D": 1}]}, r"^each\[1\]\.D: train has no such parameter"),
        ("C\n1\n", {"each": "param.csv"}, r"param\.csv: there is no such file; did you mean 'params\.csv'"),
    ],
)
def test_a_table_that_does_not_fit(rows, text, keys, says):
    with pytest.raises(SpecError, match=says):
        rows(text, **keys)


def test_a_row_s_value_has_the_type_that_is_annotated(rows, folder):
    (folder / "typed.py").write_text(TRAIN.replace("C, ", "C: float, "))
    with pytest.raises(ParameterError, match=r"params\.csv:3: C: 'much' is a str; it is annotated as float"):
        rows("C\n1\nmuch\n", run="typed.py")


def test_a_row_of_a_cell_can_be_written_into_it():
    keys = {"kind": "group", "run": [Cell(source="C = 1\nC")], "each": [{"C": 1}, {"C": object()}]}
    with pytest.raises(ParameterError, match=r"each\[1\]\.C: a value of type object can't be written in a cell"):
        make_plan(spec_from_mapping(keys))
