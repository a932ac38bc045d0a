"""What is answered of what is typed, before anything is started: what is wrong with it, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_experiment_nb.backend import images, places
from ml_experiment_nb.backend.asks import CheckAsked, JobAsked
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.backend.runs import Where
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.paths import SPECS, is_spec


def check(project: Project, where: Where, asked: CheckAsked) -> dict[str, Any]:
    """Say what is wrong with a job, an image or a spec's text, before anything is started."""
    if asked.image is not None:
        return {"errors": [_problem(one) for one in images.problems(project, where.root, asked.image)], "plan": None}
    if asked.job is not None:
        return _check_job(where, asked.job)
    assert asked.text is not None
    assert asked.file is not None
    return _check_text(places.inside(where.root, asked.file, "file"), asked.text)


def _check_job(where: Where, asked: JobAsked) -> dict[str, Any]:
    from ml_experiment_nb.backend import submitting

    try:
        plan = submitting.planned(submitting.words_of(asked, places.notebook(where.root, asked.notebook)))
    except SpecError as error:
        found = SpecError(error.problem, None, error.line, submitting.field_of(error, asked))
        return {"errors": [_problem(found)], "plan": None}
    return {"errors": [], "plan": str(plan)}


def _check_text(path: Path, text: str) -> dict[str, Any]:
    from ml_experiment_nb.mistakes import look_through

    if not is_spec(path):
        raise Refused(400, f"file is no spec's name: it ends in one of {', '.join(SPECS)}")
    plan, wrong = look_through(text, path)
    return {"errors": [_problem(one) for one in wrong], "plan": None if plan is None else str(plan)}


def _problem(error: SpecError) -> dict[str, Any]:
    return {"message": error.problem, "line": error.line, "key": error.key}
