"""The ground of these tests: a notebook opens, runs and is looked at, and a page that misbehaves is found out."""

from __future__ import annotations

import pytest
from drive import Notebook, opened
from lab import THEMES, write_notebook


@pytest.mark.parametrize("theme", THEMES)
def test_a_notebook_is_opened_and_run_in_a_theme(folder, open_notebook, theme, tmp_path):
    path = write_notebook(folder / "n.ipynb", ["#md # A title", "a = 20", "print(a + 1)\na + 2"])
    notebook = open_notebook(path)
    assert notebook.page.locator("body").get_attribute("data-jp-theme-light") == str(theme == "light").lower()
    notebook.run_all()
    assert notebook.counts == [None, 1, 2]
    assert notebook.output(2).all_inner_texts() == ["21\n", "22"]
    notebook.run(2)
    assert notebook.counts == [None, 1, 3]
    assert notebook.screenshot(tmp_path / "cell.png", 2).stat().st_size > 500


def test_a_cell_that_runs_is_looked_at_and_interrupted(folder, open_notebook):
    source = "import time\nprint('begun', flush=True)\ntime.sleep(600)"
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [source]))
    notebook.start(0)
    notebook.output(0).get_by_text("begun").wait_for()
    notebook.command("notebook:interrupt-kernel")
    notebook.output(0).get_by_text("KeyboardInterrupt").first.wait_for()


def test_a_saved_notebook_is_opened_again_with_another_kernel(folder, lab, open_notebook):
    path = write_notebook(folder / "n.ipynb", ["n = 42\nn"])
    notebook = open_notebook(path)
    notebook.run_all()
    notebook.save()
    lab.end_kernels()
    again = open_notebook(path)
    assert again.output(0).inner_text() == "42"
    assert again.counts == [1]


def test_a_page_that_asks_elsewhere_or_logs_an_error_is_found_out(folder, browser, lab):
    path = write_notebook(folder / "n.ipynb", ["1"])
    with opened(browser, lab) as (page, heard):
        Notebook.open(page, lab, path)
        assert not str(heard)
        page.evaluate("() => { console.error('of the page'); setTimeout(() => { throw new Error('thrown'); }); }")
        page.evaluate("() => fetch('http://example.org/x.js').catch(() => null)")
        for _ in range(300):
            if heard.away and len(heard.errors) >= 2:
                break
            page.wait_for_timeout(100)
    assert heard.away == ["http://example.org/x.js"]
    assert [text.splitlines()[0] for text in heard.errors[:2]] == ["of the page", "Error: thrown"]
