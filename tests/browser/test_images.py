"""The environment of a notebook or a run exported as an image: what goes in is shown, then it is built, or written."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
from drive import Notebook, opened
from lab import THEMES, environment, make_project, serve, write_notebook

PICTURES = Path(__file__).parents[2] / "build" / "browser"
SETTINGS = "ml-experiment-nb:images"
PARAMETERS = "C = 0.5"
SCORE = """\
from ml_experiment_nb import report
import helper
open("data/a.csv"), open("data/b.csv"), open("/etc/hostname")
report(accuracy=C / 10)"""


def project(folder, sources=(PARAMETERS, SCORE)):
    """Write a notebook that has parameters, a module and data; return its path."""
    (folder / "data").mkdir()
    for name, size in (("a", 3000), ("b", 2_000_000)):
        (folder / "data" / f"{name}.csv").write_text("1" * size)
    (folder / "helper.py").write_text("ONE = 1\n")
    path = write_notebook(folder / "svm.ipynb", sources)
    found = nbformat.read(path, 4)
    found.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(found, path)
    return path


@pytest.fixture
def notebook(folder, open_notebook):
    return open_notebook(project(folder))


def dialog(notebook, how="key"):
    """Open the dialog by its key, or by its button."""
    if how == "button":
        notebook.page.locator("[data-jp-item-name='ml-experiment-nb-export-image']").locator(
            "button, jp-button"
        ).first.click()
    else:
        notebook.page.locator(".jp-Notebook").first.press("Control+Alt+i")
    found = notebook.page.locator(".mlx-ImageDialog")
    found.wait_for(timeout=90_000)
    return found


def planned(shown):
    """Wait until the dialog shows what goes in."""
    shown.get_by_text("as installed, above the base").wait_for(timeout=120_000)
    shown.locator("fieldset[aria-busy=false]").first.wait_for(timeout=120_000)


def pictures(page, command, name):
    for theme, told in THEMES.items():
        command("apputils:change-theme", theme=told)
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / f"{name}-{theme}.png", animations="disabled")


def jobs(lab, folder):
    return lab.ask(f"jobs?path={folder.relative_to(lab.root)}", under="ml-experiment-nb")["jobs"]


def test_what_goes_in_is_shown_and_bad_names_are_said_before_anything_is_started(notebook, folder, lab):
    page = notebook.page
    page.evaluate(
        "(text) => window.jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.setSource(text)",
        f"{SCORE}\nprint('changed')",
    )
    held, plan = [], "**/ml-experiment-nb/images/plan?*"
    page.route(plan, lambda one: held.append(one))  # until it was seen that this takes a while
    shown = dialog(notebook)
    assert "The notebook was saved" in shown.inner_text()
    assert "changed" in notebook.path.read_text()
    shown.get_by_text("Looking at what the code and its kernel need").wait_for()
    pictures(page, notebook.command, "image-loading")
    held[0].continue_()
    page.unroute(plan)
    planned(shown)
    assert page.evaluate("() => document.activeElement.id") == "mlx-image-tag"
    text = shown.inner_text()
    assert "Packages of an index" in text
    assert "Modules of the project\n1" in text
    assert "No image can be built here: no Docker engine answers" in text
    assert shown.get_by_label("Base image").get_attribute("placeholder").startswith("python:3.")
    shown.get_by_text("Local and editable packages").press("Enter")  # which opens it, and starts nothing
    shown.get_by_role("row", name="ml-experiment-nb").wait_for()
    assert shown.get_by_label("data/b.csv").is_checked()
    outside = shown.get_by_label("/etc/hostname")
    assert not outside.is_checked()
    assert outside.is_disabled()
    before = shown.locator(".mlx-Image-plan strong").inner_text()
    shown.get_by_label("JupyterLab").select_option("not in it")
    shown.get_by_text("JupyterLab is not in it").wait_for(timeout=120_000)
    planned(shown)
    assert shown.locator(".mlx-Image-plan strong").inner_text() != before
    shown.get_by_label("data/b.csv").uncheck()
    assert shown.get_by_label("All of it").evaluate("(node) => node.indeterminate")
    assert "Data\n1\n3 kB" in shown.inner_text()
    shown.get_by_label("Only packages that the code imports").check()
    shown.get_by_text("Left out: nothing imports them").wait_for(timeout=120_000)
    assert shown.locator(".mlx-Image-plan strong").inner_text() != before
    shown.get_by_label("Name and tag").fill("Team/SVM")
    shown.locator("#mlx-image-tag-said").get_by_text("is no name of an image: letters in lower case").wait_for()
    shown.get_by_label("Base image").fill("no name")
    shown.locator("#mlx-image-base-said").get_by_text("it has no spaces").wait_for()
    shown.get_by_label("New folder").fill("../outside")
    shown.get_by_text("leads out of the server's folder").wait_for()
    shown.get_by_label("New folder").fill(f"{folder.name}/data")
    shown.locator("#mlx-image-context-said").get_by_text("is there already").wait_for()
    pictures(page, notebook.command, "image-wrong")
    shown.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_timeout(500)
    assert shown.is_visible()
    assert jobs(lab, folder) == []


@pytest.fixture
def only_imports(lab):
    """The user's settings: the dialog begins with the packages alone that are imported."""
    lab.set(SETTINGS, {"onlyImports": True})
    yield
    lab.set(SETTINGS, {})


