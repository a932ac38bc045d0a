"""The panel of runs in JupyterLab's side bar: looked at, filtered, used by keys and by the mouse, in both themes."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from drive import COMMAND, START
from lab import THEMES
from playwright.sync_api import expect
from recorded_runs import LONG, NINE
from runs_panel import choose, menu, open_group, row, rows

SLOW = """%%experiment "endless"
import time
for step in range(100_000):
    print("step", step)
    time.sleep(0.1)
"""
PICTURES = Path(__file__).parents[2] / "build" / "browser"
AXE = Path(__file__).parents[2] / "labextension/node_modules/axe-core/axe.min.js"
TRIALS = re.compile("/runs[?].*group=")  # the requests for those of a group


@pytest.mark.parametrize("theme", THEMES)
def test_runs_are_looked_at_by_keys_alone(panel, theme):
    page, keys = panel.page, panel.page.keyboard
    tree = panel.get_by_role("tree")
    expect(tree).to_be_focused()
    assert rows(panel) == ["trees", LONG, "SVM", "search", "first"]
    keys.press("End")
    keys.press("ArrowUp")
    keys.press("ArrowRight")
    row(panel, "#2").wait_for()
    assert rows(panel)[4:] == ["#2C=2.5", "#1C=1.5", "#0C=0.5", "first"]
    keys.press("ArrowRight")
    current = panel.locator(f"#{tree.get_attribute('aria-activedescendant')}")
    assert (current.get_attribute("aria-level"), current.get_attribute("aria-posinset")) == ("3", "1")
    assert "0.95" in current.inner_text()
    keys.press("Enter")
    details = panel.locator(".mlx-Run")
    expect(details).to_be_focused()
    keys.press("Escape")
    expect(tree).to_be_focused()
    assert current.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
    keys.press("Control+ArrowDown")
    expect(panel.locator("[role=treeitem][aria-selected=true]")).to_have_count(1)
    keys.press("Space")
    expect(panel.locator("[role=treeitem][aria-selected=true]")).to_have_count(2)
    keys.press("Space")
    keys.press("ArrowUp")
    keys.press("Enter")
    expect(details).to_be_focused()
    assert re.search(r"search #2\s+✓ finished · 2.50 s", details.inner_text())
    assert "C\t2.5" in details.inner_text()
    details.get_by_role("img", name="loss: from 1 to 0.25 over 3 values").wait_for()
    details.get_by_text("Artifacts", exact=True).click()
    details.get_by_role("link", name="figures/roc.txt").wait_for()
    details.get_by_text("Log", exact=True).click()
    assert details.get_by_label("Log", exact=True).inner_text() == "epoch 1\nepoch 2\n"
    assert page.locator("body").get_attribute("data-jp-theme-light") == str(theme == "light").lower()
    with page.expect_popup() as opened:
        details.get_by_role("link", name="figures/roc.txt").click()
    assert opened.value.locator("body").inner_text().split() == ["0", "0", "1", "1"]
    opened.value.close()
    page.keyboard.press("Control+Alt+x")
    expect(tree).to_be_focused()
    keys.press("End")
    details.get_by_text("ValueError: no <C> of -1").wait_for()
    keys.press("Control+Alt+x")
    keys.press("Home")
    keys.press("ArrowLeft")
    expect(panel.locator(".mlx-Runs-name")).to_have_count(7)
    keys.press("Control+a")
    expect(panel.locator("[role=treeitem][aria-selected=true]")).to_have_count(7)


def test_the_keys_are_where_they_were_when_a_menu_or_a_form_is_left(panel):
    page, keys = panel.page, panel.page.keyboard
    tree, more = panel.get_by_role("tree"), panel.get_by_title("More")
    row(panel, "first").click()
    keys.press("Shift+F10")
    expect(page.get_by_role("menuitem", name="Show Details")).to_be_visible()
    keys.press("Escape")
    expect(tree).to_be_focused()
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")  # over the list's title to the last button that can be pressed
    keys.press("ArrowRight")
    expect(more).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("menuitem", name="Show Details")).to_be_visible()
    keys.press("Escape")
    expect(more).to_be_focused()
    page.locator(".jp-Notebook").first.press("Escape")
    keys.press("Control+Alt+g")
    form = page.locator(".mlx-FormDialog")
    name = form.get_by_label("Name")
    expect(name).to_be_focused()
    fold = form.locator("summary", has_text="More")
    fold.press("Enter")  # which opens it, and starts nothing
    expect(form.get_by_label("Seed")).to_be_visible()
    form.get_by_role("button", name="Run", exact=True).focus()
    keys.press("Tab")
    expect(form.get_by_label("Group: many runs")).to_be_focused()
    keys.press("ArrowLeft")
    expect(form.get_by_label("Experiment: one run")).to_be_checked()
    keys.press("Escape")
    expect(form).to_have_count(0)
    assert page.evaluate("() => document.activeElement.closest('.jp-Notebook') !== null")


def test_runs_are_filtered_by_words_a_status_and_a_condition(panel, heard):
    box, status = panel.get_by_label("Filter runs"), panel.get_by_label("Status")
    names = panel.locator(".mlx-Runs-name")
    row(panel, "first").click()
    panel.page.keyboard.press("Control+f")
    expect(box).to_be_focused()
    panel.page.keyboard.press("ArrowDown")
    expect(panel.get_by_role("tree")).to_be_focused()
    box.fill("forest auc")
    expect(panel.get_by_text("No run is like that.")).to_be_visible()
    box.fill("svm failed")
    expect(names).to_have_text(["SVM", "first"])
    box.fill("accuracy >= 0.9 and C > 2")
    expect(names).to_have_text(["SVM", re.compile("^search #2")])
    box.fill("accuracy >=")
    expect(panel.get_by_role("alert")).to_contain_text("the filter 'accuracy >=' can't be read")
    expect(names).to_have_text(["SVM", re.compile("^search #2")])
    heard.errors[:] = [one for one in heard.errors if "400" not in one]  # Chromium logs what is refused
    box.fill("")
    expect(panel.get_by_role("alert")).to_have_count(0)
    status.select_option("failed")
    expect(names).to_have_text(["SVM", "first"])
    status.select_option("running")
    panel.get_by_role("button", name="Clear the Filter").click()
    expect(names).to_have_count(5)


def test_a_group_that_is_opened_while_the_list_is_asked_for_has_its_trials(panel, page):
    page.route(TRIALS, lambda one: None)  # no answer, until that is taken back
    row(panel, re.compile("^▸.*search")).click()
    with page.expect_request(TRIALS):
        page.keyboard.press("ArrowRight")
    with page.expect_response(re.compile("/runs[?].*where=")):
        panel.get_by_label("Filter runs").fill("kind = 'group'")
    page.unroute(TRIALS)
    expect(row(panel, "#")).to_have_count(3)


@pytest.mark.parametrize("theme", THEMES)
def test_selected_runs_are_compared_and_two_of_them_told_apart(panel, theme):
    page = panel.page
    open_group(panel)
    choose(panel, "#0", "#1", "#2")
    page.keyboard.press("c")
    table = page.locator(".mlx-Page table")
    table.wait_for()
    assert re.search(r"search #2.*0\.95.*search #1.*0\.9.*search #0.*0\.85", " ".join(table.inner_text().split()))
    black = table.evaluate("one => getComputedStyle(one).color")
    assert (black == "rgb(0, 0, 0)") is False or theme == "light"
    choose(panel, "#2", "#0")
    panel.get_by_role("button", name="Show Differences").click()
    told = page.locator(".mlx-Page", has_text="parameters: 1 differs")
    told.wait_for()
    assert re.search(r"C\s+0\.5\s+2\.5", told.inner_text())
    page.wait_for_timeout(1500)  # JupyterLab saves where its tabs are after a second
    page.goto(page.url.split("?")[0])
    told.wait_for(timeout=START)
    assert page.get_by_role("tab", name="3 runs").count() == 1


def test_what_is_deleted_comes_back(panel):
    page = panel.page
    names = panel.locator(".mlx-Runs-name")
    choose(panel, "first", re.compile("^▸.*search"))
    page.keyboard.press("Delete")
    expect(names).to_have_count(2)
    page.locator(".Toastify").get_by_role("button", name="Undo").click()
    expect(names).to_have_count(5)
    open_group(panel)
    choose(panel, "#1")
    menu(panel, "#1", "Delete")
    expect(names).to_have_count(7)
    row(panel, "#0").click()
    page.keyboard.press("Control+z")
    expect(names).to_have_count(8)


def test_a_trial_is_shown_by_its_id_whatever_is_listed(panel, recorded, page):
    with closing(sqlite3.connect(recorded)) as store:
        (trial,) = store.execute("SELECT run_uuid FROM runs WHERE name = 'search #1'").fetchone()
    panel.get_by_label("Filter runs").fill("forest")
    expect(panel.locator(".mlx-Runs-name")).to_have_count(2)
    page.evaluate(COMMAND, ["ml-experiment-nb:open-run", {"run": trial}])
    panel.locator(".mlx-Run h3", has_text="search #1").wait_for()
    expect(row(panel, "#1")).to_have_attribute("aria-selected", "true")


def test_a_run_is_copied_as_what_would_do_it_again(open_panel, folder, page, lab):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel = open_panel(["%load_ext ml_experiment_nb", '%%experiment "SVM"\nC = 0.5\n{"accuracy": C}'])
    expect(panel.get_by_text("No runs yet.")).to_be_visible(timeout=START)
    page.evaluate(COMMAND, ["notebook:run-all-cells", {}])
    row(panel, "✓").wait_for(timeout=START)  # it is there without anybody asking
    has = "text => navigator.clipboard.readText().then((found) => found.includes(text))"
    for name, text in (("YAML", "C: 0.5"), ("Cell", "%%experiment"), ("Command", "ml-experiment")):
        menu(panel, "✓", f"Copy as {name}")
        page.wait_for_function(has, arg=text)


@pytest.fixture
def told_of_each(lab):
    """A user who wants to hear of each run's end, and not only of those that took a minute."""
    lab.set("ml-experiment-nb:panel", {"notifyAfter": 0})
    yield
    lab.set("ml-experiment-nb:panel", {})


