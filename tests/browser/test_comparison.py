"""The comparison of runs in JupyterLab: seen, used, and read from the next cell."""

from __future__ import annotations

import math
import sqlite3
import struct
import zlib
from contextlib import closing

import pytest
from drive import Notebook
from lab import THEMES, make_project, write_notebook
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from playwright.sync_api import Locator

COMPARE = """from ml_experiment_nb import compare
view = compare(experiment="svm", metric=["accuracy"], maximize=True)
view"""
KERNELS = ("linear", "poly", "rbf")


def png(shade):
    """Return a picture of 8 by 8 pixels."""
    rows = b"".join(b"\0" + bytes([shade]) * 24 for _ in range(8))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture(scope="session")
def compared(database, tmp_path_factory):
    """A store with 12 runs: their accuracy grows with C, their cost too."""
    folder = make_project(tmp_path_factory.mktemp("compared"), database)
    uri = f"sqlite:///{folder}/.ml-experiment/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("svm", artifact_location=(folder / "artifacts").as_uri())
    for k in range(12):
        C = 10.0 ** (k / 2 - 3)
        run_id = client.create_run(experiment, run_name=f"run {k}", start_time=1_790_000_000_000 + k).info.run_id
        curve = [Metric("loss", 1 / (1 + step) / (1 + k) + 0.02 * (step % 2), step, step) for step in range(30)]
        last = [Metric("accuracy", 0.5 + k / 40, 1, 0), Metric("cost", math.sqrt(C), 1, 0)]
        params = {"C": repr(C), "kernel": KERNELS[k % 3], "degree": str(k % 4), "seed": "7"}
        client.log_batch(run_id, [*curve, *last], [Param(name, text) for name, text in params.items()])
        (folder / "roc.png").write_bytes(png(20 * k))
        client.log_artifact(run_id, str(folder / "roc.png"), "figures")
        client.set_terminated(run_id, "FAILED" if k == 2 else "FINISHED", end_time=1_790_000_060_000)
    with closing(sqlite3.connect(folder / ".ml-experiment" / "mlflow.db")) as made:
        made.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file is copied
    return folder / ".ml-experiment" / "mlflow.db"


@pytest.fixture
def opened_view(folder, compared, open_notebook):
    """The comparison, shown by the first cell of a notebook; the second one has what is selected in it."""
    (folder / ".ml-experiment" / "mlflow.db").write_bytes(compared.read_bytes())
    cells = [COMPARE, "[one.name for one in view.selected]"]
    notebook = open_notebook(write_notebook(folder / "n.ipynb", cells))
    notebook.run(0)
    notebook.output(0, ".mlx-row").first.wait_for()
    return notebook


def names(notebook: Notebook) -> list[str]:
    """Return the runs as the table has them, from the top."""
    rows = notebook.output(0, ".mlx-row:not([hidden])")
    read = "one => [Number(one.getAttribute('aria-rowindex')), one.querySelector('.mlx-label').textContent]"
    found = rows.evaluate_all(f"all => all.map({read})")
    return [name for _, name in sorted(found)]


def selected(notebook: Notebook) -> list[str]:
    """Return what a cell reads of the selection once the kernel has heard all of it: the page sends it bit by bit."""
    rows = notebook.output(0, ".mlx-comparison").locator(".mlx-row[aria-selected=true]")
    for _ in range(20):
        notebook.run(1)
        found: list[str] = eval(notebook.output(1).inner_text())
        if len(found) == rows.count():
            break
    return found


