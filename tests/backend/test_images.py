"""An image that a page asks for, as words of the command, and what is wrong with it."""

from __future__ import annotations

import nbformat
import pytest

from ml_experiment_nb.backend import checks, images
from ml_experiment_nb.backend.asks import CheckAsked, ImageAsked
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.runs import Where
from ml_experiment_nb.images.files import Excluded

RUN = "3f2a9c0d5b7e4a1f8c6d2e9b0a4f7c15"


@pytest.fixture
def where(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    return Where(tmp_path, tmp_path, {})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, []),
        ({"tag": "--push", "base": "-v"}, ["--tag=--push", "--base=-v"]),
        ({"only_imports": True, "data": False}, ["--only-imports", "--data=out"]),
        ({"lab": True}, ["--lab"]),
        ({"lab": False}, ["--no-lab"]),
        ({"exclude": ["a.csv", "b[1]*.csv"]}, ["--exclude=/a.csv", "--exclude=/b[[]1][*].csv"]),
    ],
)
def test_what_is_asked_is_what_the_command_is_told(where, tmp_path, fields, words):
    found, folder = images._words(Project(tmp_path), where, ImageAsked(notebook="a.ipynb", **fields))
    assert found == ["image", str(tmp_path / "a.ipynb"), f"--cwd={tmp_path}", *words]
    assert folder == tmp_path
    found, folder = images._words(Project(tmp_path / "p"), where, ImageAsked(run=RUN, **fields))
    assert (found, folder) == (["image", RUN, *words], tmp_path / "p")


def test_a_place_that_is_left_out_is_that_one_alone(tmp_path):
    excluded = Excluded(tmp_path, ("/a.csv", "/b[[]1][*].csv", "/data"))
    out = ["a.csv", "b[1]*.csv", "data/x.csv"]
    assert [one for one in (*out, "sub/a.csv", "b1x.csv", "sub/data/x.csv") if tmp_path / one in excluded] == out


def test_all_that_is_wrong_with_its_fields_is_said_at_once_and_at_each(where, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()

    def wrong(**fields):
        asked = CheckAsked(image={"notebook": "a.ipynb"} | fields)
        return [(one["key"], one["message"]) for one in checks.check(Project(tmp_path), where, asked)["errors"]]

    assert wrong(tag="team/svm:1", base="host:5000/python:3.11", context="new") == []
    (tag, base, context) = wrong(tag="Team/SVM", base="no name", context="full")
    assert (tag[0], base[0], context[0]) == ("tag", "base", "context")
    assert "letters in lower case" in tag[1]
    assert base[1] == "'no name' is no name of an image: it has no spaces, and at least one character"
    assert "is there already" in context[1]
    assert wrong(context="no/where") == [("context", f"there is no folder {tmp_path / 'no'}")]
    assert wrong(context="../out") == [("context", "leads out of the server's folder")]
