"""What is done with runs from their panel, for real: run again, gone on with, stopped, looked at in MLflow's page."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from drive import START
from lab import write_notebook
from playwright.sync_api import expect
from runs_panel import menu, open_panel, row, toast

PICTURES = Path(__file__).parents[2] / "build" / "browser"
LONG = 180_000  # ms that a process of its own may take to end, with all that it imports
PARAMETERS = "C = 0.5  # how much a mistake costs"
SCORE = "from ml_experiment_nb import report\nprint('C is', C)\nreport(accuracy=C / 10)"
WAITS = """\
import time
from pathlib import Path
from ml_experiment_nb import report
while not Path("go").exists(): time.sleep(0.1)
report(accuracy=C / 10)"""

STEPS = """\
import time
from pathlib import Path
from ml_experiment_nb import report
while not Path("go").exists(): time.sleep(0.1)
for k in range(5):
    report(accuracy=C / 10 * k, step=k)
    time.sleep(0.1)"""


@pytest.fixture
def begun(folder, lab, page):
    """Start a notebook of the project on the server, as its form does, and return the panel, where the job is told."""

    def begin(source, **asked):
        path = write_notebook(folder / "svm.ipynb", [PARAMETERS, source])
        found = nbformat.read(path, 4)
        found.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(found, path)
        where = folder.relative_to(lab.root).as_posix()
        body = {"notebook": f"{where}/svm.ipynb", **asked}
        lab.ask(f"jobs?path={where}", "POST", under="ml-experiment-nb", body=body)
        return open_panel(page, lab, path)

    return begin


def test_a_run_is_looked_at_in_its_notebook_and_in_mlflow_and_replayed(begun, folder, page):
    panel = begun(SCORE, kind="experiment", params={"C": "8"})
    done = row(panel, "✓")
    done.wait_for(timeout=LONG)

    menu(panel, "✓", "Open Executed Notebook")
    opened = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)", has_text="C is 8")
    opened.wait_for(timeout=START)
    assert "executed" in page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    assert nbformat.read(next((folder / "executed").glob("*.ipynb")), 4).cells[-1].outputs[0].text == "C is 8\n"

    with page.context.expect_page(timeout=LONG) as waited:
        menu(panel, "✓", "Open in MLflow")
    mlflow = waited.value
    run = mlflow.get_by_role("heading", name="svm", exact=True).or_(mlflow.get_by_text("svm", exact=True))
    expect(run.first).to_be_visible()
    mlflow.get_by_text("accuracy").first.wait_for(timeout=START)
    mlflow.screenshot(path=PICTURES / "mlflow.png")
    mlflow.close()

    menu(panel, "✓", "Replay")
    toast(page, "svm is run again from its record").wait_for()
    told = toast(page, re.compile("svm, run again: identical"))
    told.wait_for(timeout=LONG)
    page.screenshot(path=PICTURES / "replayed.png")
    expect(done).to_have_count(2)
    told.get_by_role("button", name="Show Run").click()
    details = panel.locator(".mlx-Run")
    details.locator("summary", has_text="Record").click()
    expect(details.get_by_role("row", name="mlexp.replay.verdict identical")).to_be_visible()


def test_a_group_is_stopped_and_gone_on_with(begun, folder, page):
    asked = {"kind": "group", "params": {"C": "uniform(1, 2)"}, "trials": 3, "slots": 1, "metric": "accuracy"}
    panel = begun(WAITS, **asked)
    group = row(panel, re.compile("^[▸▾].*[●■✓]"))  # an experiment has no status
    group.filter(has_text="●").wait_for(timeout=LONG)
    group.click()
    page.keyboard.press("ArrowRight")
    row(panel, "#0").filter(has_text="●").wait_for(timeout=LONG)

    panel.get_by_role("button", name="Stop").click()
    dialog = page.locator(".jp-Dialog")
    assert "“svm”" in dialog.inner_text()
    dialog.get_by_role("button", name="Stop").click()
    toast(page, "“svm” has been stopped").wait_for(timeout=LONG)
    group.filter(has_text="■").wait_for(timeout=START)
    row(panel, "#0").filter(has_text="■").wait_for()
    page.screenshot(path=PICTURES / "group-stopped.png")

    (folder / "go").touch()
    menu(panel, re.compile("^▾.*■"), "Resume")
    toast(page, "svm goes on").wait_for()
    toast(page, "svm has finished").wait_for(timeout=LONG)
    group.filter(has_text="✓").wait_for(timeout=START)
    expect(row(panel, re.compile("✓.*#"))).to_have_count(3)
    page.screenshot(path=PICTURES / "group-resumed.png")


def test_a_panel_with_a_filter_asks_seldom_while_a_group_runs(begun, folder, page):
    asked = Counter()
    page.on("request", lambda one: asked.update([urlsplit(one.url).path.partition("/ml-experiment-nb/")[2]]))
    panel = begun(STEPS, kind="group", params={"C": "uniform(1, 2)"}, trials=20, slots=1, metric="accuracy")
    panel.get_by_label("Filter runs").fill("kind = 'group'")
    group = row(panel, re.compile("^[▸▾].*[●■✓]"))
    group.filter(has_text="●").wait_for(timeout=LONG)
    group.click()
    page.keyboard.press("ArrowRight")
    row(panel, "#0").wait_for(timeout=LONG)
    asked.clear()
    began = time.monotonic()
    (folder / "go").touch()
    group.filter(has_text="✓").wait_for(timeout=LONG)
    expect(row(panel, re.compile("✓.*#"))).to_have_count(20)  # heard of, not asked for
    seconds = time.monotonic() - began
    assert seconds > 5
    assert asked["runs"] <= seconds + 1
    assert asked["jobs"] == asked["about"] == 0
    assert sum(count for route, count in asked.items() if route) <= 3 * seconds + 3