def drag(notebook: Notebook, inside: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over a plot, from one place to another: shares of its width and height, or pixels from the left."""
    plot = notebook.output(0, f"{inside} .mlx-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    (x0, y0), (x1, y1) = (
        (box["x"] + (x if x > 1 else x * box["width"]), box["y"] + y * box["height"]) for x, y in (start, end)
    )
    mouse = notebook.page.mouse
    mouse.move(x0, y0)
    mouse.down()
    mouse.move(x1, y1, steps=4)
    mouse.up()


def redrawn(canvas: Locator, before: str) -> None:
    """Wait until a canvas shows something else."""
    for _ in range(600):
        if canvas.evaluate("canvas => canvas.toDataURL()") != before:
            return
        canvas.page.wait_for_timeout(50)
    raise AssertionError("it shows the same")


def test_shift_selects_from_the_last_run_wherever_that_has_come_to(opened_view):
    view = opened_view.output(0, ".mlx-comparison")
    view.get_by_label("Select run 3", exact=True).click()
    view.get_by_role("columnheader", name="accuracy").click()
    view.get_by_label("Select run 5", exact=True).click(modifiers=["Shift"])
    assert sorted(selected(opened_view)) == ["run 3", "run 4", "run 5"]


@pytest.mark.parametrize("theme", THEMES)
def test_runs_are_sorted_filtered_searched_and_selected(opened_view, theme, tmp_path):
    notebook, page = opened_view, opened_view.page
    view = notebook.output(0, ".mlx-comparison")
    assert names(notebook)[:3] == ["run 11", "run 10", "run 9"]
    assert view.locator(".mlx-best .mlx-label").all_inner_texts() == ["run 11"]
    assert view.get_by_role("grid").get_attribute("aria-rowcount") == "14"

    kernel, degree = (view.get_by_role("columnheader", name=name) for name in ("kernel", "degree"))
    kernel.click()
    degree.click(modifiers=["Shift"])
    degree.click(modifiers=["Shift"])
    assert (kernel.get_attribute("aria-sort"), degree.get_attribute("aria-sort")) == ("ascending", "descending")
    assert names(notebook)[:5] == ["run 3", "run 6", "run 9", "run 0", "run 7"]

    view.get_by_label("Filter C", exact=True).fill("> 0.1 < 100")
    view.get_by_label("Filter kernel").fill("rbf | poly")
    assert sorted(names(notebook)) == ["run 5", "run 7", "run 8"]
    view.get_by_label("Filter C", exact=True).fill("> x")
    assert "after > comes a number" in view.locator(".mlx-empty").inner_text()
    view.get_by_role("button", name="Clear filters").click()
    view.get_by_label("Search all columns").fill("failed poly")
    assert names(notebook) == []
    view.get_by_label("Search all columns").fill("failed rbf")
    assert names(notebook) == ["run 2"]
    view.get_by_label("Search all columns").fill("")

    view.locator(".mlx-row", has_text="run 4").click()
    view.get_by_role("button", name="Pin run 4").click()
    assert names(notebook)[0] == "run 4"
    view.get_by_label("Select run 9", exact=True).click()
    assert selected(notebook) == ["run 9", "run 4"]  # the best first
    view.get_by_label("Only selected").check()
    assert names(notebook) == ["run 4", "run 9"]
    view.get_by_text("2 of 12 runs · 2 selected").wait_for()
    notebook.screenshot(tmp_path / "table.png", 0)
    assert page.locator("body").get_attribute("data-jp-theme-light") == str(theme == "light").lower()


def test_the_table_is_used_by_keys_and_its_columns_are_chosen(opened_view):
    notebook, keys = opened_view, opened_view.page.keyboard
    view = notebook.output(0, ".mlx-comparison")
    grid = view.get_by_role("grid")
    grid.focus()
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press(" ")
    keys.press("ArrowDown")
    keys.press("Shift+ ")
    assert selected(notebook) == ["run 11", "run 10"]
    grid.focus()
    keys.press("Control+Home")
    for _ in range(3):
        keys.press("ArrowRight")
    keys.press("Enter")
    assert view.get_by_role("columnheader", name="accuracy").get_attribute("aria-sort") == "ascending"
    keys.press("Alt+ArrowDown")
    view.get_by_role("menuitem", name="Pin column").press("Enter")
    header = view.get_by_role("columnheader", name="accuracy")
    assert "mlx-fixed" in (header.get_attribute("class") or "")
    keys.press("Control+End")
    assert grid.get_attribute("aria-activedescendant") == view.locator(".mlx-active").get_attribute("id")

    view.get_by_role("button", name="Columns").click()
    view.get_by_role("button", name="Only what differs").click()
    assert not view.get_by_role("columnheader", name="seed").count()
    view.locator(".mlx-popup").get_by_label("seed").check()
    assert view.get_by_role("columnheader", name="seed").count() == 1
    keys.press("Escape")
    assert not view.locator(".mlx-popup").count()

    columns, axes = (view.get_by_role("button", name=name, exact=True) for name in ("Columns", "Axes"))
    columns.click()
    axes.press("Enter")  # no pointer tells the first panel to close
    assert [one.get_attribute("aria-expanded") for one in (columns, axes)] == ["false", "true"]
    axes.click()
    assert (view.locator(".mlx-popup").count(), axes.get_attribute("aria-expanded")) == (0, "false")

    last = view.get_by_role("columnheader").last
    grid.focus()
    keys.press("Control+Home")
    keys.press("End")
    assert grid.get_attribute("aria-activedescendant") == last.get_attribute("id")
    keys.press("Alt+ArrowDown")
    view.get_by_role("menuitem", name="Hide column").press("Enter")
    assert grid.get_attribute("aria-activedescendant") == last.get_attribute("id")
    assert len(notebook.counts) == 2  # the notebook's own keys did nothing


def test_what_is_brushed_in_a_plot_is_selected_everywhere(opened_view):
    notebook = opened_view
    view = notebook.output(0, ".mlx-comparison")
    drag(notebook, "[data-name=parallel]", (56, 0.05), (56, 0.35))
    best = selected(notebook)
    assert best[0] == "run 11"
    assert 2 <= len(best) <= 5
    assert view.locator(".mlx-row[aria-selected=true]").count() == len(best)
    view.get_by_role("button", name="Clear selection").click()
    assert selected(notebook) == []

    view.get_by_role("tab", name="Scatter").click()
    drag(notebook, "[data-name=scatter]", (0.6, 0.02), (0.99, 0.4))
    assert set(best) & set(selected(notebook))
    view.get_by_role("button", name="Drag to zoom").click()
    plot = view.locator("[data-name=scatter] canvas").first
    before = plot.evaluate("canvas => canvas.toDataURL()")
    drag(notebook, "[data-name=scatter]", (0.3, 0.2), (0.7, 0.8))
    redrawn(plot, before)

    view.get_by_role("tab", name="Pareto front").click()
    front = view.get_by_role("tabpanel", name="Pareto front")
    front.get_by_label("Y", exact=True).select_option("metrics.cost")
    front.get_by_role("button", name="Select the front").click()
    front.get_by_text("11 of 11 runs are on the front").wait_for()
    assert len(selected(notebook)) == 11  # all that finished: what is more accurate costs more
    view.get_by_role("tab", name="Contour").click()
    name = view.get_by_role("tabpanel", name="Contour").get_by_role("img").get_attribute("aria-label")
    assert name == "Contour of 12 runs: degree over C. The table has the values."


def test_a_brush_that_grows_takes_runs_back_in_though_only_selected_ones_are_shown(opened_view):
    view = opened_view.output(0, ".mlx-comparison")
    view.get_by_label("Select all runs that are shown").click()
    view.get_by_label("Only selected").check()
    drag(opened_view, "[data-name=parallel]", (56, 0.05), (56, 0.98))
    assert len(selected(opened_view)) == 12


def test_curves_importances_and_images_come_from_the_kernel(opened_view):
    notebook = opened_view
    view = notebook.output(0, ".mlx-comparison")
    view.get_by_role("tab", name="Curves").click()
    curves = view.get_by_role("tabpanel", name="Curves")
    curves.get_by_label("Metric").select_option("loss")
    curves.get_by_role("img", name="loss over steps of 6 runs").wait_for()
    canvas = curves.locator("canvas").first
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    curves.get_by_label("Smoothing").fill("0.9")
    redrawn(canvas, before)
    view.get_by_label("Select run 3", exact=True).click()
    curves.get_by_role("img", name="loss over steps of 1 runs: run 3").wait_for()

    view.get_by_role("tab", name="Importance").click()
    importance = view.get_by_role("tabpanel", name="Importance")
    importance.get_by_role("rowheader", name="C", exact=True).wait_for()
    assert importance.get_by_role("rowheader").first.inner_text() == "C"

    view.get_by_role("tab", name="Images").click()
    image = view.get_by_role("img", name="figures/roc.png of run 3")
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8


def test_a_saved_comparison_is_read_without_its_kernel(opened_view, lab, open_notebook):
    notebook = opened_view
    notebook.save()
    lab.end_kernels()
    size = notebook.path.stat().st_size
    assert size < 300_000
    again = open_notebook(notebook.path)
    table = again.output(0, "table").first
    table.wait_for()
    assert "run 11" in table.inner_text()
    assert again.output(0, "img").first.get_attribute("alt", timeout=5000)
    assert not again.output(0, ".mlx-comparison").count()
