"""What may be asked of a project, by name: each with the fields that it takes, and what answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ml_experiment_nb.backend import checks, images, jobs, runs
from ml_experiment_nb.backend.asks import (
    CheckAsked,
    ComparisonAsked,
    DiffAsked,
    FormAsked,
    ImageAsked,
    JobAsked,
    NotebookAsked,
    Nothing,
    ResumeAsked,
    RunsAsked,
)
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import refusal_of
from ml_experiment_nb.backend.runs import Content, Where
from ml_experiment_nb.errors import ExperimentError
from ml_experiment_nb.fields import Frozen, translated


@dataclass(frozen=True)
class _Verb:
    """What answers, and which fields it takes. `status`: of the answer."""

    answer: Callable[[Project, Where, Any], dict[str, Any] | Content]
    fields: type[Frozen] = Nothing
    status: int = 200


_VERBS: Mapping[str, _Verb] = {
    "about": _Verb(jobs.about),
    "runs": _Verb(runs.listing, RunsAsked),
    "run": _Verb(runs.run),
    "log": _Verb(runs.log),
    "metrics": _Verb(runs.metrics),
    "artifacts": _Verb(runs.artifacts),
    "artifact": _Verb(runs.artifact),
    "form": _Verb(runs.form, FormAsked),
    "notebook": _Verb(runs.notebook),
    "page": _Verb(runs.page),
    "start page": _Verb(runs.start_page),
    "stop": _Verb(runs.stop),
    "resume": _Verb(jobs.resume, ResumeAsked, 201),
    "replay": _Verb(jobs.replay, Nothing, 201),
    "delete": _Verb(runs.delete),
    "restore": _Verb(runs.restore),
    "compare": _Verb(runs.compare, ComparisonAsked),
    "diff": _Verb(runs.diff, DiffAsked),
    "jobs": _Verb(jobs.listing),
    "start": _Verb(jobs.start, JobAsked, 201),
    "job": _Verb(jobs.job),
    "job log": _Verb(jobs.log),
    "stop job": _Verb(jobs.stop),
    "parameters": _Verb(jobs.parameters, NotebookAsked),
    "check": _Verb(checks.check, CheckAsked),
    "plan image": _Verb(images.plan, ImageAsked),
    "build image": _Verb(images.build, ImageAsked, 201),
    "image state": _Verb(images.state),
}


def answer(project: Project, verb: str, where: Where, given: Mapping[str, Any]) -> tuple[int, dict[str, Any] | Content]:
    """Return the status and the answer.

    Args:
        project: The project.
        verb: What is asked.
        where: Where the question comes from.
        given: Its fields.

    Raises:
        Refused: It is.
    """
    found = _VERBS[verb]
    try:
        asked = found.fields.model_validate(dict(given))
    except ValidationError as error:
        raise refusal_of(translated(error, found.fields)) from None
    except ExperimentError as error:
        raise refusal_of(error) from None
    try:
        return found.status, found.answer(project, where, asked)
    except ExperimentError as error:
        raise refusal_of(error) from error
