"""The panel of runs in a browser's page, used as its user would: rows chosen, menus opened, items taken."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drive import START, STARTED
from lab import write_notebook
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lab import Lab
    from playwright.sync_api import Locator, Page

expect.set_options(timeout=60_000)  # a store's first answer takes seconds, and many on a busy machine


def open_panel(page: Page, lab: Lab, path: Path) -> Locator:
    """Open a page at a notebook, and its panel, with the keys; return the panel."""
    page.goto(lab.address(path))
    page.wait_for_function(STARTED, timeout=START)
    page.keyboard.press("Control+Alt+x")
    panel = page.locator(".mlx-Runs")
    panel.wait_for()
    return panel


def open_at_new(page: Page, lab: Lab, folder: Path, cells: Sequence[str] = ("x = 1",)) -> Locator:
    """Open the panel at a notebook that is written for it."""
    return open_panel(page, lab, write_notebook(folder / "n.ipynb", cells))


def rows(panel: Locator) -> list[str]:
    """Return the names in the list, from the top."""
    return panel.locator(".mlx-Runs-name").all_inner_texts()


def row(panel: Locator, text: str | re.Pattern[str]) -> Locator:
    """Return the rows with a text."""
    return panel.get_by_role("treeitem").filter(has_text=text)


def open_group(panel: Locator) -> None:
    """Open the recorded group, by the keys, and wait for its trials."""
    row(panel, re.compile("^▸.*search")).click()
    panel.page.keyboard.press("ArrowRight")
    row(panel, "#0").wait_for()


def choose(panel: Locator, text: str | re.Pattern[str], *more: str | re.Pattern[str]) -> None:
    """Select runs by the mouse: the first alone, the others beside it."""
    row(panel, text).click()
    for one in more:
        row(panel, one).click(modifiers=["Control"])


def menu(panel: Locator, text: str | re.Pattern[str], name: str) -> None:
    """Take an item of a row's context menu."""
    row(panel, text).click(button="right")
    panel.page.get_by_role("menuitem", name=re.compile(f"^{name}( |$)")).click()  # its keys are part of its name


def toast(page: Page, text: str | re.Pattern[str]) -> Locator:
    """Return the notification with a text."""
    return page.locator(".Toastify__toast", has_text=text)