def test_without_an_engine_what_it_is_built_from_is_written_and_found_again(only_imports, notebook, folder, lab):
    page = notebook.page
    tab = start(notebook, dialog(notebook), folder)
    page.get_by_role("button", name="Stop", exact=True).last.click()
    tab.locator(".mlx-Job-state", has_text="stopped").wait_for(timeout=90_000)
    assert not (folder / "svm-image").exists()
    page.locator(".lm-TabBar-tab", has_text="svm.ipynb").click()
    tab = start(notebook, dialog(notebook, "button"), folder)
    made = tab.get_by_role("region", name="Result")
    made.wait_for(timeout=300_000)
    command = f"docker build -t team/svm:1 {folder / 'svm-image'}"
    assert made.locator("code").inner_text() == command
    assert "writing the build context" in tab.get_by_label("Log").last.inner_text()
    told = page.locator(".Toastify__toast", has_text="team/svm:1 is made")
    told.wait_for(timeout=60_000)
    assert told.get_by_role("button", name="Show Result").is_visible()
    pictures(page, notebook.command, "image-context")
    assert (folder / "svm-image/Dockerfile").read_text().count("FROM python:3.") == 1
    assert sorted(os.listdir(folder.joinpath("svm-image", "work", "data"))) == ["a.csv"]
    page.goto(lab.address(notebook.path))  # in a page that knows nothing of it
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context?.isReady", timeout=90_000)
    page.get_by_role("menuitem", name="Experiments").click()
    page.locator(".lm-Menu").get_by_text("Show Log of a Job…").click()
    page.locator(".jp-Dialog").get_by_role("button", name="OK").click(timeout=60_000)  # the newest stands first
    again = page.locator(".mlx-Job").get_by_role("region", name="Result")
    again.wait_for(timeout=90_000)
    assert again.locator("code").inner_text() == command
    assert [one["state"] for one in jobs(lab, folder)] == ["finished", "stopped"]


def start(notebook, shown, folder):
    """Have written what an image is built from, without one of the files, and return the tab with its log."""
    page = notebook.page
    planned(shown)
    shown.get_by_label("data/b.csv").uncheck()
    shown.get_by_label("Name and tag").fill("team/svm:1")
    assert shown.get_by_label("New folder").input_value() == f"{folder.name}/svm-image"
    shown.get_by_role("button", name="Write", exact=True).click()
    shown.wait_for(state="detached", timeout=60_000)
    return page.locator(".mlx-Job:not(.lm-mod-hidden .mlx-Job)")


@pytest.mark.docker
@pytest.mark.timeout(1500)  # nearly all is the build: 130 packages and their bytecode
def test_a_run_is_built_into_an_image_proven_and_pushed(browser, docker_engine, database, tmp_path):
    """On a real engine, with a registry of its own."""
    import engine

    env = docker_engine.environment
    (tmp_path / "registry").mkdir()
    with engine.registry(tmp_path / "registry") as address, serve(tmp_path, env) as lab:
        name = f"{address}/team/svm:1"
        lab.set(SETTINGS, {"onlyImports": True, "base": engine.BASE})
        folder = make_project(lab.root / "project", database)
        path = project(folder)
        words = ["ml-experiment", "run", "-q", str(path), "-p", "C", "3", f"--cwd={folder}"]
        subprocess.run(words, cwd=folder, check=True, timeout=300, env=environment(tmp_path))
        with opened(browser, lab) as (page, heard):
            notebook = Notebook.open(page, lab, path)
            notebook.command("ml-experiment-nb:show-runs")
            row = page.locator(".mlx-Runs-list").get_by_text("svm", exact=True).last
            row.click(timeout=90_000)
            row.click(button="right")
            page.locator(".lm-Menu").get_by_text("Export as Image…").click()
            shown = page.locator(".mlx-ImageDialog")
            planned(shown)
            assert shown.get_by_label("Prove it").is_checked()
            assert shown.get_by_label("Only packages that the code imports").is_checked()
            assert shown.get_by_label("Base image").input_value() == engine.BASE
            shown.get_by_label("Tolerances").fill("acuracy=1%")
            shown.locator("#mlx-image-tolerances-said").get_by_text("the run has no metric 'acuracy'").wait_for()
            shown.get_by_label("Tolerances").fill("accuracy=1%")
            shown.get_by_label("Push it").check()
            pictures(page, notebook.command, "image-of-run")
            shown.get_by_label("Name and tag").fill(name)
            shown.get_by_role("button", name="Build", exact=True).click()
            shown.wait_for(state="detached", timeout=60_000)
            tab = page.locator(".mlx-Job")
            tab.get_by_label("Log").get_by_text("uv venv").wait_for(timeout=300_000)
            assert tab.locator(".mlx-Job-state").inner_text() == "running"
            made = tab.get_by_role("region", name="Result")
            made.wait_for(timeout=900_000)
            assert "The run repeated in it: identical: 1 metric is the same" in made.inner_text()
            assert made.locator(".mlx-Made-command code").inner_text() == f"docker run --rm {name}"
            digest = re.search(r"pushed as (sha256:\w{64})", made.inner_text())[1]
            manifests = urlopen(f"http://{address}/v2/team/svm/tags/list", timeout=60)
            assert json.load(manifests) == {"name": "team/svm", "tags": ["1"]}
            urlopen(f"http://{address}/v2/team/svm/manifests/{digest}", timeout=60).close()
            assert made.get_by_role("row").count() > 4
            page.locator(".Toastify__toast", has_text=f"{name} is made").wait_for(timeout=60_000)
            pictures(page, notebook.command, "image-built")
            made.get_by_role("button", name="Copy the command").click()
            made.get_by_text("Copied").wait_for()
            assert not str(heard), heard
        run = ["docker", "run", "--rm", "--network=none", name, "-q", "--json", "-p", "C", "5"]
        said = json.loads(subprocess.check_output(run, env={**os.environ, **env}, text=True, timeout=300))
        assert said["metrics"] == {"accuracy": 0.5}
