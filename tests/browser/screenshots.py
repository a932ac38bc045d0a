"""Pictures of JupyterLab for README and docs: ``PYTHONPATH=tests python tests/browser/screenshots.py [FOLDER]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from drive import Notebook, find_chromium, launched, opened
from lab import THEMES, serve, write_notebook
from test_cards import CELL, CELLS, MANY, edit

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
            with opened(browser, lab, theme, viewport={"width": 1100, "height": 1400}) as (page, _):
                notebook = Notebook.open(page, lab, path)
                for cell in (0, 1):
                    notebook.run(cell)
                edit(notebook, 1, CELL.replace("C = 0.5", "C = 1.5"))
                for cell in (1, 2, 3):
                    notebook.run(cell)
                shots = [
                    notebook.screenshot(to / f"{name}-{theme}.png", cell)
                    for name, cell in (("card", 1), ("failed", 2), ("saved", 3))
                ]
            for shot in shots:
                print(f"{shot}: {shot.stat().st_size:,} bytes")
                if shot.stat().st_size > LARGEST:
                    sys.exit(f"{shot} is larger than {LARGEST:,} bytes")
            lab.end_kernels()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
