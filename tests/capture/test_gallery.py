"""What is shown becomes files: which, how they are called, and what bounds them."""

import base64
import json

import pandas as pd
import pytest

from ml_experiment_nb.capture import gallery
from ml_experiment_nb.capture.gallery import PLOTLY, Gallery
from ml_experiment_nb.widgets.bundle import bundle

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def notes():
    return []


@pytest.fixture
def shown(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(gallery, "SECONDS", 600.0)  # the machine may be busy
    return Gallery(tmp_path, notes.append)


def names(folder):
    return sorted(path.name for path in (folder / "figures").glob("*"))


def test_they_are_numbered_and_in_their_richest_form(shown, tmp_path, notes):
    shown.take(None, {"text/plain": "1", "text/html": "<b>é</b>"})
    shown.take(None, {"text/plain": "only text"})
    shown.take(None, {"text/plain": "<Image>", "image/png": base64.b64encode(PNG).decode()})
    shown.take(None, {"image/png": PNG, "image/svg+xml": "<svg/>", "text/html": "<i>"})
    shown.take(None, {"text/plain": "a", "text/latex": "$x$"})
    shown.take(None, {"application/vnd.vegalite.v5+json": {"mark": "bar"}, "text/html": "<script>"})
    assert names(tmp_path) == ["1.html", "2.png", "3.png", "3.svg", "4.tex", "5.json"]
    assert (tmp_path / "figures/2.png").read_bytes() == (tmp_path / "figures/3.png").read_bytes() == PNG
    assert "<b>é</b>" in (tmp_path / "figures/1.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "figures/5.json").read_text()) == {"mark": "bar"}
    assert notes == []


def test_widgets_scripts_and_our_own_lines_are_left_out(shown, tmp_path):
    shown.take(None, {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/html": "<b>"})
    shown.take(None, bundle("run", text="a card", html="<table>"))
    shown.take(None, {"application/javascript": "alert(1)"})
    shown.take(None, {"text/html": "<progress value=1></progress> g: 1/2", "text/plain": "g: 1/2"})
    assert names(tmp_path) == []


def test_an_update_takes_the_place_of_what_was_shown(shown, tmp_path):
    shown.take(None, {"text/html": "one"}, display_id="a")
    shown.take(None, {"text/html": "other"})
    shown.take(None, {"image/png": PNG}, display_id="a", update=True)
    assert names(tmp_path) == ["1.png", "2.html"]


def test_what_a_cell_clears_is_gone_and_what_other_cells_have_shown_stays(shown, tmp_path):
    shown.take(None, {"text/html": "before"})
    shown.begin_cell()
    for epoch in range(3):
        shown.clear(wait=True)
        shown.take(None, {"text/html": f"epoch {epoch}"})
    assert names(tmp_path) == ["1.html", "2.html"]
    assert "epoch 2" in (tmp_path / "figures/2.html").read_text()
    shown.clear(wait=False)
    assert names(tmp_path) == ["1.html"]


def test_a_name_that_is_taken_is_left_alone(shown, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/1.pdf").write_text("the user's own")
    shown.take(None, {"text/html": "x"})
    assert names(tmp_path) == ["1.pdf", "2.html"]


def test_a_matplotlib_figure_is_a_picture_and_a_drawing_once(shown, tmp_path):
    figure, axes = _figure()
    shown.figure(figure)
    shown.figure(figure)
    axes.set_title("another look")
    shown.figure(figure)
    assert names(tmp_path) == ["1.png", "1.svg", "2.png", "2.svg"]
    assert (tmp_path / "figures/1.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "figures/1.svg").read_text()


def test_what_has_been_drawn_already_is_not_drawn_again(shown, tmp_path):
    shown.take(_figure()[0], {"image/png": base64.b64encode(PNG).decode()})
    assert (tmp_path / "figures/1.png").read_bytes() == PNG


def test_many_points_are_no_drawing(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "POINTS", 1)
    shown.figure(_figure()[0])
    assert names(tmp_path) == ["1.png"]


def test_a_data_frame_is_a_table(shown, tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2]})
    shown.take(frame, {"text/html": frame._repr_html_()})
    assert pandas.read_csv(tmp_path / "figures/1.csv").equals(frame)
    monkeypatch.setattr(gallery, "CELLS", 1)
    shown.take(frame, {"text/html": frame._repr_html_()})
    assert names(tmp_path) == ["1.csv", "2.html"]


@pytest.mark.parametrize("is_trial", [False, True])
def test_a_plotly_figure_is_data_and_not_in_a_trial_a_page(tmp_path, notes, is_trial):
    pytest.importorskip("plotly")
    import plotly.graph_objects
    import plotly.io

    shown = Gallery(tmp_path, notes.append, is_trial=is_trial)
    figure = plotly.graph_objects.Figure(plotly.graph_objects.Scatter(y=[1, 2]))
    shown.take(figure, {})
    shown.take(None, {PLOTLY: {**json.loads(figure.to_json()), "config": {"plotlyServerURL": "https://plot.ly"}}})
    assert names(tmp_path) == (["1.json", "2.json"] if is_trial else ["1.html", "1.json", "2.html", "2.json"])
    assert list(plotly.io.read_json(tmp_path / "figures/1.json").data[0].y) == [1, 2]
    assert list(plotly.io.read_json(tmp_path / "figures/2.json").data[0].y) == [1, 2]


def test_tables_and_drawings_are_bounded_in_bytes_too(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(gallery, "MOST_BYTES", len(PNG) + 60)
    shown = Gallery(tmp_path, notes.append)
    shown.take(_figure()[0], {"image/png": PNG})  # its drawing is larger
    shown.take(pd.DataFrame({"a": range(1000)}), {"text/html": "<table>"})
    shown.take(pd.DataFrame({"a": [1, 2]}), {"text/html": "<table>"})
    assert names(tmp_path) == ["1.png", "2.html", "3.csv"]
    assert notes == [f"what was shown takes more than 0 MB: {gallery.FOLDER}/ doesn't have all of it"]


def test_it_is_bounded_in_number_bytes_and_time(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 3)
    monkeypatch.setattr(gallery, "MOST_BYTES", 250)
    monkeypatch.setattr(gallery, "SECONDS", 0.0)
    shown = Gallery(tmp_path, notes.append)
    shown.take(None, {"text/html": "x" * 100})
    shown.take(None, {"text/html": "x" * 100})
    shown.take(_figure()[0], {"image/png": PNG})
    shown.take(None, {"text/html": "y"})
    shown.take(None, {"text/html": "y"})
    assert names(tmp_path) == ["1.html", "3.png"]
    said = " ".join(notes)
    assert len(notes) == 3
    assert all(text in said for text in ("more than 3 things", "more than 0 MB", "took more than 0 s"))


def _figure():
    matplotlib = pytest.importorskip("matplotlib.figure")
    figure = matplotlib.Figure()
    axes = figure.subplots()
    axes.plot([1, 2, 3])
    return figure, axes
