"""The tutorial, followed word for word, page after page in one folder.

In a block, a first line ``# name.ext`` makes it a file. ``bash`` blocks are run line by line, ``python`` blocks are the
cells of one notebook a page. ``shell`` blocks set up what a test doesn't have; those of the image are run where there
is a Docker engine.
"""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIAL = Path(__file__).parents[2] / "docs/tutorial"
PAGES = re.findall(r"^\d+\. \[.*\]\((.+\.md)\)", (TUTORIAL / "index.md").read_text(), re.M)
BIN = Path(sys.executable).parent


def test_each_page_is_listed_and_leads_to_the_next():
    assert {*PAGES, "index.md"} == {path.name for path in TUTORIAL.glob("*.md")}
    for page, following in pairwise(PAGES):
        assert f"]({following})" in (TUTORIAL / page).read_text()


@pytest.mark.kernel
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_works_as_it_is_written(project, monkeypatch):
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    seen = 0
    for page in PAGES:
        cells = []
        for language, text in blocks(page):
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
    assert "FROM python:" in (project / "image/Dockerfile").read_text()


@pytest.mark.docker
@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_image_is_built_and_run_as_it_is_written(project, docker, monkeypatch):
    import engine

    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ML_EXPERIMENT_NB_SKIP_LABEXTENSION", "1")
    execute(
        [text.strip() for language, text in blocks("headless.md") if language == "python" and "# tr" not in text],
        project,
    )
    lines = {
        lang: [line for one, text in blocks("image.md") if one == lang for line in text.splitlines()]
        for lang in ("bash", "shell")
    }
    plan = sh(lines["bash"][0])
    base = re.search(r"^base +(\S+)", plan, re.M)[1]
    sh(f"docker tag {engine.BASE} {base}")  # else it would be asked of a registry
    build, run = lines["shell"]
    assert "digits:1" in sh(build)
    assert "val_accuracy=0.9" in sh(run)


def blocks(page):
    """Return a page's blocks of code, each with its language."""
    return re.findall(r"^```(\w+)\n(.*?)^```", (TUTORIAL / page).read_text(), re.M | re.S)


def sh(line):
    """Run a line of a terminal; one that fails fails here."""
    done = subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def execute(cells, folder):
    """Run a notebook of these cells; one that fails fails here."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
