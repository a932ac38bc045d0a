"""A run's card and what stays of many runs, as they are seen in JupyterLab: live, saved, and not trusted."""

from __future__ import annotations

import re

import nbformat
import pytest
from lab import THEMES, write_notebook

CELL = """
%%experiment SVM
C = 0.5
kernel = "rbf"
{"val_accuracy": 1 - abs(C - 2) / 10, "loss": abs(C - 2) / 10}
""".strip()
CELLS = ["%load_ext ml_experiment_nb", CELL, "%%experiment SVM\nC = -1\nraise ValueError(f'no <C> of {C}')"]
MANY = """
import random
from datetime import UTC, datetime
from ml_experiment_nb.records import Record, Records, Status
from ml_experiment_nb.widgets.fallback import comparison_html, group_html
from IPython.display import HTML, display
some = random.Random(1)
runs = []
for k in range(300):
    C, gamma = 10 ** some.uniform(-2, 3), some.choice(["scale", "auto"])
    accuracy = 0.9 - abs(C - 10) / 2000 + some.gauss(0, 0.02)
    name, run_id, given = f"SVM #{k}", f"{some.getrandbits(128):032x}", {"C": C, "gamma": gamma}
    runs.append(Record(run_id, name, "SVM", "trial", Status.FINISHED, given, {"val_accuracy": accuracy},
                       datetime.now(UTC), some.uniform(1, 9), number=k))
records = Records(runs, None, "val_accuracy", True)
display(HTML(group_html(records)))
display(HTML(comparison_html(records)))
""".strip()


def edit(notebook, cell, source):
    notebook.page.evaluate(
        "([k, text]) => window.jupyterapp.shell.currentWidget.content.widgets[k].model.sharedModel.setSource(text)",
        [cell, source],
    )


@pytest.mark.parametrize("theme", THEMES)
def test_a_run_shows_its_card_with_what_changed_since_the_run_before(folder, lab, open_notebook, theme):
    path = write_notebook(folder / "n.ipynb", CELLS)
    notebook = open_notebook(path)
    notebook.run(0)
    notebook.run(1)
    card = notebook.output(1)
    card.get_by_text("✓ finished").wait_for()
    assert "before" not in card.inner_text()
    edit(notebook, 1, CELL.replace("C = 0.5", "C = 1.5"))
    notebook.run(1)
    card.get_by_text("▲ +0.1").wait_for()
    assert re.search(r"val_accuracy\s+0.95\s+0.85\s+▲ \+0.1", card.inner_text())
    notebook.run(2)
    assert "✗ failed" in notebook.output(2).first.inner_text()
    assert "ValueError: no <C> of -1" in notebook.output(2).first.inner_text()
    notebook.save()
    lab.end_kernels()
    again = open_notebook(path)
    assert re.search(r"val_accuracy\s+0.95\s+0.85\s+▲ \+0.1", again.output(1).inner_text())


def test_after_a_restart_the_run_before_comes_from_the_store(folder, lab, open_notebook):
    path = write_notebook(folder / "n.ipynb", CELLS)
    notebook = open_notebook(path)
    notebook.run(0)
    notebook.run(1)
    notebook.save()
    lab.end_kernels()
    again = open_notebook(path)
    edit(again, 1, CELL.replace("C = 0.5", "C = 1.5"))
    again.run(0)
    again.run(1)
    again.output(1).get_by_text("▲ +0.1").wait_for()


def test_a_cell_that_was_edited_since_is_named_as_hidden_state(folder, open_notebook):
    source = "%%experiment SVM\nC = 1\n{'acc': C + rate}"
    notebook = open_notebook(write_notebook(folder / "n.ipynb", ["%load_ext ml_experiment_nb", "rate = 0.5", source]))
    notebook.run_all()
    assert "hidden state" not in notebook.output(2).inner_text()
    edit(notebook, 1, "other = 2")
    notebook.run(1)
    notebook.run(2)
    warned = notebook.output(2).get_by_text("hidden state")
    warned.wait_for()
    assert "In [2] was edited since, as In [4]" in warned.inner_text()


@pytest.mark.parametrize("theme", THEMES)
def test_what_stays_of_many_runs_is_seen_in_a_notebook_that_is_not_trusted(folder, open_notebook, theme):
    from ml_experiment_nb.widgets.fallback import comparison_html, group_html  # what the cell would have shown

    namespace = {}
    exec(MANY.rpartition("display(HTML(group")[0], namespace)
    shown = [group_html(namespace["records"]), comparison_html(namespace["records"])]
    path = write_notebook(folder / "n.ipynb", [MANY])
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].outputs = [nbformat.v4.new_output("display_data", {"text/html": html}) for html in shown]
    nbformat.write(nb, path)
    notebook = open_notebook(path)
    for k, alt in enumerate(("300 runs; 300 finished; best", "Parallel coordinates of C, gamma, val_accuracy")):
        image = notebook.output(0).nth(k).locator("img")
        assert image.get_attribute("alt").startswith(alt)
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 640
        table = notebook.output(0).nth(k).locator("table")
        assert table.locator("caption").inner_text().startswith("300 runs")
        assert table.locator("tbody th[scope=row]").count() == 40
        assert "… 260 more …" in table.inner_text()
        number, text = table.locator("tbody tr").first.locator("td").nth(2), table.locator("tbody th").first
        assert number.evaluate("cell => getComputedStyle(cell).textAlign") == "right"
        assert text.evaluate("cell => getComputedStyle(cell).textAlign") == "left"


def test_what_a_proof_comes_to_arrives_in_the_card_and_stays(folder, lab, open_notebook):
    proven = '%%experiment SVM --prove\nC = 2\n{"val_accuracy": C / m}'
    path = write_notebook(folder / "n.ipynb", ["%load_ext ml_experiment_nb", "k = 3", "m = k + 1", proven])
    notebook = open_notebook(path)
    for cell in range(3):
        notebook.run(cell)
    edit(notebook, 1, "k = 9")
    notebook.save()
    notebook.run(3)
    card = notebook.output(3)
    assert "proof: is being proven" in card.inner_text()
    card.get_by_text("depends on a deleted or edited cell").wait_for(timeout=150_000)
    assert "In [2] (k = 3) was edited since; in a new kernel its 3 cells," in card.inner_text()
    notebook.save()
    lab.end_kernels()
    again = open_notebook(path)
    assert "In [2] (k = 3) was edited since" in again.output(3).inner_text()
