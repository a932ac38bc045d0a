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


def check(project: Project, where: Where, asked: CheckAsked) -> dict[str, Any]:
    """Say what is wrong with a job, an image or a spec's text, before anything is started."""
    if asked.image is not None:
        return {"errors": [_problem(one) for one in images.problems(where.root, asked.image)], "plan": None}
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
        return _wrong(SpecError(error.problem, None, error.line, submitting.field_of(error, asked)))
    return {"errors": [], "plan": str(plan)}


def _check_text(path: Path, text: str) -> dict[str, Any]:
    from ml_experiment_nb.files import SUFFIXES, located, parse_spec
    from ml_experiment_nb.planning import make_plan

    if path.suffix.lower() not in SUFFIXES:
        raise Refused(400, f"file is no spec's name: it ends in one of {', '.join(SUFFIXES)}")
    try:
        spec = parse_spec(text, path, imports=False)  # an editor asks by itself: to open a file runs nothing
    except SpecError as error:
        return _wrong(error)
    try:
        return {"errors": [], "plan": str(make_plan(spec))}
    except SpecError as error:  # its file, where it has one, is what the spec runs
        where = f"{error.file}{f':{error.line}' if error.line else ''}: " if error.file else ""
        return _wrong(located(SpecError(f"{where}{error.problem}", key=error.key), path, text))


def _wrong(error: SpecError) -> dict[str, Any]:
    return {"errors": [_problem(error)], "plan": None}


def _problem(error: SpecError) -> dict[str, Any]:
    return {"message": error.problem, "line": error.line, "key": error.key}