def test_a_run_that_goes_on_is_followed_and_stopped(told_of_each, open_panel, page):
    panel = open_panel(["%load_ext ml_experiment_nb", SLOW])
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    running = row(panel, "●")
    running.wait_for(timeout=START)
    expect(panel.get_by_role("status")).to_contain_text("1 running")
    running.click()
    panel.locator(".mlx-Run").get_by_text("Log", exact=True).click()
    log = panel.get_by_label("Log", exact=True)
    expect(log).to_contain_text("step 5", timeout=START)
    panel.get_by_role("button", name="Stop").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Stop").click()
    row(panel, re.compile("[■✗]")).wait_for(timeout=START)
    page.locator(".Toastify").get_by_text("endless has ended").wait_for()


def test_the_executed_notebook_is_opened_and_runs_are_compared_live_in_a_new_one(panel):
    page = panel.page
    open_group(panel)
    menu(panel, "#2", "Open Executed Notebook")
    page.locator(".jp-Notebook", has_text="C = 2.5").wait_for(timeout=START)
    choose(panel, "#0", "#2")
    menu(panel, "#2", "Compare in a Notebook")
    page.locator(".mlx-comparison .mlx-row").nth(1).wait_for(timeout=START)
    shown = page.locator(".mlx-comparison .mlx-row:not([hidden]) .mlx-label")
    expect(shown).to_have_count(2)
    assert sorted(shown.all_inner_texts()) == ["search #0", "search #2"]
    blank = page.locator(".mlx-comparison .mlx-grid").evaluate(
        "grid => grid.clientHeight - grid.querySelector('.mlx-head').offsetHeight - 2 * 28"
    )
    assert 0 <= blank < 28, "it is as high as its two rows"
    page.screenshot(path=PICTURES / "compared-few.png")


