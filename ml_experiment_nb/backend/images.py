"""What is answered of images: what one would hold, what is wrong with it, and how its building stands."""

from __future__ import annotations

import glob
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_experiment_nb import submissions
from ml_experiment_nb.backend import places
from ml_experiment_nb.backend.asks import ImageAsked, Nothing
from ml_experiment_nb.backend.jobs import one_job
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.backend.runs import Where
from ml_experiment_nb.errors import ImageError, SpecError
from ml_experiment_nb.images.names import Name
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.submissions import CommandRequest
from ml_experiment_nb.verdicts import read_tolerances

SECONDS = 80.0  # that a plan may take
_STATUS = {2: 400, 3: 503}  # by the command's exit code


def plan(project: Project, where: Where, asked: ImageAsked) -> dict[str, Any]:
    """Say what an image would hold, with sizes, and whether it can be built."""
    words, folder = _words(project, where, asked)
    return _planned(words, folder)


def build(project: Project, where: Where, asked: ImageAsked) -> dict[str, Any]:
    """Start what builds an image, or writes what it is built from."""
    for problem in problems(project, where.root, asked):
        raise problem
    words, folder = _words(project, where, asked)
    words += ["--push"] if asked.push else []
    words += [] if asked.verify else ["--no-verify"]
    words += [f"--tolerance={one}" for one in asked.tolerances]
    words += [f"--network={asked.network}"] if asked.network is not None else []
    if asked.context is not None:
        words.append(f"--context-only={places.inside(where.root, asked.context, 'context')}")
    notebook = None if asked.notebook is None else str(places.notebook(where.root, asked.notebook))
    name = asked.tag or (Path(notebook).stem if notebook else project.store().record(str(asked.run)).name)
    made = CommandRequest("image", name, tuple(words), str(folder), notebook)
    return one_job(where.root, submissions.submit(find_root(folder), made))


def state(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Say how an image stands that is built, and what came of it."""
    found = submissions.read(project.root, where.route["image"])
    if found.asked.kind != "image":
        raise Refused(404, f"job {found.id} builds no image")
    return {"job": one_job(where.root, found), "made": submissions.result(project.root, found.id)}


def problems(project: Project, root: Path, asked: ImageAsked) -> Iterator[SpecError]:
    """Yield what is wrong with an image's fields, as far as that is known before anything is looked at.

    Args:
        project: The project, whose store has the run.
        root: The server's own folder.
        asked: The fields.
    """
    for key, text in (("tag", asked.tag), ("base", asked.base)):
        try:
            if text is not None:
                Name.read(text)
        except SpecError as error:
            yield SpecError(error.problem, key=key)
    if asked.context is not None:
        from ml_experiment_nb.images import context  # nbformat, which it reads notebooks with, takes seconds to import

        try:
            context.check_new(places.inside(root, asked.context, "context"))
        except ImageError as error:
            yield SpecError(str(error), key="context")
        except Refused as refused:
            yield SpecError(refused.message.removeprefix("context "), key="context")
    if asked.tolerances:
        metrics = project.store().record(str(asked.run)).metrics
        try:
            read_tolerances(asked.tolerances, metrics)
        except SpecError as error:
            yield SpecError(error.problem.removeprefix("--tolerance "), key="tolerances")


def _words(project: Project, where: Where, asked: ImageAsked) -> tuple[list[str], Path]:
    """Return the words behind ``ml-experiment`` that plan an image, and the folder that they are said in."""
    if asked.notebook is not None:
        notebook = places.notebook(where.root, asked.notebook)
        words, folder = ["image", str(notebook), f"--cwd={notebook.parent}"], notebook.parent
    else:
        words, folder = ["image", str(asked.run)], project.root
    words += [f"--{name}={value}" for name in ("tag", "base") if (value := getattr(asked, name)) is not None]
    words += ["--only-imports"] if asked.only_imports else []
    words += [] if asked.lab is None else ["--lab" if asked.lab else "--no-lab"]
    words += [] if asked.data else ["--data=out"]
    words += [f"--exclude=/{glob.escape(one)}" for one in asked.exclude]
    return words, folder


def _planned(words: list[str], folder: Path) -> dict[str, Any]:
    """Return what the command says of an image; it is a process of its own, as what it asks may take its time."""
    command = [sys.executable, "-P", "-m", "ml_experiment_nb.cli", *words, "--plan", "--json"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Refused(504, f"what the image would hold was not known within {SECONDS:.0f} s: try again") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"`ml-experiment image` ended with {done.returncode}"]
        raise Refused(_STATUS.get(done.returncode, 409), lines[-1].removeprefix("error: ")[:2000])
    found: dict[str, Any] = json.loads(done.stdout)
    return found
