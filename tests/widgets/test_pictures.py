"""Pictures for saved notebooks: well-formed, small, and with no number that is none."""

import base64
import math
import random
import xml.etree.ElementTree as ET

import pytest

from ml_experiment_nb.widgets.pictures import HEIGHT, WIDTH, axis_of, front, history, image, parallel

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [one.text for one in ET.fromstring(svg).iter(f"{SVG}text")]


def strokes(svg):
    return {one.get("stroke"): one.get("d") for one in ET.fromstring(svg).iter(f"{SVG}path")}


def test_a_history_has_a_dot_for_each_run_and_a_line_for_the_best():
    svg = history([0.5, None, 0.25, math.nan, 1.0], maximize=True, metric="acc")
    found = strokes(svg)
    assert found["#3b82c4"].count("M") == 3
    assert found["#d9730d"] == "M62 128.7H626V14H626"  # it rises at the last run alone
    assert texts(svg)[:5] == ["0.25", "0.625", "1", "1", "5"]
    assert strokes(history([0.5, 0.25], maximize=False, metric="loss"))["#d9730d"] == "M62 14H626V186H626"


@pytest.mark.parametrize("values", [[], [None], [math.nan, math.inf]])
def test_nothing_is_drawn_of_nothing(values):
    assert history(values, maximize=True, metric="acc") == ""
    assert front([], [], ("a", "b")) == ""
    assert parallel(["x"], [[1]], [1.0]) == ""
    assert image("", "nothing") == ""


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e300, -5])
def test_one_value_stands_in_the_middle(value):
    assert "nan" not in history([value], maximize=True, metric="acc")
    assert axis_of([value]).place(value) == 0.5


def test_axes():
    logarithmic = axis_of([0.01, 1000.0])
    assert [mark for mark, _ in logarithmic.marks] == ["0.01", "3.162", "1000"]
    assert logarithmic.place(1.0) == pytest.approx(0.4)
    assert [mark for mark, _ in axis_of([0, 10]).marks] == ["0", "5", "10"]
    named = axis_of(["rbf", "poly", True])
    assert [(mark, place) for mark, place in named.marks] == [("rbf", 0.0), ("poly", 0.5), ("True", 1.0)]
    assert not named.numeric
    assert len(axis_of([f"x{k}" for k in range(100)]).marks) == 2
    assert axis_of([math.inf, 1.0]).marks[0][0] == "inf"


def test_a_front_and_what_is_behind_it():
    svg = front([(0.0, 0.0), (1.0, 2.0), (math.nan, 1.0)], [(1.0, 2.0)], ("acc", "<loss>"))
    assert strokes(svg)["#3b82c4"].count("M") == 2
    assert strokes(svg)["#d9730d"] == "M626 14h0"
    assert texts(svg)[-1] == "<loss> (upwards) against acc; orange: none is better in both"


def test_parallel_coordinates_leave_out_what_lacks_a_value():
    rows = [[1.0, "a", 0.1], [2.0, None, 0.2], [3.0, "b", 0.9]]
    svg = parallel(["C", "kernel", "acc"], rows, [0.0, 0.5, 1.0])
    found = strokes(svg)
    assert found["#9170c8"] == "M55 186L320 186L585 186"
    assert found["#d9730d"] == "M55 30L320 30L585 30"
    assert "#1f9a8a" not in found


@pytest.mark.parametrize("rising", [False, True])
def test_ten_thousand_runs_make_a_small_picture(rising):
    some = random.Random(1)
    values = [k + 0.0 if rising else some.random() for k in range(10_000)]
    assert len(history(values, maximize=True, metric="acc")) < 40_000
    assert len(front([(v, 1 - v) for v in values], [(v, 1 - v) for v in values], ("a", "b"))) < 40_000
    rows = [[some.random() for _ in range(8)] for _ in values]
    assert len(parallel([f"p{k}" for k in range(8)], rows, [v / 10_000 for v in values])) < 40_000


@pytest.mark.parametrize("odd", ["\x00", "\x1b[0m", "\ud800", "\uffff"], ids=ascii)
def test_what_xml_does_not_take_is_left_out(odd):
    svg = parallel([f"C{odd}", "m"], [[f"{odd}a", 1.0], ["b", 2.0]], [0.0, 1.0])
    assert [one.replace("[0m", "") for one in texts(svg)[:3]] == ["C", "a", "b"]
    assert image(svg, "runs")


def test_an_image_says_what_it_shows():
    made = image("<svg/>", 'a "b"')
    data = base64.b64encode(b"<svg/>").decode()
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    assert made == f'<img alt="a &quot;b&quot;" {size} src="data:image/svg+xml;base64,{data}">'
