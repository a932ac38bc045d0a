"""Editing in JupyterLab: what stands below a magic's line is Python to the editor, and specs are checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import THEMES, write_notebook

PICTURES = Path(__file__).parents[2] / "build" / "browser"
REPLACE = """([old, text]) => {
    const { model } = window.jupyterapp.shell.currentWidget.content;
    model.sharedModel.setSource(model.sharedModel.getSource().replace(old, text));
}"""
BODY = 'C = 0.5\nif C:\n    kernel = "rbf"  # quoted'
LINES = ['%%experiment "SVM with RBF kernel" --seed 1', "%%group it's --trials 12 -p x={", "%%experiment"]
TOKENS = """(cell) => [...cell.querySelectorAll(".cm-line")].map((line) => [...line.querySelectorAll("span")]
    .map((span) => [span.textContent, getComputedStyle(span).color]))"""


def tokens(notebook, index, fits):
    """Return the coloured words of a cell's lines, and their colours, when they fit, or after half a minute."""
    cell = notebook.cell(index)
    cell.locator(".cm-line span").first.wait_for()
    for _ in range(300):
        if fits(found := cell.evaluate(TOKENS)):
            break
        notebook.page.wait_for_timeout(100)
    return found


@pytest.mark.parametrize("theme", THEMES)
def test_what_stands_below_a_magic_has_the_colours_of_python(folder, open_notebook, theme):
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [BODY, *(f"{line}\n{BODY}" for line in LINES)]))
    words = ["=", '"rbf"', "# quoted"]
    plain = tokens(notebook, 0, lambda lines: [word for word, _ in lines[2]] == words)
    assert [word for word, _ in plain[2]] == words
    for index, line in enumerate(LINES, 1):
        head, *body = tokens(notebook, index, lambda lines: lines[1:] == plain)
        assert body == plain
        keyword = next(colour for word, colour in plain[1] if word == "if")
        assert head[0] == [line.split()[0], keyword]
    head = [word for word, _ in tokens(notebook, 1, lambda lines: len(lines[0]) > 3)[0]]
    assert head == ["%%experiment", '"SVM with RBF kernel"', "--seed", "1"]
    notebook.screenshot(PICTURES / f"magics-{theme}.png")


def test_a_spec_is_checked_while_it_is_typed(folder, lab, page):
    (folder / "train.py").write_text("print(1)")
    path = folder / "search.yaml"
    path.write_text(
        "name: svm\nkind: group\nrun: train.py\nnum_trails: 3\nslots: 0\nparam_space:\n  C: loguniform(1, 10)\n"
    )
    page.goto(lab.address(path))
    mark = page.locator(".cm-lint-marker-error")
    mark.first.wait_for(timeout=90_000)
    assert page.locator(".cm-lintRange-error").all_inner_texts() == ["num_trails", "slots"]
    page.locator(".cm-lintRange-error").first.hover()
    told = page.locator(".cm-tooltip-lint")
    told.wait_for()
    assert "num_trails" in told.inner_text()
    assert "num_trials" in told.inner_text()
    for theme, name in THEMES.items():
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
        page.screenshot(path=PICTURES / f"spec-{theme}.png", animations="disabled")
    page.evaluate(REPLACE, ["num_trails", "num_trials"])
    page.locator(".cm-lintRange-error", has_text="num_trails").wait_for(state="detached")
    page.evaluate(REPLACE, ["slots: 0", "slots: 1"])
    mark.wait_for(state="detached")
    page.evaluate(REPLACE, ["loguniform(1, 10)", "loguniform(10, 1)"])
    mark.wait_for()
    assert page.locator(".cm-lintRange-error").inner_text() == "C"
    page.evaluate(REPLACE, ["kind: group", "kind: [group"])
    page.locator(".cm-lintRange-error").filter(has_not_text="C").first.wait_for()


def test_other_yaml_is_left_alone(folder, lab, page):
    path = folder / "deployment.yaml"
    path.write_text("apiVersion: v1\nkind: Deployment\nspec: {replicas: 1}\n")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(lab.address(path))
    page.locator(".cm-line", has_text="Deployment").wait_for(timeout=90_000)
    page.wait_for_timeout(1500)
    assert page.locator(".cm-lint-marker").count() == 0
    assert not [url for url in asked if "ml-experiment-nb/check" in url]