def test_thousands_of_runs_are_scrolled_and_older_ones_asked_for(open_panel, folder, recorded, page):
    database = folder / ".ml-experiment" / "mlflow.db"
    database.write_bytes(recorded.read_bytes())
    with closing(sqlite3.connect(database)) as store, store:
        (old,) = store.execute("SELECT run_uuid FROM runs WHERE name = 'first'").fetchone()
        names = [one[1] for one in store.execute("PRAGMA table_info(runs)")]
        for k in range(3000):
            new = {"run_uuid": f"'{k:032x}'", "name": f"'run {k}'", "start_time": f"{NINE - 1000 * k - 1}"}
            found = ", ".join(new.get(name, name) for name in names)
            store.execute(f"INSERT INTO runs ({', '.join(names)}) SELECT {found} FROM runs WHERE run_uuid = ?", [old])
            kind = f"VALUES ('mlexp.kind', 'experiment', '{k:032x}')"
            store.execute(f"INSERT INTO tags (key, value, run_uuid) {kind}")
    panel = open_panel()
    older = panel.get_by_role("button", name="Load older runs")
    older.wait_for()
    for _ in range(4):
        older.click()
        expect(panel.get_by_text("Loading…")).to_have_count(0)
    expect(older).to_have_count(0)
    panel.get_by_role("tree").focus()
    page.keyboard.press("End")
    row(panel, "run 2999").wait_for()
    assert panel.get_by_role("treeitem").count() < 100
    panel.get_by_label("Filter runs").fill("2718")
    expect(panel.locator(".mlx-Runs-name")).to_have_text(["SVM", "run 2718"])


def test_a_store_that_cannot_be_read_is_told_and_read_later(open_panel, folder, recorded, heard):
    database = folder / ".ml-experiment" / "mlflow.db"
    database.write_bytes(b"no database" * 1000)
    panel = open_panel()
    panel.get_by_role("alert").first.wait_for(timeout=START)
    database.write_bytes(recorded.read_bytes())
    panel.get_by_role("button", name="Try Again").click()
    panel.get_by_role("treeitem").first.wait_for(timeout=START)
    heard.errors[:] = [one for one in heard.errors if "Failed to load resource" not in one]


