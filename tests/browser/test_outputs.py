"""Outputs of our own MIME type in JupyterLab: what is saved is shown at once, and the live view while it is there."""

from __future__ import annotations

import shutil

import nbformat
import pytest
from drive import Notebook, opened
from lab import THEMES, write_notebook

SHOW = '''
import anywidget, traitlets
from IPython.display import display
from ml_experiment_nb.widgets.bundle import bundle

class View(anywidget.AnyWidget):
    _esm = """export default { render({ model, el }) {
        const made = document.createElement("button");
        made.textContent = `live ${model.get("n")}`;
        made.onclick = () => { model.set("n", model.get("n") + 1); model.save_changes(); };
        model.on("change:n", () => { made.textContent = `live ${model.get("n")}`; });
        const canvas = document.createElement("canvas");
        el.append(made, canvas);
        made.title = `${el.clientWidth > 300}`;
    } };"""
    n = traitlets.Int(1).tag(sync=True)

def show(view, name="saved"):
    html = f"<table class='kept'><tr><th>run</th></tr><tr><td>{name}</td></tr></table><script>window.bad = 1</script>"
    shown = bundle("run", text=f"run {name}", html=html, widget=view)
    return display(shown, raw=True, display_id=True)
'''
OUTPUT = ".mlx-Output"


@pytest.fixture
def notebook(folder, open_notebook):
    return open_notebook(write_notebook(folder / "n.ipynb", [SHOW, "view = View(); handle = show(view)", "pass"]))


def mode(notebook, wanted):
    notebook.page.locator(f".mlx-Output[data-mode='{wanted}']").wait_for()


def seen(notebook):
    """Return the texts of an output that people see."""
    output = notebook.page.locator(OUTPUT)
    return [part for part in ("kept", "live") if output.locator(f"table.{part}, :text('{part} ')").first.is_visible()]


def test_the_live_view_takes_the_place_of_what_is_saved(notebook):
    notebook.run_all()
    mode(notebook, "live")
    assert seen(notebook) == ["live"]
    button = notebook.page.get_by_role("button", name="live 1")
    assert button.get_attribute("title") == "true", "it was drawn at its width"
    button.click()
    notebook.page.get_by_role("button", name="live 2").wait_for()


def test_what_is_saved_is_brought_back_and_copied(notebook):
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    notebook.run_all()
    mode(notebook, "live")
    notebook.page.locator(OUTPUT).click(button="right")
    notebook.page.get_by_text("Copy as Table").click()
    read = "navigator.clipboard.read().then(([one]) => one.getType('text/html')).then((blob) => blob.text())"
    notebook.page.wait_for_function(f"() => {read}.then((html) => html.includes('<td>saved</td>'), () => false)")
    notebook.page.locator(OUTPUT).click(button="right")
    notebook.page.get_by_text("Show as It Is Saved").click()
    mode(notebook, "saved")
    assert seen(notebook) == ["kept"]
    notebook.page.locator(OUTPUT).click(button="right")
    notebook.page.get_by_text("Show Live").click()
    mode(notebook, "live")
    notebook.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    notebook.command("ml-experiment-nb:toggle-saved")  # as from the palette: of the active cell
    mode(notebook, "saved")


def test_paper_has_what_is_saved(notebook):
    notebook.run_all()
    mode(notebook, "live")
    notebook.page.emulate_media(media="print")
    assert seen(notebook) == ["kept"]


@pytest.mark.parametrize("theme", THEMES)
def test_a_saved_notebook_without_its_kernel_shows_what_is_saved(notebook, lab, open_notebook, theme, tmp_path):
    notebook.run_all()
    mode(notebook, "live")
    notebook.save()
    lab.end_kernels()
    again = open_notebook(notebook.path)
    mode(again, "saved")
    assert seen(again) == ["kept"]
    assert again.page.locator(OUTPUT).inner_text().split() == ["run", "saved"]
    again.run_all()
    mode(again, "live")
    assert seen(again) == ["live"]


def test_a_reloaded_page_shows_the_live_view_of_its_kernel(notebook, open_notebook):
    notebook.run_all()
    notebook.page.get_by_role("button", name="live 1").click()
    notebook.page.get_by_role("button", name="live 2").wait_for()
    notebook.save()
    again = open_notebook(notebook.path)
    mode(again, "live")
    again.page.get_by_role("button", name="live 2").wait_for()


