"""What a page's form asks for, as words of the command; and the paths that it names."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest

from ml_experiment_nb.backend import checks, places, submitting
from ml_experiment_nb.backend.asks import CheckAsked, JobAsked
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.backend.runs import Where
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


def test_a_check_takes_a_text_or_a_job():
    assert CheckAsked(text="", file="a.yaml").job is None
    for wrong in ({}, {"text": ""}, {"job": asked(), "text": "", "file": "a"}):
        with pytest.raises(ValueError, match="give text and file, or job"):
            CheckAsked(**wrong)


def test_paths_stay_below_the_server_s_folder_wherever_links_lead(tmp_path):
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "out").symlink_to("/")
    (root / "loop").symlink_to(root / "loop")
    assert places.folder(root, "") == root
    assert places.folder(root, "/in/") == root / "in"
    wrong = {"..": {403}, "out/etc": {403}, "in/../..": {403}, "a\0": {400}, "x": {404}, "loop": {400, 404}}
    for path, statuses in wrong.items():
        with pytest.raises(Refused) as refused:
            places.folder(root, path)
        assert refused.value.status in statuses
    assert places.shown(root, root / "in/a.ipynb") == "in/a.ipynb"
    assert places.shown(root, "/etc/hosts") is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "a\\b", "a\0", "", "a\n"])
def test_a_run_s_file_is_named_below_its_folder(path):
    with pytest.raises(Refused):
        places.artifact(path)


def test_a_folder_that_may_not_be_looked_into_is_refused():
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        locked = Path(folder, "locked")
        locked.mkdir()
        locked.chmod(0o644)
        mine = os.geteuid()
        try:
            if mine == 0:
                os.seteuid(65534)  # root may look everywhere
            with pytest.raises(Refused, match="can't be looked into: Permission denied") as refused:
                places.project(locked)
        finally:
            os.seteuid(mine)
        assert refused.value.status == 403
        locked.chmod(0o755)
        assert places.project(locked) == locked


@pytest.fixture
def module(project, monkeypatch):
    """A module of the project that leaves word when it is imported, and then ends the process."""
    (project / "cloned_code.py").write_text("open('imported', 'w').close()\nraise SystemExit\n")
    monkeypatch.syspath_prepend(project)
    return "cloned_code"


@pytest.mark.parametrize("run", ["{function: 'cloned_code:f'}", "[{function: 'cloned_code:f'}, {command: ls}]"])
def test_a_text_that_is_checked_runs_nothing(project, module, run):
    asked = CheckAsked(text=f"name: N\nrun: {run}\nparams: {{C: 1}}\n", file="new.yaml")
    found = checks.check(Project(project), Where(project, project, {}), asked)
    assert found["errors"] == []
    assert "f" in found["plan"]
    assert not (project / "imported").exists()


@pytest.mark.parametrize("name", ["cloned_code", "cloned_code:", ":f"])
def test_a_function_s_name_of_another_form_is_told_with_its_line_and_imports_nothing(project, module, name):
    asked = CheckAsked(text=f"name: N\nrun: {{function: '{name}'}}\n", file="new.yaml")
    (error,) = checks.check(Project(project), Where(project, project, {}), asked)["errors"]
    assert (error["line"], error["key"]) == (2, "run.function")
    assert "can't be imported as module:qualname" in error["message"]
    assert not (project / "imported").exists()
