"""Editing in JupyterLab: what stands below a magic's line is Python to the editor."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import THEMES, write_notebook

PICTURES = Path(__file__).parents[2] / "build" / "browser"
BODY = 'C = 0.5\nif C:\n    kernel = "rbf"  # quoted'
LINES = ['%%experiment "SVM with RBF kernel" --seed 1', "%%group it's --trials 12 -p x={", "%%experiment"]
TOKENS = """(cell) => [...cell.querySelectorAll(".cm-line")].map((line) => [...line.querySelectorAll("span")]
    .map((span) => [span.textContent, getComputedStyle(span).color]))"""


def tokens(notebook, index):
    """Return the coloured words of a cell's lines, and their colours."""
    cell = notebook.cell(index)
    cell.locator(".cm-line span").first.wait_for()
    return cell.evaluate(TOKENS)


@pytest.mark.parametrize("theme", THEMES)
def test_what_stands_below_a_magic_has_the_colours_of_python(folder, open_notebook, theme):
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [BODY, *(f"{line}\n{BODY}" for line in LINES)]))
    notebook.page.wait_for_timeout(500)
    plain = tokens(notebook, 0)
    assert [word for word, _ in plain[2]] == ["=", '"rbf"', "# quoted"]
    for index, line in enumerate(LINES, 1):
        head, *body = tokens(notebook, index)
        assert body == plain
        keyword = next(colour for word, colour in plain[1] if word == "if")
        assert head[0] == [line.split()[0], keyword]
    words = [word for word, _ in tokens(notebook, 1)[0]]
    assert words == ["%%experiment", '"SVM with RBF kernel"', "--seed", "1"]
    notebook.screenshot(PICTURES / f"magics-{theme}.png")
