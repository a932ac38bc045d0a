"""A page's form, as words of the command."""

from __future__ import annotations

import nbformat
import pytest

from ml_experiment_nb.backend import submitting
from ml_experiment_nb.backend.asks import JobAsked
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.notebooks import described_params, read_notebook

LEAD = """# the model's
C: float = 0.5  # how much a mistake costs
kernel = 'rbf'
n = 3
deep = False  # 'a # in it' is none
layers = [1, 2]
rows = len('four')
nothing = None"""


@pytest.fixture
def notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(LEAD, metadata={"tags": ["parameters"]})]
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def asked(**more):
    return JobAsked(**{"kind": "experiment", "notebook": "a.ipynb"} | more)


def test_the_parameters_cell_is_told_with_types_defaults_and_comments(notebook):
    found = [submitting.described(one) for one in described_params(read_notebook(notebook))]
    assert [(one["name"], one["type"], one["default"], one["value"], one["comment"]) for one in found] == [
        ("C", "float", "0.5", 0.5, "how much a mistake costs"),
        ("kernel", "str", "'rbf'", "rbf", ""),
        ("n", "int", "3", 3, ""),
        ("deep", "bool", "False", False, "'a # in it' is none"),
        ("layers", "list", "[1, 2]", [1, 2], ""),
        ("rows", "unknown", "len('four')", None, ""),
        ("nothing", "None", "None", None, ""),
    ]


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("C", "2", ["-p", "C=2"]),
        ("C", 2.5, ["-p", "C=2.5"]),
        ("kernel", "7", ["-r", "kernel", "7"]),
        ("kernel", "'7'", ["-r", "kernel", "7"]),
        ("kernel", "--help", ["-r", "kernel", "--help"]),
        ("kernel", "", ["-r", "kernel", ""]),
        ("deep", "true", ["-p", "deep=true"]),
        ("deep", True, ["-p", "deep=True"]),
        ("layers", "[3]", ["-p", "layers=[3]"]),
        ("layers", ["a", 1], ["-p", "layers=['a', 1]"]),
        ("rows", "x", ["-p", "rows=x"]),
        ("nothing", "5", ["-p", "nothing=5"]),
        ("unknown", "5", ["-p", "unknown=5"]),
    ],
)
def test_a_value_is_given_as_its_parameter_s_kind_asks(notebook, name, given, words):
    found = submitting.words_of(asked(params={name: given}), notebook)
    assert found == ["run", str(notebook), f"--cwd={notebook.parent}", *words]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("C", "much", "not a number, as its default 0.5 is"),
        ("C", "true", "not a number"),
        ("n", "2.5", "not a whole number"),
        ("deep", "1", "not a bool"),
        ("layers", "3", "not a list"),
        ("C", "uniform(0, 1)", "is a distribution"),
    ],
)
def test_a_value_of_another_kind_is_refused_at_its_field(notebook, name, given, said):
    with pytest.raises(SpecError, match=said) as raised:
        submitting.words_of(asked(params={name: given}), notebook)
    assert submitting.field_of(raised.value, asked(params={name: given})) == f"params.{name}"


def test_a_group_s_fields_are_options_that_no_value_can_leave(notebook):
    more = {"sampler": "--help", "trials": 4, "slots": 2, "metric": "loss", "direction": "maximize", "name": "-q"}
    found = submitting.words_of(asked(kind="group", params={"C": "uniform(0, 1)"}, **more), notebook)
    assert found[3:] == [
        *("-p", "C=uniform(0, 1)", "--name=-q", "--sampler=--help", "--trials=4", "--slots=2", "--maximize=loss")
    ]
