"""A notebook as a page."""

import json
import re

import pytest

from ml_experiment_nb.capture.page import page


def notebook(*cells, language="python"):
    return json.dumps({"cells": list(cells), "metadata": {"kernelspec": {"language": language}}, "nbformat": 4})


def markdown(text, **more):
    return {"cell_type": "markdown", "source": text, **more}


def code(text, *outputs):
    return {"cell_type": "code", "source": text, "execution_count": 3, "outputs": list(outputs)}


def shows(**data):
    names = {
        "html": "text/html",
        "plain": "text/plain",
        "png": "image/png",
        "svg": "image/svg+xml",
        "md": "text/markdown",
    }
    return {"output_type": "display_data", "data": {names[name]: value for name, value in data.items()}}


def test_text_code_and_what_was_shown():
    made = page(
        notebook(
            markdown(["# A *title*\n", "\n", "| a |\n", "|---|\n", "| 1 |\n"]),
            code("x = 1 < 2", {"output_type": "stream", "name": "stdout", "text": ["a <b>\n", "c"]}),
            code("y", shows(png="aGk=\n", plain="<Figure>")),
            code("z", shows(html="<table><tr><td>5</td></tr></table>", plain="5")),
            code("s", shows(svg="<svg><script>alert(1)</script></svg>")),
        ),
        "my & title",
    )
    assert "<title>my &amp; title</title>" in made
    assert "<h1>A <em>title</em></h1>" in made
    assert "<td>1</td>" in made
    assert "a &lt;b&gt;\nc" in made
    assert "[3]" in made
    assert 'src="data:image/png;base64,aGk="' in made
    assert "<td>5</td>" in made
    assert "alert(1)" not in made  # as an image, a drawing runs no script
    assert "&lt;Figure&gt;" not in made


def test_it_asks_nothing_of_the_network():
    external = '<script src="https://cdn.example/x.js"></script><link rel=stylesheet href=//cdn.example/x.css>'
    made = page(notebook(markdown(external), code("1", shows(html=f"<b>kept</b>{external}"))), "n")
    assert "<b>kept</b>" in made
    assert "cdn.example" not in made
    assert not re.search(r"<(script|link)[^>]*(src|href)", made)


def test_a_traceback_keeps_its_colours_and_nothing_of_the_terminal():
    trace = ["\x1b[0;31mValueError\x1b[0m: \x1b[1m<x>\x1b[22m", "\x1b[38;5;28mline\x1b[39m \x1b[2K"]
    made = page(notebook(code("f()", {"output_type": "error", "ename": "E", "evalue": "v", "traceback": trace})), "n")
    assert re.search(r'<span style="color:#\w+">ValueError</span>: <span style="font-weight:bold">&lt;x&gt;', made)
    assert "\x1b" not in made


def test_attachments_stand_in_the_page():
    made = page(notebook(markdown("![a](attachment:a.png)", attachments={"a.png": {"image/png": "aGk="}})), "n")
    assert '<img src="data:image/png;base64,aGk="' in made


def test_plotly_figures_are_drawn_with_one_copy_of_its_script():
    pytest.importorskip("plotly")
    figure = {
        "output_type": "display_data",
        "data": {"application/vnd.plotly.v1+json": {"data": [{"y": [1, 2]}], "layout": {}}},
    }
    made = page(notebook(code("a", figure), code("b", figure)), "n")
    assert made.count('class="plotly-graph-div"') == 2
    assert 1_000_000 < len(made) < 8_000_000
    assert not re.search(r"<script[^>]*src", made)


def test_other_languages_and_cells():
    made = page(notebook({"cell_type": "raw", "source": "<raw>"}, code("x <- 1"), language="no such language"), "n")
    assert "&lt;raw&gt;" in made
    assert "x &lt;- 1" in made


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"worksheets": []}'])
def test_what_is_no_notebook(text):
    with pytest.raises(ValueError):
        page(text, "n")
