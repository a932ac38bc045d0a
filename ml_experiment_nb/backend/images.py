"""What is answered of images: what one of a notebook would hold, and how its building stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from ml_experiment_nb import submissions
from ml_experiment_nb.backend import places
from ml_experiment_nb.backend.asks import ImageAsked, Nothing
from ml_experiment_nb.backend.jobs import need
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.backend.runs import TAIL, Where
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.submissions import Asked, State

SECONDS = 80.0  # that a plan may take
_STATUS = {2: 400, 3: 503}  # by the command's exit code


def ask(project: Project, where: Where, asked: ImageAsked) -> dict[str, Any]:
    """Build an image, or only say what it would hold."""
    need("image")
    notebook = places.notebook(where.root, asked.notebook)
    words = ["image", str(notebook), f"--cwd={notebook.parent}"]
    words += [f"--tag={asked.tag}"] if asked.tag is not None else []
    words += [f"--base={asked.base}"] if asked.base is not None else []
    if asked.plan:
        plan = _planned(words, notebook.parent)
        return {"id": "", "state": State.FINISHED, "plan": plan, "log": "", "result": None, "message": None}
    made = Asked("image", asked.tag or notebook.stem, tuple(words), str(notebook.parent), str(notebook))
    root = find_root(notebook.parent)
    return _image(root, submissions.submit(root, made).id)


def state(project: Project, where: Where, asked: Nothing) -> dict[str, Any]:
    """Say how an image stands that is built."""
    return _image(project.root, where.route["image"])


def _image(root: Path, name: str) -> dict[str, Any]:
    found = submissions.read(root, name)
    if found.asked.kind != "image":
        raise Refused(404, f"job {name} builds no image")
    text, _ = submissions.log_text(root, name, TAIL)
    result = text.strip().splitlines()[-1:] if found.state is State.FINISHED else []
    return {
        "id": name,
        "state": found.state.value,
        "plan": None,
        "log": text,
        "result": result[0] if result else None,
        "message": found.message,
    }


def _planned(words: list[str], folder: Path) -> str:
    """Return what the command says of an image; it is a process of its own, as what it asks may take its time."""
    command = [sys.executable, "-P", "-m", "ml_experiment_nb.cli", *words, "--plan"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Refused(504, f"what the image would hold was not known within {SECONDS:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"`ml-experiment image` ended with {done.returncode}"]
        raise Refused(_STATUS.get(done.returncode, 409), lines[-1].removeprefix("error: ")[:2000])
    return done.stdout
