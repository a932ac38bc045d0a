import json
import os

import pytest

from ml_experiment_nb import (
    unfinished,
)
from ml_experiment_nb.drivers import folders
from ml_experiment_nb.errors import ResumeError
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.projects import home
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell
from ml_experiment_nb.unfinished import clear, found, identity_of, leave, note, spec_left, supersede, was_left

GROUP = {"kind": "group", "name": "svm", "run": "train.py", "params": {"kernel": "rbf"}, "allow_unknown_params": True}
SPACE = {"C": "uniform(0, 1)"}


@pytest.fixture
def plan(project):
    """Make a plan of a group; the script's text and what its spec has besides can be given."""

    def make(source="print(1)\n", **keys):
        (project / "train.py").write_text(source)
        return make_plan(spec_from_mapping({**GROUP, "param_space": SPACE, "num_trials": 2, **keys}))

    return make


@pytest.fixture
def folder(project):
    """Make the folder of a run that goes on."""

    def make(run_id):
        made = folders(home(project)) / run_id
        made.mkdir(parents=True)
        return made

    return make


def test_a_group_is_the_same_when_only_how_it_is_run_was_edited(plan):
    same = identity_of(plan())
    assert identity_of(plan(slots=3, num_trials=9, seed=1)) == same
    assert identity_of(plan("print(1)  # another comment\n\n")) == same
    assert identity_of(plan("print(2)\n")).code != same.code
    assert identity_of(plan(params={"kernel": "linear"})).points != same.points
    assert identity_of(plan(param_space={"C": "uniform(0, 2)"})).points != same.points
    assert identity_of(plan(metric={"name": "a", "direction": "minimize"})).points != same.points


def test_a_notebook_s_outputs_and_a_cell_s_parameters_are_no_code(project, plan):
    def book(outputs):
        cell = {"cell_type": "code", "source": "x = 1", "metadata": {"tags": ["parameters"]}, "outputs": outputs}
        (project / "a.ipynb").write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": [cell]}))
        return identity_of(plan(run="a.ipynb"))

    assert book([]) == book([{"output_type": "stream", "text": "1"}])

    def cell(source):
        return identity_of(plan(run=(Cell(source=source),)))

    assert cell("C = 1\nfit(C)").code == cell("C = 2\nfit(C)").code != cell("C = 1\nfit(C, 2)").code


def test_another_experiment_or_another_run_around_it_is_another_group(plan, folder, project, monkeypatch):
    leave(folder("a" * 32), plan())
    assert was_left(plan())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    assert not was_left(plan())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("ML_EXPERIMENT_RUN", "b" * 32)
    assert not was_left(plan())


def test_of_several_the_newest_comes_first_and_telling_of_one_makes_it_no_newer(plan, folder, project):
    for age, run_id in ((20, "a" * 32), (10, "b" * 32)):
        made = folder(run_id)
        leave(made, plan())
        os.utime(made / "group.json", (1e9 - age, 1e9 - age))
    identity = identity_of(plan())
    assert [one.run_id[0] for one in found(project, identity)] == ["b", "a"]
    note(found(project, identity)[1])
    assert [(one.run_id[0], one.noted) for one in found(project, identity)] == [("b", False), ("a", True)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"asked": {}, "noted": true}', '{"asked": {"targets": 1}}'])
def test_a_file_that_was_spoiled_is_no_group(plan, folder, project, text):
    made = folder("a" * 32)
    leave(made, plan())
    (made / "group.json").write_text(text)
    assert found(project, identity_of(plan())) == []


def test_an_older_one_of_the_same_code_does_not_come_back(plan, folder, project):
    for run_id in ("a", "b", "c"):
        leave(folder(run_id * 32), plan("print(3)\n" if run_id == "c" else "print(1)\n"))
    identity = identity_of(plan())
    supersede(project, identity, by="b" * 32)
    assert sorted(one.run_id[0] for one in found(project, identity)) == ["b", "c"]


def test_values_that_can_not_be_read_again_are_said(folder):
    made = folder("a" * 32)
    assert spec_left(made) is None
    (made / "spec.pkl").write_bytes(b"no pickle")
    with pytest.raises(ResumeError, match=r"spec\.pkl can't be read .*: run it anew"):
        spec_left(made)


def test_what_is_cleared(plan, folder):
    made = folder("a" * 32)
    leave(made, plan())
    (made / "payload-1").write_text("")
    (made / "spec.pkl").write_text("")
    clear(made, values=False)
    assert sorted(one.name for one in made.iterdir()) == ["payload-1", "spec.pkl"]
    clear(made, values=True)
    assert not made.exists()
    clear(made, values=True)


def test_what_a_record_keeps_of_a_plan(plan):
    kept = json.loads(unfinished.plan_text(plan(), "/tmp/runs/payload-1"))
    assert kept["payload"] == "payload-1"  # its folder may be moved
    assert json.loads(unfinished.plan_text(plan(), None))["payload"] is None
    assert kept.keys() == {"cwd", "path", "output", "cold", "payload"}
