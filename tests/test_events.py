import itertools
import json
import math
import threading
from fractions import Fraction

import numpy as np
import pytest

from ml_experiment_nb import events
from ml_experiment_nb.events import Ask, Cell, Done, Log, Metrics, Note, Params, decode, encode
from ml_experiment_nb.records import Failure, Outcome, Status


class Odd:
    def __repr__(self):
        return "<odd>"


class Broken:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "event",
    [
        Log("naïve\n\x00\x1b[31m ☃ \ud800"),
        Log(""),
        Metrics({"loss": 0.5, "a b/c-d": -1e300}, step=3, time=1.5, ask=True),
        Metrics({"loss": math.inf, "other": -math.inf}, time=1.5),
        Metrics({}, time=0.0),
        Params({"C": 0.5, "kernel": "rbf", "layers": [1, [2, None]], "deep": {"a": {"b": True}}}),
        Cell(3, 10),
        Note("line\r\nline"),
        Ask("suggest", {"name": "lr", "low": 1e-5, "choices": ["a", None, True]}),
        Done(Outcome(Status.FINISHED)),
        Done(Outcome(Status.FAILED, Failure("ValueError", "no: 'x'\n", "Traceback\n"))),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_comes_back_as_it_was_sent(event):
    line = encode(event)
    assert decode(line) == event
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def test_nan_comes_back():
    event = decode(encode(Metrics({"loss": math.nan})))
    assert math.isnan(event.values["loss"])


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(0.5), 0.5),
        (np.array([1, 2]), "array([1, 2])"),
        (Odd(), "<odd>"),
        ({1, 2}, "{1, 2}"),
        ((1, 2), [1, 2]),
        (Fraction(1, 2), 0.5),
        (b"ab", "b'ab'"),
        (1 + 2j, "(1+2j)"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ({np.int64(1): 3}, "{np.int64(1): 3}"),
        ([threading.Lock], "built-in"),
        (itertools.count(), "count(0)"),
    ],
    ids=str,
)
def test_parameters_of_any_type_can_be_sent(value, read):
    found = decode(encode(Params({"x": value}))).values["x"]
    assert (read in str(found)) if read == "built-in" else found == read


def test_a_value_that_holds_itself_can_be_sent():
    value = []
    value.append(value)
    assert decode(encode(Params({"x": value, "C": 1}))).values == {"x": "[[...]]", "C": "1"}


def test_a_value_without_a_repr_can_be_sent():
    (text,) = decode(encode(Params({"x": Broken()}))).values.values()
    assert "Broken" in text


def test_sending_does_not_copy_the_value():
    class Precious:
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    assert "Precious" in decode(encode(Params({"x": Precious()}))).values["x"]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.25), 0.25),
        (np.array([[0.25]]), 0.25),
        (np.bool_(False), 0.0),
        (Fraction(1, 4), 0.25),
        (np.array([1, 2]), None),
        (np.array([]), None),
        (np.str_("1"), None),
        ("1", None),
        (None, None),
        ({}, None),
        (np.float64, None),
        (10**400, None),
        (1j, None),
    ],
    ids=str,
)
def test_what_counts_as_a_number(value, number):
    assert events.as_number(value) == number


def test_an_object_that_fails_to_give_its_item_is_no_number():
    class Strange:
        size = np.array([1, 2])

        def item(self):
            raise KeyError("item")

    assert events.as_number(Strange()) is None


def test_lines_are_plain_json():
    assert json.loads(encode(Cell(1, 2))) == {"event": "Cell", "index": 1, "count": 2, "title": ""}
