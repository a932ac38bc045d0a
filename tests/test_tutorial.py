"""The tutorial, followed word for word, page after page in one folder.

In a block, a first line ``# name.ext`` makes it a file. ``bash`` blocks are run line by line, ``python`` blocks are the
cells of one notebook a page. ``shell`` blocks set up what a test doesn't have.
"""

import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parents[1] / "docs/tutorial"
PAGES = re.findall(r"^\d+\. \[.*\]\((.+\.md)\)", (TUTORIAL / "index.md").read_text(), re.M)
BIN = Path(sys.executable).parent


def test_each_page_is_listed_and_leads_to_the_next():
    assert {*PAGES, "index.md"} == {path.name for path in TUTORIAL.glob("*.md")}
    for page, following in pairwise(PAGES):
        assert f"]({following})" in (TUTORIAL / page).read_text()


@pytest.mark.kernel
@pytest.mark.ray
@pytest.mark.slow
def test_it_works_as_it_is_written(project, monkeypatch):
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    seen = 0
    for page in PAGES:
        cells = []
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```", (TUTORIAL / page).read_text(), re.M | re.S):
            seen += 1
            if named := re.match(r"# (\S+\.\w+)\n", text):
                (project / named[1]).write_text(text.split("\n", 1)[1])
            elif language == "bash":
                cells += [
                    f"__import__('subprocess').run({line!r}, shell=True, check=True)" for line in text.splitlines()
                ]
            elif language == "python":
                cells.append(text.strip())
        execute(cells, project)
    assert seen > 25
    executed = nbformat.read(project / "out.ipynb", 4)
    assert "C = 2" in "".join(cell.source for cell in executed.cells if "injected" in str(cell.metadata))
    assert len((project / "results.csv").read_text().splitlines()) == 4


def execute(cells, folder):
    """Run a notebook of these cells; one that fails fails here."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(folder)}}).execute()
