"""The extension in other front ends than the newest JupyterLab: the wheel, in an environment of each one's own.

``FRONT_ENDS="jupyterlab==4.3.* jupyterlab==4.4.*" pytest tests/browser/test_front_ends.py`` tries others than CI does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from drive import COMMAND, Notebook, opened
from lab import serve, write_notebook
from playwright.sync_api import TimeoutError, expect
from runs_panel import row

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "build" / "browser"
FRONT_ENDS = os.environ.get("FRONT_ENDS", "jupyterlab==4.2.* notebook>=7.2,<8").split()
CELLS = [
    "%load_ext ml_experiment_nb",
    '%%experiment SVM\nC = 0.5\n{"accuracy": C}',
    '%%experiment SVM\nC = 0.7\n{"accuracy": C}',
    "%compare",
]
SCROLL = "(k) => window.jupyterapp.shell.currentWidget.content.scrollToItem(k).then(() => null)"
BAD = "<script>window.bad = 1</script><img src='data:,x' onerror='window.bad = 1'>"
UNTRUSTED = {
    "application/vnd.ml-experiment-nb.v1+json": {"kind": "comparison"},
    "application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": "x"},
    "text/html": f"<table><tr><td onclick='window.bad = 1'>of somebody</td></tr></table>{BAD}",
    "text/plain": "a comparison",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module", params=FRONT_ENDS)
def front_end(request, browser, wheel, tmp_path_factory):
    """A front end that runs, its name, and what `jupyter` says there of its extensions."""
    name = re.split("[=<>~!]", request.param)[0]
    home = tmp_path_factory.mktemp(name)
    python = home / "venv" / "bin" / "python"
    uv("venv", "--quiet", "--python", sys.executable, home / "venv")
    uv("pip", "install", "--quiet", "--python", python, f"{wheel}[lab]", request.param)
    env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}  # it looks there for its other commands
    words = [python, "-m", "jupyter", "labextension", "list"]
    said = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    with serve(home / "server", python=str(python), program=name) as made:
        yield made, name, re.sub(r"\x1b\[\d*m", "", said.stdout + said.stderr)


def uv(*words):
    program = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr


def click_in_sight(page, index, button):
    """Scroll to a cell and click its button: 4.2 draws only cells that are seen, and a notebook that has the focus back
    scrolls to its active one."""
    for _ in range(20):
        page.evaluate(SCROLL, index)
        with suppress(TimeoutError):
            return button.click(timeout=3_000)
    raise AssertionError(f"the button of cell {index} can't be clicked")


def test_what_a_notebook_shows_and_what_runs_stand_in_the_panel(front_end, browser):
    lab, name, extensions = front_end
    assert re.search(r"ml-experiment-nb v\S+ enabled OK \(python, ml-experiment-nb\)", extensions), extensions
    folder = lab.root / "project"
    (folder / ".ml-experiment").mkdir(parents=True)
    path = write_notebook(folder / "n.ipynb", CELLS)
    foreign = write_notebook(folder / "foreign.ipynb", ["1"])
    found = nbformat.read(foreign, 4)
    found.cells[0].outputs = [nbformat.v4.new_output("display_data", data=UNTRUSTED)]
    nbformat.write(found, foreign)

    with opened(browser, lab) as (page, heard):
        page.set_default_timeout(90_000)  # much is imported for the first time
        notebook = Notebook.open(page, lab, path)
        notebook.run_all()
        notebook.output(3, ".mlx-row").nth(1).wait_for()
        expect(notebook.cell(3).locator(".mlx-Output")).to_have_attribute("data-mode", "live")
        expect(notebook.cell(1).locator(".mlx-Badge button")).to_have_text("finishedaccuracy 0.5")

        page.locator("[data-jp-item-name='ml-experiment-nb-run-as'] >> :is(button, jp-button)").first.click()
        form = page.locator(".mlx-FormDialog")
        form.get_by_text("What will be done").wait_for()
        form.get_by_role("button", name="Cancel").click()
        expect(form).to_have_count(0)

        click_in_sight(page, 1, notebook.cell(1).locator(".mlx-Badge button"))
        panel = page.locator(".mlx-Runs")
        panel.locator(".mlx-Run h3", has_text="SVM").wait_for()
        expect(panel.locator(".mlx-Runs-name")).to_have_text(["SVM", "SVM", "SVM"])
        page.screenshot(path=PICTURES / f"front-end-{name}.png")
        row(panel, "0.5").click()
        row(panel, "0.7").click(modifiers=["Control"])
        page.keyboard.press("c")
        page.locator(".mlx-Page table").wait_for()
        page.screenshot(path=PICTURES / f"front-end-{name}-compared.png")

        notebook.save()
        lab.end_kernels()
        again = Notebook.open(page, lab, path)
        page.evaluate(SCROLL, 3)
        saved = again.cell(3).locator(".mlx-Output[data-mode=saved]")
        expect(saved.get_by_role("row", name=re.compile(r"SVM.*0\.7 0\.7"))).to_be_visible()
        page.evaluate(COMMAND, ["ml-experiment-nb:show-runs", {}])
        expect(panel.locator(".mlx-Runs-name")).to_have_count(3)

        other = Notebook.open(page, lab, foreign)
        expect(other.cell(0).locator(".mlx-Output[data-mode=saved]")).to_have_text("of somebody")
        assert other.cell(0).locator(".mlx-Output td").get_attribute("onclick") is None
        assert page.evaluate("() => window.bad") is None
        assert not str(heard), heard
