"""What is answered of jobs: notebooks that are run without the browser, and what is asked before they are."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ml_experiment_nb import submissions
from ml_experiment_nb.backend import places
from ml_experiment_nb.backend.asks import JobAsked, NotebookAsked, Nothing, ResumeAsked
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.runs import TAIL, Where
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.submissions import CommandRequest, Submission


def about(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Say what can be asked for."""
    from ml_experiment_nb import spaces
    from ml_experiment_nb.algorithms import Pruner, Sampler

    distributions = [spaces.uniform, spaces.loguniform, spaces.randint, spaces.choice]
    return {
        "version": sys.modules["ml_experiment_nb"].__version__,
        "samplers": list(Sampler.NAMES),
        "pruners": list(Pruner.NAMES),
        "distributions": [
            {"name": one.__name__, "example": _EXAMPLES[one.__name__], "help": one.__doc__ or ""}
            for one in distributions
        ],
    }


_EXAMPLES = {
    "uniform": "uniform(0, 1)",
    "loguniform": "loguniform(0.01, 1000)",
    "randint": "randint(1, 10)",
    "choice": "choice(['scale', 'auto'])",
}


def listing(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """List what was started, the newest first."""
    return {"jobs": [one_job(where.root, one) for one in submissions.listed(project.root)]}


def one_job(root: Path, one: Submission) -> dict[str, Any]:
    """Return a submission as it is answered with.

    Args:
        root: The server's own folder.
        one: The submission.
    """
    return {
        "id": one.id,
        "kind": one.asked.kind,
        "name": one.asked.name,
        "notebook": places.shown(root, one.asked.notebook),
        "state": one.state.value,
        "started": one.asked.started,
        "ended": one.ended,
        "exit_code": one.exit_code,
        "run_id": one.run_id,
        "progress": asdict(one.progress) if one.progress else None,
        "message": one.message,
    }


def job(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Say how one stands."""
    return one_job(where.root, submissions.read(project.root, where.route["job"]))


def log(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Give the end of what one has printed."""
    text, whole = submissions.log_text(project.root, where.route["job"], TAIL)
    return {"text": text, "whole": whole}


def stop(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Stop one, and wait until it has ended."""
    return one_job(where.root, submissions.stop(project.root, where.route["job"]))


def start(project: Project, where: Where, asked: JobAsked) -> dict[str, Any]:
    """Start one, if nothing is wrong with it."""
    from ml_experiment_nb.backend import submitting  # nbformat takes seconds to import

    notebook = places.notebook(where.root, asked.notebook)
    words = submitting.words_of(asked, notebook)
    name = submitting.planned(words).spec.name
    made = CommandRequest(asked.kind, name, tuple(words), str(notebook.parent), str(notebook))
    return one_job(where.root, submissions.submit(find_root(notebook.parent), made))


def resume(project: Project, where: Where, asked: ResumeAsked) -> dict[str, Any]:
    """Start what goes on with a group, if it can."""
    from ml_experiment_nb.groups import resumed

    store = project.store()
    plan = resumed(where.run, trials=asked.trials, failed=asked.failed, store=store)
    words = ["resume", where.run]
    words += [f"--trials={asked.trials}"] if asked.trials is not None else []
    words += ["--failed"] if asked.failed else []
    made = CommandRequest("resume", plan.spec.name, tuple(words), str(project.root), run_id=where.run)
    return one_job(where.root, submissions.submit(project.root, made))


def replay(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Start what runs a run again."""
    record = project.store().record(where.run)
    made = CommandRequest("replay", record.name, ("replay", where.run), str(project.root))
    return one_job(where.root, submissions.submit(project.root, made))


def parameters(project: Project, where: Where, asked: NotebookAsked) -> dict[str, Any]:
    """Say what a notebook's parameters cell has."""
    from ml_experiment_nb import notebooks
    from ml_experiment_nb.backend import submitting

    nb = notebooks.read_notebook(places.notebook(where.root, asked.notebook))
    cell = notebooks.parameters_cell(nb)
    return {
        "cell": cell,
        "parameters": [submitting.described(one) for one in notebooks.described_params(nb)],
        "kernel": notebooks.kernel_name(nb),
        "hint": notebooks.HOW_TO_TAG if cell is None else None,
    }
