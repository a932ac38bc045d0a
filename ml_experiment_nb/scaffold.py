"""A project's first files: a notebook that is an experiment, a spec that searches it, what git is to ignore."""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

import json
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.notebooks import PARAMETERS_TAG

NOTEBOOK, SPEC, IGNORED = "train.ipynb", "search.yaml", ".gitignore"
_IGNORED = (".ipynb_checkpoints/", ".ml-experiment/", "out/")


def start_project(folder: Path, name: str) -> list[Path]:
    """Write a project's first files into a folder, which is made if need be.

    What git ignores is added to a ``.gitignore`` that is there.

    Returns:
        The files that were written.

    Raises:
        SpecError: One of the others is there already, or the folder can't be written; then nothing is changed.
    """
    texts = first_files(name.encode("utf-8", "replace").decode())  # a folder's name may hold bytes that are no text
    for path in (folder / one for one in texts):
        if path.exists():
            raise SpecError(f"{path} is there already: take another folder, or move it away")
    ignored = folder / IGNORED
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = ignored.read_text(encoding="utf-8") if ignored.exists() else ""
        for one, text in texts.items():
            (folder / one).write_text(text, encoding="utf-8")
            written.append(folder / one)
        if (more := with_ignored(before)) != before:
            ignored.write_text(more, encoding="utf-8")
            written.append(ignored)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise SpecError(f"{error.filename or folder} can't be written: {error.strerror}") from None
    return written


def with_ignored(text: str) -> str:
    """Return the text of a ``.gitignore`` with what a project of ours ignores, each line once."""
    missing = [line for line in _IGNORED if line not in text.splitlines()]
    if not missing:
        return text
    return text + ("\n" if text and not text.endswith("\n") else "") + "".join(f"{line}\n" for line in missing)


def first_files(name: str) -> Mapping[str, str]:
    """Return the texts of the notebook and of the spec."""
    return {NOTEBOOK: _notebook(name), SPEC: _spec(name)}


def _notebook(name: str) -> str:
    cells = [
        new_markdown_cell(
            f"# {name}\n\nRun the cells here, or all of it headless: `ml-experiment run {NOTEBOOK} -p C 2`. "
            f"`ml-experiment run {SPEC}` searches it."
        ),
        new_code_cell(
            "from sklearn.datasets import load_digits\n"
            "from sklearn.model_selection import train_test_split\n"
            "from sklearn.svm import SVC\n\n"
            "digits = load_digits()\n"
            "X_train, X_val, y_train, y_val = train_test_split(digits.data, digits.target, random_state=1234)"
        ),
        new_markdown_cell(
            "The cell tagged `parameters` has the defaults, which `-p` replaces when it is run headless."
        ),
        new_code_cell(
            'C: float = 1.0  # how much errors cost\nkernel: str = "rbf"', metadata={"tags": [PARAMETERS_TAG]}
        ),
        new_code_cell("model = SVC(C=C, kernel=kernel, random_state=0).fit(X_train, y_train)"),
        new_markdown_cell("The value of the last cell gives the run's metrics."),
        new_code_cell('{"val_accuracy": model.score(X_val, y_val)}'),
    ]
    for k, cell in enumerate(cells):
        cell.id = f"cell-{k}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    return f"{nbformat.writes(notebook)}\n"


def _spec(name: str) -> str:
    return f"""\
# ml-experiment run {SPEC}            searches; --plan shows what it would do
# ml-experiment run {SPEC} --trials 50
name: {json.dumps(name, ensure_ascii=False)}
kind: group
run: {NOTEBOOK}
param_space:
  C: loguniform(0.01, 100)
  kernel: choice(['rbf', 'poly'])
metric: {{name: val_accuracy, direction: maximize}}
num_trials: 10
"""
