"""The live view of a group, in a real notebook's page: it fills in, it stops what it is told to, it comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab import THEMES, write_notebook

PICTURES = Path(__file__).parents[2] / "build" / "browser"
LOAD = "%load_ext ml_experiment_nb"
SLOW = """\
%%group svm --trials 12 --slots 2 --executor inline --maximize accuracy --sampler random --seed 3 --into runs
C = loguniform(0.01, 1000)
kernel = choice(["rbf", "poly", "linear"])
width = uniform(0, 1)
import time
from ml_experiment_nb import report
for step in range(5):
    time.sleep(0.2)
    report(accuracy=(step + 1) / 10 + width / 2, step=step)
if kernel == "poly" and C > 1:
    raise ValueError(f"C is too large for poly")
{"accuracy": 0.5 + width / 2}"""


@pytest.mark.parametrize("theme", THEMES)
def test_a_group_fills_in_and_is_left_in_its_finished_state(folder, open_notebook, theme):
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [LOAD, SLOW]))
    notebook.run(0)
    notebook.start(1)
    view = notebook.output(1, ".mlx-live")
    view.wait_for(timeout=90_000)
    notebook.page.wait_for_timeout(700)
    notebook.screenshot(PICTURES / f"live-start-{theme}.png", 1)
    view.get_by_text(re.compile(r"\b[678] of 12 trials")).wait_for(timeout=60_000)
    notebook.screenshot(PICTURES / f"live-{theme}.png", 1)
    view.get_by_text("took").wait_for(timeout=60_000)
    notebook.page.wait_for_timeout(500)
    notebook.screenshot(PICTURES / f"live-end-{theme}.png", 1)


LONG = SLOW.replace("time.sleep(0.2)", "time.sleep(0.6)")


def test_one_trial_and_then_the_group_are_stopped_while_the_cell_runs(folder, open_notebook):
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [LOAD, LONG, "[r.status.value for r in runs]"]))
    notebook.run(0)
    notebook.start(1)
    view = notebook.output(1, ".mlx-live")
    view.get_by_role("button", name="Stop #1").click(timeout=90_000)
    view.get_by_role("group", name="Stop #1?").get_by_role("button", name="Go on").press("Escape")
    view.get_by_role("button", name="Stop #1").press("Enter")
    notebook.screenshot(PICTURES / "live-ask.png", 1)
    view.get_by_role("group", name="Stop #1?").get_by_role("button", name="Stop").press("Enter")
    view.get_by_text("1 stopped").wait_for(timeout=20_000)
    notebook.screenshot(PICTURES / "live-stopped-one.png", 1)
    view.get_by_role("button", name="Stop group").click()
    view.get_by_role("button", name="Stop", exact=True).first.click()
    view.get_by_text("killed").wait_for(timeout=30_000)
    notebook.page.wait_for_timeout(1500)
    notebook.screenshot(PICTURES / "live-stopped-group.png", 1)
    notebook.run(2)
    print(notebook.output(2).all_inner_texts())


def test_a_page_that_is_reloaded(folder, open_notebook, lab):
    path = write_notebook(folder / "n.ipynb", [LOAD, LONG.replace("0.6", "0.9")])
    notebook = open_notebook(path)
    notebook.run(0)
    notebook.start(1)
    view = notebook.output(1, ".mlx-live")
    view.get_by_text(re.compile(r"\b[234] of 12 trials")).wait_for(timeout=90_000)
    notebook.save()
    notebook.page.goto(lab.address(path))
    notebook.page.wait_for_timeout(12000)
    print("AFTER", notebook.output(1).all_inner_texts())
    notebook.page.screenshot(path=PICTURES / "live-reloaded.png")
    notebook.page.wait_for_timeout(25000)
    notebook.page.screenshot(path=PICTURES / "live-reloaded-later.png")
    print("LATER", notebook.output(1).all_inner_texts())
