"""The live view of a group, in a real notebook's page: it fills in, it stops what it is told to, it comes back."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
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
HELD = SLOW.replace(
    "for step",
    """from itertools import count
from pathlib import Path
for mine in count():
    try:
        Path(f"begun-{mine}").mkdir()
        break
    except FileExistsError:
        pass
for step""",
).replace(
    "step=step)",
    """step=step)
    while mine > 5 and not Path("go").exists():
        time.sleep(0.1)""",
)
"""The same, of which six trials end, and the others wait in their first step until the file ``go`` is there."""
ENDLESS = SLOW.replace("range(5)", "range(100_000)")
QUICK = """\
%%group quick --trials 300 --slots 2 --executor inline --maximize score --sampler random --into runs
x = uniform(0, 1)
{"score": x}"""


def begun(folder, open_notebook, cell=SLOW, *more, load=LOAD):
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [load, cell, *more]))
    notebook.run(0)
    notebook.start(1)
    view = notebook.output(1, ".mlx-live")
    view.wait_for(timeout=90_000)
    return notebook, view


def until(view, text, seconds=60):
    view.get_by_text(re.compile(text)).first.wait_for(timeout=seconds * 1000)


def saved_output(path, cell=1, output=0):
    return nbformat.read(path, 4).cells[cell].outputs[output].data


@pytest.mark.parametrize("theme", THEMES)
def test_a_group_fills_in_and_is_left_in_its_finished_state(folder, open_notebook, theme):
    notebook, view = begun(folder, open_notebook, HELD)
    bar = view.get_by_role("progressbar", name="Progress")
    until(view, "^6 of 12 trials")
    assert bar.get_attribute("aria-valuenow") == "6"
    assert "accuracy over trials" in view.get_by_role("img").first.get_attribute("aria-label")
    until(view, r"^step \d")
    notebook.screenshot(PICTURES / f"live-{theme}.png", 1)
    (folder / "go").touch()
    until(view, "ValueError: C is too large for poly")
    until(view, "^took")
    assert view.get_by_role("button").count() == 0
    assert bar.get_attribute("aria-valuenow") == "12"
    assert "finished" in view.get_by_role("status").inner_text()
    notebook.screenshot(PICTURES / f"live-end-{theme}.png", 1)
    notebook.save()
    data = saved_output(notebook.path)
    assert "12/12" in data["text/plain"]
    assert "%attach" not in data["text/html"]


def test_one_trial_and_then_the_group_are_stopped_while_the_cell_runs(folder, open_notebook):
    states = "print(runs.parent.status, [one.status.value for one in runs if one.number == 1])"
    notebook, view = begun(folder, open_notebook, ENDLESS, states)
    stop = view.get_by_role("button", name="Stop #1", exact=True)
    stop.hover(timeout=60_000)
    notebook.page.mouse.down()  # a slow press, in which the view is brought up to date more than once
    notebook.page.wait_for_timeout(1000)
    notebook.page.mouse.up()
    question = view.get_by_role("group", name="Stop #1?")
    question.get_by_role("button", name="Stop", exact=True).press("Escape")  # which has the keyboard now
    assert question.count() == 0
    stop.press("Enter")
    until(view, "^Stop #1[?]")
    notebook.screenshot(PICTURES / "live-ask.png", 1)
    notebook.page.keyboard.press("Enter")
    until(view, "1 stopped")
    until(view, "^[#]2$")  # the group goes on
    view.get_by_role("button", name="Stop group").click()
    view.get_by_role("group", name="Stop the group").get_by_role("button", name="Stop", exact=True).click()
    until(view, "^killed$")
    until(view, "run its cell again to go on")
    notebook.screenshot(PICTURES / "live-stopped.png", 1)
    notebook.output(1).get_by_text("TaskError").first.wait_for()
    notebook.run(2)
    assert notebook.output(2).inner_text().strip() == "killed ['killed']"


def test_a_page_that_is_reloaded_shows_what_was_saved_and_then_the_view(folder, open_notebook, lab):
    often = f"{LOAD}\nfrom ml_experiment_nb.widgets import live_output\nlive_output.SAVED = 1"
    notebook, view = begun(folder, open_notebook, HELD, load=often)
    until(view, "^6 of 12 trials")
    notebook.page.wait_for_timeout(1500)  # until its HTML was renewed
    notebook.save()
    html = saved_output(notebook.path)["text/html"]
    assert "%attach" in html
    assert re.search(r"\b\d+/12", html)
    notebook.page.goto(lab.address(notebook.path))
    notebook.output(1).first.wait_for(timeout=60_000)
    shown = notebook.output(1, ".mlx-Output-saved")
    shown.get_by_text("%attach").wait_for()
    before = re.search(r"\d+/12", shown.inner_text())[0]
    (folder / "go").touch()
    notebook.page.screenshot(path=PICTURES / "live-reloaded.png")
    notebook.page.wait_for_function(  # it goes on while the kernel is busy and has no widget for it
        "([before]) => /\\d+\\/12/.exec(document.querySelector('.mlx-Output-saved').innerText)[0] !== before",
        arg=[before],
    )
    assert view.count() == 0
    until(view, "^took", 90)
    notebook.page.screenshot(path=PICTURES / "live-reloaded-later.png")


def test_a_second_notebook_attaches_to_a_running_group_and_to_one_that_has_ended(folder, open_notebook):
    _, view = begun(folder, open_notebook, HELD)
    until(view, "^6 of 12 trials")
    other = open_notebook(write_notebook(folder / "m.ipynb", [LOAD, "%attach", "print('free')", "%attach"]))
    other.run(0)
    other.run(1)
    other.run(2)
    assert other.output(2).inner_text().strip() == "free"
    again = other.output(1, ".mlx-live")
    until(again, "^6 of 12")
    other.screenshot(PICTURES / "live-attached.png", 1)
    again.get_by_role("button", name=re.compile("^Stop #")).first.click()
    again.get_by_role("group", name=re.compile("^Stop #")).get_by_role("button", name="Stop", exact=True).click()
    until(again, "1 stopped")
    (folder / "go").touch()
    until(again, "^took", 90)
    other.run(3)
    until(other.output(3, ".mlx-live"), "^took")
    other.save()
    other.screenshot(PICTURES / "live-attached-end.png", 3)
    for cell in (1, 3):
        data = saved_output(other.path, cell)
        assert "12/12, 1 killed" in data["text/plain"] or "killed" in data["text/plain"]
        assert "svm #11" in data["text/html"]


def test_many_quick_trials_are_not_slowed_down_and_the_file_stays_small(folder, open_notebook):
    plain = "from ml_experiment_nb import progress\nprogress.is_live = lambda plan: False"
    again = QUICK.replace("quick", "plain")
    took = "print(runs.parent.seconds)"
    cells = [
        LOAD,
        QUICK,
        took,
        plain,
        again,
        took,
        "import importlib; _ = importlib.reload(progress)",
        QUICK + "\n",
        took,
    ]
    notebook = open_notebook(write_notebook(folder / "n.ipynb", cells))
    for cell in range(len(cells)):
        notebook.run(cell)
    notebook.save()
    told = nbformat.read(notebook.path, 4).cells
    first, without, last = (float(told[cell].outputs[0].text) for cell in (2, 5, 8))
    print(f"with {first:.1f} s and {last:.1f} s, without {without:.1f} s: {(first + last) / 2 / without:.2f}")
    assert min(first, last) < 1.5 * without
    assert notebook.path.stat().st_size < 300_000
    notebook.screenshot(PICTURES / "live-quick.png", 1)


ODD = {
    "front": "%%group front --trials 6 --slots 2 --executor inline --maximize a --minimize size --sampler random\n"
    "x = uniform(0, 1)\n{'a': x, 'size': x * x, 'other': 1.0}",
    "rows": "%%group rows --each table --slots 2 --executor inline\nx = 1\ny = 'a'\n{'loss': x / 2}",
    "pruned": "%%group pruned --trials 6 --slots 1 --executor inline --minimize loss --pruner 'Threshold(upper=0.5)'\n"
    "x = uniform(0, 1)\nfrom ml_experiment_nb import report\nreport(loss=x, step=1)\n{'loss': x}",
    "bad": "%%group bad --trials 2 --slots 1 --executor inline --minimize loss\nx = uniform(0, 1)\n1 / 0",
}


def test_groups_of_other_kinds(folder, open_notebook):
    table = "table = [{'x': 1, 'y': 'a'}, {'x': 2, 'y': 'b'}, {'x': 3, 'y': 'a'}]"
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [f"{LOAD}\n{table}", *ODD.values()]))
    notebook.run(0)
    said = {}
    for cell, name in enumerate(ODD, start=1):
        notebook.run(cell)
        view = notebook.output(cell, ".mlx-live")
        until(view, "^took")
        notebook.screenshot(PICTURES / f"live-{name}.png", cell)
        said[name] = view.inner_text()
    assert "Pareto front of a ↑, size ↓" in said["front"]
    assert "a and size" in said["front"]
    assert "3 of 3 rows" in said["rows"]
    assert "--maximize NAME" in said["rows"]
    assert re.search(r"6 of 6 trials( · \d pruned)?", said["pruned"])
    assert "ZeroDivisionError: division by zero" in said["bad"]
    assert "No trial finished with it." in said["bad"]
    view = notebook.output(1, ".mlx-live")
    view.get_by_label("What is drawn").select_option("other")
    assert "other over trials: 6 points" in view.get_by_role("img").first.get_attribute("aria-label")