def test_a_kernel_that_comes_later_brings_its_view(notebook, lab, open_notebook):
    notebook.run_all()
    notebook.save()
    kernel = lab.ask("sessions")[0]["kernel"]["id"]
    copy = notebook.path.with_name("copy.ipynb")
    shutil.copy(notebook.path, copy)
    other = open_notebook(copy)
    mode(other, "saved")
    change = "(id) => window.jupyterapp.shell.currentWidget.sessionContext.changeKernel({ id }).then(() => null)"
    other.page.evaluate(change, kernel)
    mode(other, "live")


def test_a_restarted_kernel_leaves_what_is_saved_when_it_is_opened_again(notebook, open_notebook):
    notebook.run_all()
    mode(notebook, "live")
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.run_all()
    mode(notebook, "live")
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    notebook.save()
    again = open_notebook(notebook.path)
    mode(again, "saved")


def test_an_update_of_what_is_saved_leaves_the_live_view(folder, open_notebook):
    html = "<table class='kept'><tr><td>later</td></tr></table>"
    update = f"handle.update(bundle('run', text='run later', html={html!r}, widget=view), raw=True)"
    notebook = open_notebook(write_notebook(folder / "n.ipynb", [SHOW, "view = View(); handle = show(view)", update]))
    notebook.run(0)
    notebook.run(1)
    mode(notebook, "live")
    notebook.page.locator(".mlx-Output button").evaluate("(node) => { node.dataset.same = 1; }")
    notebook.run(2)
    notebook.page.locator(".mlx-Output td", has_text="later").wait_for(state="attached")
    assert notebook.page.locator(".mlx-Output button").get_attribute("data-same") == "1"
    assert seen(notebook) == ["live"]


def test_a_view_that_is_closed_leaves_what_is_saved(folder, open_notebook):
    cells = [SHOW, "view = View(); handle = show(view)", "view.close()"]
    notebook = open_notebook(write_notebook(folder / "n.ipynb", cells))
    notebook.run(0)
    notebook.run(1)
    mode(notebook, "live")
    notebook.run(2)
    mode(notebook, "saved")
    assert seen(notebook) == ["kept"]


@pytest.mark.parametrize("how", ["throws", "is empty", "is no module"])
def test_a_view_that_fails_leaves_what_is_saved(how, folder, browser, lab):
    esm = {
        "throws": "export default { render() { throw new Error('of the view'); } };",
        "is empty": "export default { render() { } };",
        "is no module": "export default {{",
    }[how]
    cells = [SHOW, f"class Bad(anywidget.AnyWidget):\n    _esm = {esm!r}\n_ = show(Bad())"]
    path = write_notebook(folder / "n.ipynb", cells)
    with opened(browser, lab) as (page, _):  # whose errors are logged, as they should be
        notebook = Notebook.open(page, lab, path)
        notebook.run_all()
        page.wait_for_timeout(500)
        mode(notebook, "saved")
        assert seen(notebook) == ["kept"]


def test_an_untrusted_notebook_has_its_html_cleaned(folder, open_notebook):
    data = {
        "application/vnd.ml-experiment-nb.v1+json": {"kind": "run"},
        "application/vnd.jupyter.widget-view+json": {"version_major": 2, "version_minor": 0, "model_id": "x"},
        "text/html": "<table class='kept'><tr><td onclick='bad()'>saved</td></tr></table>"
        "<script>window.bad = 1</script><img src='data:,x' onerror='window.bad = 1'>",
        "text/plain": "run saved",
    }
    path = write_notebook(folder / "n.ipynb", ["1"])
    found = nbformat.read(path, 4)
    found.cells[0].outputs = [nbformat.v4.new_output("display_data", data=data)]
    nbformat.write(found, path)
    notebook = open_notebook(path)
    mode(notebook, "saved")
    assert notebook.page.locator(OUTPUT).inner_text().split() == ["saved"]
    assert notebook.page.evaluate("() => window.bad") is None
    assert notebook.page.locator(f"{OUTPUT} td").get_attribute("onclick") is None
    assert notebook.page.locator(f"{OUTPUT} [data-mode], {OUTPUT} .mlx-Output-live").count() == 0
