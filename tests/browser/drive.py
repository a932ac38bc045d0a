"""A notebook in a browser's page, driven as its user would: opened, run, looked at."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import THEMES, Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SIZE = {"width": 1200, "height": 900}
START = 90_000  # milliseconds that a page and its kernel may take on a busy machine
STARTED = """() => {
    const shown = window.jupyterapp?.shell?.currentWidget, kernel = shown?.sessionContext?.session?.kernel;
    return Boolean(shown?.context?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle");
}"""
"""Whether the page's notebook can be run: before its kernel is connected, JupyterLab drops what it is told to run."""
RUN = """async ([index, limit]) => {
    const { commands, shell } = window.jupyterapp, { content } = shell.currentWidget;
    if (index !== null) content.activeCellIndex = index;
    const ended = commands.execute(index === null ? "notebook:run-all-cells" : "notebook:run-cell");
    const late = new Promise((_, fail) => setTimeout(() => fail(new Error("the cells didn't end")), limit));
    await Promise.race([ended, late]);
}"""
COMMAND = "([name, options]) => window.jupyterapp.commands.execute(name, options).then(() => null)"
COUNTS = "() => window.jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.executionCount ?? null)"

KNOWN_ERRORS = {
    "Could not restore the debugger state: Canceled future": "JupyterLab's, of a kernel that is left for another",
    "Canceled future for create_subshell_request": "ipywidgets', of a kernel that restarts too soon",
    r"reading 'schema'\)\n.*/static/notebook/notebook_core": "Notebook's own, of settings that only JupyterLab has",
    r"reading 'last_modified'\)\n.*/static/notebook/": "Notebook 7.2's own, of a document that has no checkpoint yet",
}
"""Errors that a page logs and that aren't ours: what they look like, and why they are there."""


def find_chromium() -> str | None:
    """Return the program of a Chromium; None where there is none."""
    told = os.environ.get("CHROMIUM")
    return told or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def launched(program: str) -> Iterator[Browser]:
    """Run a browser that knows no address but this machine's."""
    from playwright.sync_api import sync_playwright

    words = ["--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    words += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=words)
        yield browser
        browser.close()


@dataclass
class Heard:
    """What a page asked for elsewhere, and the errors that it logged."""

    lab: str
    away: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))
        page.on("pageerror", lambda error: self._logged(error.stack or str(error)))
        page.on("console", lambda said: self._logged(said.text) if said.type == "error" else None)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.lab, self.lab.replace("http", "ws", 1), "data:", "blob:", "about:")):
            self.away.append(url)

    def _logged(self, text: str) -> None:
        if not any(re.search(known, text) for known in KNOWN_ERRORS):
            self.errors.append(text)

    def __str__(self) -> str:
        lines = [f"asked for, elsewhere: {url}" for url in dict.fromkeys(self.away)]
        return "\n".join(lines + [f"logged: {text}" for text in self.errors])


@contextmanager
def opened(browser: Browser, lab: Lab, theme: str = "light", **options: Any) -> Iterator[tuple[Page, Heard]]:
    """Open a page that remembers nothing, in a theme, and listen to it."""
    lab.set("@jupyterlab/apputils-extension:themes", {"theme": THEMES[theme]})
    context = browser.new_context(**{"viewport": SIZE, "color_scheme": theme, "reduced_motion": "reduce"} | options)
    try:
        page, heard = context.new_page(), Heard(lab.url)
        page.set_default_timeout(30_000)
        heard.listen(page)
        yield page, heard
    finally:
        context.close()


@dataclass(frozen=True)
class Notebook:
    """A notebook that is open in a page; cells are counted from 0."""

    page: Page
    lab: Lab
    path: Path

    @classmethod
    def open(cls, page: Page, lab: Lab, path: Path) -> Notebook:
        """Open a notebook, or open it again, and wait for its kernel: JupyterLab starts one if it has none."""
        page.goto(lab.address(path))
        page.wait_for_function(STARTED, timeout=START)
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        return cls(page, lab, path)

    def run(self, cell: int, limit: float = 120.0) -> None:
        """Run one cell, and wait for its end, `limit` seconds at most."""
        self.page.evaluate(RUN, [cell, limit * 1000])

    def run_all(self, limit: float = 240.0) -> None:
        """Run all cells, and wait for their end, `limit` seconds at most."""
        self.page.evaluate(RUN, [None, limit * 1000])

    def start(self, cell: int) -> None:
        """Run one cell, and don't wait for its end."""
        self.page.evaluate("(all) => { (" + RUN + ")(all); }", [cell, 2**31 - 1])

    def command(self, name: str, **options: Any) -> None:
        """Execute a command of JupyterLab's, and wait for its end."""
        self.page.evaluate(COMMAND, [name, options])

    def save(self) -> None:
        """Save it."""
        self.command("docmanager:save")

    @property
    def counts(self) -> list[int | None]:
        """The cells' execution counts."""
        found: list[int | None] = self.page.evaluate(COUNTS)
        return found

    def cell(self, index: int) -> Locator:
        """Return a cell."""
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")

    def output(self, index: int, inside: str = "") -> Locator:
        """Return what a cell shows, or elements of it; wait for one with its ``wait_for()``."""
        return self.cell(index).locator(f".jp-OutputArea-output {inside}".strip())

    def screenshot(self, to: Path, index: int | None = None) -> Path:
        """Take a picture of what the page shows, or of one cell's output."""
        to.parent.mkdir(parents=True, exist_ok=True)
        shown = self.page if index is None else self.cell(index).locator(".jp-Cell-outputArea")
        shown.screenshot(path=to, animations="disabled")
        return to
