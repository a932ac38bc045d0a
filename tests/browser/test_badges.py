"""Badges below cells of %%experiment and %%group: what the last run came to, kept in the cell and renewed."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from lab import THEMES, write_notebook

PICTURES = Path(__file__).parents[2] / "build" / "browser"
LOAD = "%load_ext ml_experiment_nb"
CELL = '%%experiment SVM\nC = 0.5\n{"val_accuracy": 0.9 + C / 10, "loss": C}'
FAILS = "%%experiment SVM\nC = -1\nraise ValueError(f'no {C}')"
GROUP = '%%group s --trials 2 --executor inline --maximize acc --sampler random\nx = uniform(0, 1)\n{"acc": 0.5}'
SET = "([k, text]) => window.jupyterapp.shell.currentWidget.content.widgets[k].model.sharedModel.setSource(text)"


def badge(notebook, index):
    return notebook.cell(index).locator(".mlx-Badge button")


def says(notebook, index, said):
    """Wait until a badge says something."""
    badge(notebook, index).filter(has_text=re.compile(rf"^{said}$")).wait_for()


def kept(path, index):
    return nbformat.read(path, 4).cells[index].metadata.get("ml_experiment_nb")


def left_running(path, index):
    """Write a notebook as one whose page and kernel have gone before the run's end."""
    found = nbformat.read(path, 4)
    assert found.cells[index].metadata["ml_experiment_nb"]["status"] == "failed"
    found.cells[index].metadata["ml_experiment_nb"]["status"] = "running"
    nbformat.write(found, path)


def test_a_cell_s_last_run_stands_below_it_and_is_kept_and_renewed(folder, lab, open_notebook):
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [LOAD, CELL, FAILS, GROUP, "C"]))
    notebook.run(0)
    for index, said in ((1, "finishedval_accuracy 0.95"), (2, "failed"), (3, "finishedbest acc 0.5")):
        notebook.run(index)
        says(notebook, index, said)
    notebook.run(4)
    for theme, name in THEMES.items():
        notebook.command("apputils:change-theme", theme=name)
        notebook.screenshot(PICTURES / f"badges-{theme}.png")
    first = badge(notebook, 1).get_attribute("data-run")
    notebook.command("notebook:clear-all-cell-outputs")
    notebook.page.evaluate(SET, [1, CELL.replace("0.5", "0.7")])
    assert badge(notebook, 1).get_attribute("data-run") == first
    notebook.save()
    assert kept(notebook.path, 1) == {"run": first, "status": "finished", "metric": "val_accuracy 0.95"}
    lab.end_kernels()
    left_running(notebook.path, 2)
    notebook = open_notebook(notebook.path)
    says(notebook, 2, "failed")
    assert badge(notebook, 1).text_content() == "finishedval_accuracy 0.95"
    notebook.run(0)
    notebook.run(1)
    badge(notebook, 1).get_by_text("val_accuracy 0.97").wait_for()
    assert badge(notebook, 1).get_attribute("data-run") != first
    badge(notebook, 1).click()
    shown = notebook.page.locator(".mlx-Run")
    shown.get_by_role("heading", name="SVM").wait_for(timeout=60_000)
    shown.get_by_text("0.97").first.wait_for()


def test_a_cell_that_is_no_magic_s_any_more_has_none_and_foreign_metadata_is_no_html(folder, open_notebook):
    path = write_notebook(folder / "n.ipynb", [CELL, CELL, CELL])
    found = nbformat.read(path, 4)
    run = {"run": "0" * 32, "status": "finished", "metric": "<img src=x onerror='window.bad = 1'> 1"}
    for cell, one in zip(found.cells, (run, run | {"run": "../x"}, 3), strict=True):
        cell.metadata["ml_experiment_nb"] = one
    nbformat.write(found, path)
    notebook = open_notebook(path)
    badge(notebook, 0).wait_for()
    assert notebook.page.locator(".mlx-Badge:not(.lm-mod-hidden)").count() == 1
    assert "<img" in badge(notebook, 0).inner_text()
    assert notebook.page.evaluate("() => window.bad") is None
    notebook.page.evaluate(SET, [0, "C = 1"])
    badge(notebook, 0).wait_for(state="hidden")
