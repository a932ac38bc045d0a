"""A notebook run as an experiment or a group by the form made of its parameters, without its page and kernel."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest
from drive import Notebook, opened
from lab import THEMES, write_notebook
from playwright.sync_api import expect

PICTURES = Path(__file__).parents[2] / "build" / "browser"
PARAMETERS = 'C = 0.5  # how much a mistake costs\nkernel = "rbf"\nrows = len("abc")'
SCORE = """\
import time
from ml_experiment_nb import report
while not __import__("pathlib").Path("go").exists(): time.sleep(0.1)
report(accuracy=C / 10)"""


@pytest.fixture
def notebook(folder, open_notebook):
    path = write_notebook(folder / "svm.ipynb", [PARAMETERS, SCORE])
    found = nbformat.read(path, 4)
    found.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(found, path)
    return open_notebook(path)


def form(notebook, name="ml-experiment-nb-run-as"):
    """Open the form by the toolbar's button."""
    notebook.page.locator(f"[data-jp-item-name='{name}'] >> :is(button, jp-button)").first.click()
    found = notebook.page.locator(".mlx-Form")
    found.wait_for(timeout=90_000)
    return found


def press(notebook, name):
    notebook.page.locator(".mlx-FormDialog").get_by_role("button", name=name, exact=True).click()


def param(form, name):
    return form.locator(f"[id='mlx-field-params.{name}']")


def said(form, field):
    """Return what is said below a field."""
    return form.locator(f"[id='mlx-field-{field}-said']")


def toast(page, text):
    return page.locator(".Toastify__toast", has_text=text)


def pictures(notebook, name):
    for theme, told in THEMES.items():
        notebook.command("apputils:change-theme", theme=told)
        notebook.screenshot(PICTURES / f"{name}-{theme}.png")


def jobs(lab, folder):
    return lab.ask(f"jobs?path={folder.relative_to(lab.root)}", under="ml-experiment-nb")["jobs"]


def test_a_notebook_is_run_as_an_experiment_which_goes_on_without_the_page(notebook, folder, lab):
    page = notebook.page
    page.evaluate(
        "(text) => window.jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.setSource(text)",
        f"{SCORE}\nprint('changed')",
    )
    shown = form(notebook)
    assert "The notebook was saved" in shown.inner_text()
    assert "changed" in notebook.path.read_text()
    assert (param(shown, "C").input_value(), param(shown, "kernel").input_value()) == ("0.5", '"rbf"')
    assert said(shown, "params.C").inner_text() == "float · how much a mistake costs"
    assert param(shown, "rows").get_attribute("placeholder") == 'len("abc")'
    param(shown, "C").fill("much")
    said(shown, "params.C").get_by_text("is not a number").wait_for()
    press(notebook, "Run")
    page.wait_for_timeout(300)
    assert shown.is_visible()
    assert jobs(lab, folder) == []
    pictures(notebook, "run-as-experiment")
    param(shown, "C").fill("8")
    press(notebook, "Run")
    toast(page, "svm").wait_for(timeout=60_000)
    assert shown.count() == 0
    toast(page, "cell 3 of 3: import time").wait_for(timeout=90_000)
    notebook.save()
    page.goto("about:blank")
    (folder / "go").touch()
    until = time.monotonic() + 90
    while (found := jobs(lab, folder)[0])["ended"] is None:
        assert time.monotonic() < until
        time.sleep(0.5)
    assert (found["state"], found["name"]) == ("finished", "svm")
    page.goto(lab.address(notebook.path).removesuffix("&reset"))
    told = toast(page, "svm has finished")
    told.wait_for(timeout=90_000)
    told.get_by_role("button", name="Open Notebook").click()
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.context?.path.includes('executed')", timeout=60_000
    )
    page.locator(".jp-OutputArea-output", has_text="changed").first.wait_for()


