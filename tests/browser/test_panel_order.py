"""The panel of runs when answers are late, or presses quick: what was wanted last is shown, and nothing is lost."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import expect
from recorded_runs import LONG
from runs_panel import choose, menu, open_group, row, toast

BEGIN = "(run) => { window.begun = window.jupyterapp.commands.execute('ml-experiment-nb:open-run', { run }); }"
QUICK = """(tree, keys) => {
    for (const key of keys) tree.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}"""
"""Press keys one so soon after the other that nothing is drawn between them, as on a busy machine."""


def hold(page, pattern):
    """Hold the answers to requests, and return the list that these come to."""
    held = []
    page.route(pattern, lambda one: held.append(one))
    return held


def waits(page, held, count=1):
    """Wait until so many requests are held."""
    for _ in range(600):
        if len(held) >= count:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{len(held)} requests are held, not {count}")


@pytest.fixture
def ids(recorded):
    """The recorded runs' ids, by their names."""
    with closing(sqlite3.connect(recorded)) as store:
        return dict(store.execute("SELECT name, run_uuid FROM runs"))


def test_what_is_typed_within_the_filter_stays_where_it_is_typed(panel):
    box = panel.get_by_label("Filter runs")
    box.press_sequentially("fist")
    box.press("ArrowLeft")
    box.press("ArrowLeft")
    box.press_sequentially("rr")
    expect(box).to_have_value("firrst")
    box.press("Backspace")
    expect(panel.locator(".mlx-Runs-name")).to_have_text(["SVM", "first"])


def test_the_keys_go_to_the_details_of_the_run_that_was_just_gone_to(panel):
    open_group(panel)
    row(panel, "first").click()
    details, tree = panel.locator(".mlx-Run"), panel.get_by_role("tree")
    details.locator("h3", has_text="first").wait_for()
    tree.evaluate(QUICK, ["ArrowUp", "Enter"])
    details.locator("h3", has_text="search #0").wait_for()
    expect(details).to_be_focused()
    details.get_by_role("button", name="Its Group").press("Enter")
    details.locator("h3", has_text=re.compile("^search$")).wait_for()
    expect(details).to_be_focused()
    details.press("Escape")
    expect(tree).to_be_focused()


def test_the_keys_stay_with_the_list_when_it_goes_and_comes_back(panel, page, heard):
    tree = panel.get_by_role("tree")
    expect(tree).to_be_focused()
    asked = re.compile("/ml-experiment-nb/runs[?]")
    page.route(asked, lambda one: one.fulfill(status=503, json={"message": "the store did not answer"}))
    page.keyboard.press("F5")
    expect(panel.get_by_role("alert")).to_contain_text("the store did not answer")
    page.unroute(asked)
    panel.get_by_role("button", name="Try Again").press("Enter")
    expect(tree).to_be_focused()
    heard.errors[:] = [one for one in heard.errors if "503" not in one]


def test_of_two_runs_that_are_asked_for_the_last_is_shown(panel, page, ids):
    first, second = (ids[f"search #{k}"] for k in (0, 1))
    held = hold(page, re.compile(f"/runs/{first}[?]"))
    page.evaluate(BEGIN, first)
    waits(page, held)
    page.evaluate("() => { window.late = window.begun; }")
    page.evaluate(BEGIN, second)
    shown = panel.locator(".mlx-Run h3")
    expect(shown).to_have_text("search #1")
    held[0].continue_()
    page.evaluate("() => window.late")
    expect(shown).to_have_text("search #1")
    expect(row(panel, "#1")).to_have_attribute("aria-selected", "true")


def test_of_two_deletions_in_a_row_both_can_be_undone(panel, page, ids):
    names = panel.locator(".mlx-Runs-name")
    choose(panel, "first")
    panel.locator(".mlx-Run h3", has_text="first").wait_for()
    held = hold(page, re.compile(f"/runs/{ids['first']}[?]"))
    page.keyboard.press("Delete")
    waits(page, held)
    choose(panel, LONG)
    page.keyboard.press("Delete")
    toast(page, f"“{LONG}” has been deleted").wait_for()
    for one in held:
        one.continue_()
    undo = toast(page, "“first” has been deleted").get_by_role("button", name="Undo")
    expect(names).to_have_text(["SVM", "search"])
    undo.click()
    expect(names).to_have_text(["SVM", "search", "first"])
    row(panel, "first").click()
    page.keyboard.press("Control+z")
    expect(names).to_have_text(["trees", LONG, "SVM", "search", "first"])


def test_a_second_press_asks_for_nothing_more_and_a_page_is_as_it_was_asked_for_last(panel, page):
    replays = hold(page, re.compile("/replay[?]"))
    for _ in range(2):
        menu(panel, "first", "Replay")
    waits(page, replays)
    pages = hold(page, re.compile("/ml-experiment-nb/diff[?]"))
    choose(panel, "first", LONG)
    page.keyboard.press("d")
    waits(page, pages)
    again = page.get_by_role("button", name="Look Again")
    again.click()
    again.click()
    pages[0].fulfill(json={"html": "<p>as it was</p>"})
    shown = page.locator(".mlx-Page")
    expect(shown).to_have_text("as it was")
    waits(page, pages, 2)
    pages[1].fulfill(json={"html": "<p>as it is</p>"})
    expect(shown).to_have_text("as it is")
    assert (len(replays), len(pages)) == (1, 2)
    replays[0].abort()
