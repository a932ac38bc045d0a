from __future__ import annotations

import pytest

from ml_experiment_nb.backend import checks
from ml_experiment_nb.backend.asks import CheckAsked
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.runs import Where


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
