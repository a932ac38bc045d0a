"""Pictures of JupyterLab for README and docs: ``PYTHONPATH=tests python tests/browser/screenshots.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from drive import Notebook, find_chromium, launched, opened
from lab import THEMES, Lab, serve, write_notebook
from playwright.sync_api import Browser
from test_card_page import CELL, CELLS, MANY, edit
from test_live_group import LOAD, SLOW, until

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LARGEST = 200_000  # bytes of a picture


def main(to: Path) -> None:
    program = find_chromium()
    if program is None:
        sys.exit("no Chromium is installed: apt-get install chromium, or name one in CHROMIUM")
    with tempfile.TemporaryDirectory() as home, launched(program) as browser, serve(Path(home)) as lab:
        for theme in THEMES:
            folder = lab.root / theme
            (folder / ".ml-experiment").mkdir(parents=True)
            path = write_notebook(folder / "svm.ipynb", [*CELLS, MANY.replace("range(300)", "range(8)")])
            for shot in (*of_runs(browser, lab, theme, path, to), *of_a_search(browser, lab, theme, folder, to)):
                print(f"{shot}: {shot.stat().st_size:,} bytes")
                if shot.stat().st_size > LARGEST:
                    sys.exit(f"{shot} is larger than {LARGEST:,} bytes")
            lab.end_kernels()


def of_runs(browser: Browser, lab: Lab, theme: str, path: Path, to: Path) -> list[Path]:
    """Take pictures of what single cells show, and of what stays of a group."""
    with opened(browser, lab, theme, viewport={"width": 1100, "height": 1400}) as (page, _):
        notebook = Notebook.open(page, lab, path)
        for cell in (0, 1):
            notebook.run(cell)
        edit(notebook, 1, CELL.replace("C = 0.5", "C = 1.5"))
        for cell in (1, 2, 3):
            notebook.run(cell)
        names = (("card", 1), ("failed", 2), ("saved", 3))
        return [notebook.screenshot(to / f"{name}-{theme}.png", cell) for name, cell in names]


def of_a_search(browser: Browser, lab: Lab, theme: str, folder: Path, to: Path) -> list[Path]:
    """Take pictures of a group while it runs, and of its trials side by side."""
    compare = "from ml_experiment_nb import compare\ncompare(runs)"
    path = write_notebook(folder / "search.ipynb", [LOAD, SLOW, compare])
    with opened(browser, lab, theme, viewport={"width": 1100, "height": 1400}) as (page, _):
        notebook = Notebook.open(page, lab, path)
        notebook.run(0)
        notebook.start(1)
        view = notebook.output(1, ".mlx-live")
        view.wait_for(timeout=90_000)
        until(view, r"^[78] of 12 trials")
        until(view, r"^step \d")
        live = notebook.screenshot(to / f"live-{theme}.png", 1)
        until(view, "^took")
        notebook.run(2)
        notebook.output(2, ".mlx-row").first.wait_for()
        page.wait_for_timeout(1000)  # its plots are drawn after the table
        return [live, notebook.screenshot(to / f"comparison-{theme}.png", 2)]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