def test_a_notebook_is_run_as_a_group_when_all_that_is_typed_can_be_read(notebook, folder, lab):
    page = notebook.page
    (folder / "go").touch()
    shown = form(notebook)
    shown.get_by_label("Group: many runs").click()
    page.wait_for_timeout(1500)  # nobody is told of what they haven't come to yet
    assert shown.get_by_text("something to search").count() == 0
    press(notebook, "Run")
    said(shown, "metric").get_by_text("A group needs a metric").wait_for()
    shown.get_by_label("Metric").fill("accuracy")
    press(notebook, "Run")
    shown.get_by_text("something to search").wait_for()
    param(shown, "C").fill("loguniform(10, 1)")
    said(shown, "params.C").get_by_text("low").wait_for()
    param(shown, "C").fill("uniform(1, 2)")
    shown.get_by_label("Trials").fill("2.5")
    said(shown, "trials").get_by_text("2.5 is no such number").wait_for()
    shown.get_by_label("Trials").fill("2")
    shown.get_by_label("Sampler").fill("TPF")
    said(shown, "sampler").get_by_text("TPE").wait_for()
    pictures(notebook, "run-as-group")
    shown.get_by_label("Sampler").fill("random")
    shown.get_by_label("Slots").fill("1")
    press(notebook, "Run")
    told = toast(page, "svm has finished")
    told.wait_for(timeout=120_000)
    told.get_by_role("button", name="Show Run").click()
    page.locator(".mlx-Run").get_by_role("heading", name="svm").wait_for(timeout=60_000)
    (found,) = jobs(lab, folder)
    assert (found["kind"], found["state"], found["progress"]["done"]) == ("group", "finished", 2)


def tab_to(page, button):
    """Press Tab until a button has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError("the button can't be reached by keys")


def test_what_is_started_by_a_form_that_is_left_is_followed_and_stopped_by_keys(notebook, heard):
    page, posted, held = notebook.page, "**/ml-experiment-nb/jobs?*", []
    form(notebook)
    page.route(posted, lambda one: held.append(one) if one.request.method == "POST" else one.continue_())
    with page.expect_request(lambda one: one.method == "POST" and "/ml-experiment-nb/jobs?" in one.url):
        press(notebook, "Run")
    page.keyboard.press("Escape")
    expect(page.locator(".mlx-FormDialog")).to_have_count(0)
    held[0].continue_()
    told = toast(page, "svm: cell 2 of 2")  # which waits for its file
    told.wait_for(timeout=120_000)
    tab_to(page, told.get_by_role("button", name="Show Log"))
    page.keyboard.press("Enter")
    tab = page.locator(".jp-MainAreaWidget:has(.mlx-Job)")
    tab.locator(".mlx-Job-state", has_text="running").wait_for()
    page.route("**/stop?*", lambda one: one.fulfill(status=409, json={"message": "it can't be stopped now"}))
    tab.get_by_role("button", name="Stop").click()
    refused = tab.get_by_role("alert").filter(has_text="it can't be stopped now")
    refused.wait_for()
    with page.expect_response(lambda one: "/log?" in one.url):  # how it stands is asked for again
        pass
    expect(refused).to_be_visible()
    heard.errors[:] = [one for one in heard.errors if "409" not in one]
    page.unroute("**/stop?*")
    tab_to(page, told.get_by_role("button", name="Stop"))
    page.keyboard.press("Enter")
    toast(page, "svm was stopped").wait_for(timeout=120_000)


def test_one_without_parameters_can_be_run_and_a_lost_server_and_a_failure_are_said(folder, browser, lab):
    path = write_notebook(folder / "plain.ipynb", ["1 / 0"])
    with opened(browser, lab) as (page, _):  # which logs that the server could not be reached
        notebook = Notebook.open(page, lab, path)
        shown = form(notebook)
        assert "add `parameters` under Cell Tags" in shown.inner_text()
        shown.get_by_text("What will be done").wait_for()
        page.route("**/ml-experiment-nb/**", lambda route: route.abort())
        press(notebook, "Run")
        shown.get_by_text("The server does not answer: nothing was started").wait_for()
        page.unroute("**/ml-experiment-nb/**")
        press(notebook, "Run")
        told = toast(page, "plain has failed: ZeroDivisionError")
        told.wait_for(timeout=120_000)
        told.get_by_role("button", name="Show Log").click()
        log = page.locator(".mlx-Job").get_by_label("Log")
        log.get_by_text("ZeroDivisionError: division by zero").wait_for(timeout=60_000)