def test_a_server_without_the_extension_is_told(open_panel, page, heard):
    elsewhere = re.compile("/ml-experiment-nb/(about|runs)")
    page.route(elsewhere, lambda one: one.continue_(url=one.request.url.replace("/ml-experiment-nb/", "/nobody/")))
    panel = open_panel()
    expect(panel.get_by_role("alert")).to_contain_text("jupyter server extension enable ml_experiment_nb")
    page.unroute(elsewhere)
    panel.get_by_role("button", name="Try Again").click()
    expect(panel.get_by_text("No runs yet.")).to_be_visible(timeout=START)
    heard.errors[:] = [one for one in heard.errors if "404" not in one]


def faults(page, where):
    """Return what axe finds amiss in an element, without JupyterLab's own buttons."""
    page.add_script_tag(path=AXE)
    found = page.evaluate("(where) => axe.run({ include: where, exclude: ['jp-button'] })", where)
    assert found["passes"]
    return [(where, one["id"], node["html"]) for one in found["violations"] for node in one["nodes"]]


@pytest.mark.skipif(not AXE.exists(), reason="axe is not installed: npm ci, in labextension/")
@pytest.mark.parametrize("theme", THEMES)
def test_nothing_keeps_people_from_reading_or_reaching_it(panel, theme):
    page = panel.page
    open_group(panel)
    row(panel, "#2").click()
    details = panel.locator(".mlx-Run")
    for name in ("Artifacts", "Log"):
        details.locator("summary", has_text=re.compile(f"^{name}$")).click()
    details.get_by_label("Log", exact=True).wait_for()
    assert faults(page, ".mlx-Runs") == []
    choose(panel, "#0", "#2")
    page.keyboard.press("c")
    page.locator(".mlx-Page table").wait_for()
    assert faults(page, ".mlx-Page") == []
    page.locator(".lm-TabBar-tab", has_text="n.ipynb").click()
    for command, said in (("run-as-group", "Run as"), ("export-image", "What goes in")):
        page.evaluate("(id) => void window.jupyterapp.commands.execute(id)", f"ml-experiment-nb:{command}")
        page.locator(".mlx-FormDialog").get_by_text(said, exact=True).wait_for(timeout=START)
        assert faults(page, ".mlx-FormDialog") == []
        page.keyboard.press("Escape")
        expect(page.locator(".mlx-FormDialog")).to_have_count(0)


def test_every_command_is_in_the_palette_and_in_a_menu_and_the_settings_have_a_form(panel):
    page = panel.page
    choose(panel, "first")
    told = "() => window.jupyterapp.commands.listCommands().filter((id) => id.startsWith('ml-experiment-nb:'))"
    inner = {"ml-experiment-nb:open-page", "ml-experiment-nb:open-job-log"}  # which are for other commands
    ours = {*page.evaluate(told)} - inner
    assert {"ml-experiment-nb:compare-runs", "ml-experiment-nb:open-run", "ml-experiment-nb:copy-saved"} <= ours
    page.keyboard.press("Control+Shift+c")
    page.locator(".lm-CommandPalette").wait_for()
    listed = page.locator(".lm-CommandPalette-item").evaluate_all("all => all.map((one) => one.dataset.command)")
    assert ours <= {*listed}
    page.keyboard.type("Experiments")
    shown = page.locator(".lm-CommandPalette-itemLabel").all_inner_texts()
    assert {"Show Experiment Runs", "Filter Runs", "Copy as YAML", "Open in MLflow", "Delete"} <= set(shown)
    page.keyboard.press("Escape")
    page.get_by_role("menuitem", name="Experiments", exact=True).click()
    for name in ("Compare", "Show Differences", "Open Executed Notebook", "Resume", "Stop", "Copy as Command"):
        page.get_by_role("menuitem", name=re.compile(f"^{name}")).first.wait_for()
    in_menu = page.locator(".lm-Menu-item").evaluate_all("all => all.map((one) => one.dataset.command)")
    assert ours <= {*in_menu}
    captions = "(ids) => ids.filter((id) => !window.jupyterapp.commands.caption(id))"
    assert page.evaluate(captions, [*ours]) == []
    page.keyboard.press("Escape")
    page.evaluate(COMMAND, ["settingeditor:open", {"query": "Experiment Runs"}])
    form = page.locator(".jp-SettingsForm", has_text="The panel that lists a project's runs.")
    form.get_by_label("By experiment").click()
    expect(panel.locator(".mlx-Runs-name")).to_have_text([LONG, "search", "first"])
    form.get_by_label("By experiment").click()
    expect(panel.locator(".mlx-Runs-name")).to_have_count(5)
