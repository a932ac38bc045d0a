"""JupyterLab in a Chromium: one server and one browser for all tests, a project and a page for each.

Playwright's synchronous interface has an event loop of its own, so these tests are a pytest of their own:
``make test-browser``, or ``pytest -m browser tests/browser``.
"""

from __future__ import annotations

import importlib.util
import re
from functools import partial
from pathlib import Path

import pytest
from drive import Notebook, find_chromium, launched, opened
from lab import make_project, serve

HERE = Path(__file__).parent
FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("browser")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def browser():
    """A Chromium."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("Playwright is not installed: pip install playwright")
    if (program := find_chromium()) is None:
        pytest.skip("no Chromium is installed: apt-get install chromium, or name one in CHROMIUM")
    with launched(program) as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory):
    """A JupyterLab that runs; without a browser, none is started."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed: pip install 'ml-experiment-nb[lab]'")
    with serve(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def folder(lab, database, request):
    """A project of the test's own, below the server's root: put notebooks here."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    yield make_project(lab.root / name, database)
    lab.end_kernels()


@pytest.fixture
def theme():
    """The theme of the test's page; a test that is parametrized with ``theme`` has it otherwise."""
    return "light"


@pytest.fixture
def listened(browser, lab, theme):
    """A page of the test's own, and what it asks for elsewhere and logs."""
    with opened(browser, lab, theme) as (page, heard):
        yield page, heard


@pytest.fixture
def heard(listened):
    """What the test's page logs: a test that makes the server refuse something takes from it what that has logged."""
    return listened[1]


@pytest.fixture
def page(listened, request):
    """A page of the test's own, which must log no error and ask for nothing that is elsewhere.

    Of a test that fails, it leaves a picture in ``build/browser``.
    """
    page, heard = listened
    yield page
    if request.node.stash.get(FAILED, False):
        name = re.sub(r"\W+", "-", request.node.name).strip("-")
        page.screenshot(path=HERE.parents[1] / "build" / "browser" / f"{name}.png")
    assert not str(heard), heard


@pytest.fixture
def open_notebook(page, lab):
    """Open a notebook in the test's page; once more, it is reloaded."""
    return partial(Notebook.open, page, lab)


@pytest.fixture
def open_panel(page, lab, folder):
    """Open the panel of runs in the test's page, at a notebook that is written for it; return the panel."""
    from runs_panel import open_at_new  # which needs Playwright

    return partial(open_at_new, page, lab, folder)


@pytest.fixture(scope="session")
def recorded(database, tmp_path_factory):
    """A store with the runs of `recorded_runs`."""
    from recorded_runs import record  # which needs MLflow

    return record(make_project(tmp_path_factory.mktemp("recorded"), database))


@pytest.fixture
def panel(open_panel, folder, recorded):
    """The panel of the recorded runs, with its list."""
    (folder / ".ml-experiment" / "mlflow.db").write_bytes(recorded.read_bytes())
    panel = open_panel()
    panel.get_by_role("treeitem").first.wait_for()
    return panel
