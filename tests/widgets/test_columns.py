"""Records as columns of bytes."""

from __future__ import annotations

import math
from array import array
from datetime import UTC, datetime

import pytest

from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.widgets.columns import ABSENT, MOST_SHOWN, Column, column_of, columns_of


def doubles(*values):
    return array("d", values).tobytes()


def codes(*values):
    return array("i", values).tobytes()


def record(name="run", params=None, metrics=None, **others):
    given = {"run_id": "a" * 32, "experiment": "e", "kind": "experiment", "status": Status.FINISHED, "seconds": 1.5}
    started = datetime(2026, 1, 1, tzinfo=UTC)
    return Record(**{**given, **others}, name=name, params=params or {}, metrics=metrics or {}, started=started)


def test_all_columns_of_two_runs():
    first = record("g #10", {"C": "0.5", "kernel": "rbf"}, {"loss": 0.25, "accuracy": 0.75}, number=10)
    second = record(
        "g #9", {"C": "1e-05"}, {"loss": math.nan}, number=9, run_id="b" * 32, status=Status.PRUNED,
        tags={"mlexp.kind": "trial", "team": "vision"}, autologged={"tol": "0.001"},
    )  # fmt: skip
    moment = datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000
    everyone = ("running", "finished", "failed", "pruned", "killed")
    assert columns_of([first, second], first=["accuracy"])[:-1] == [
        Column("name", "Run", "run", "text", codes(1, 0), ("g #9", "g #10")),
        Column("run_id", "ID", "run", "text", codes(0, 1), ("a" * 8, "b" * 8), hidden=True),
        Column("kind", "Kind", "run", "text", codes(0, 0), ("experiment",), hidden=True),
        Column("experiment", "Experiment", "run", "text", codes(0, 0), ("e",), hidden=True),
        Column("trial", "Trial", "run", "number", doubles(10, 9), whole=True, hidden=True),
        Column("status", "Status", "run", "status", codes(1, 3), everyone),
        Column("metrics.accuracy", "accuracy", "metrics", "number", doubles(0.75, math.nan)),
        Column("metrics.loss", "loss", "metrics", "number", doubles(0.25, math.nan), nans=(1,)),
        Column("params.C", "C", "params", "number", doubles(0.5, 1e-5)),
        Column("params.kernel", "kernel", "params", "text", codes(0, -1), ("rbf",)),
        Column("seconds", "Duration", "run", "duration", doubles(1.5, 1.5)),
        Column("started", "Started", "run", "date", doubles(moment, moment)),
        Column("autologged.tol", "tol", "autologged", "number", doubles(math.nan, 0.001), hidden=True),
    ]
    assert columns_of([first, second])[-1] == Column(
        "tags.team", "team", "tags", "text", codes(-1, 0), ("vision",), hidden=True
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "20", "-3"], {"kind": "number", "data": doubles(1, 20, -3), "whole": True}),
        ([1, "2.5", ABSENT], {"kind": "number", "data": doubles(1, 2.5, math.nan)}),
        (["inf", ".5", "1.", "-1E3"], {"kind": "number", "data": doubles(math.inf, 0.5, 1, -1000)}),
        (["nan", ABSENT], {"kind": "number", "data": doubles(math.nan, math.nan), "nans": (0,)}),
        (["007", "8"], {"kind": "text", "data": codes(1, 0), "texts": ("8", "007")}),
        (["1_000", "3"], {"kind": "text", "data": codes(1, 0), "texts": ("3", "1_000")}),
        ([2**64, 1], {"kind": "text", "data": codes(1, 0), "texts": ("1", str(2**64))}),
        (["1" * 5000, "2"], {"kind": "text", "data": codes(1, 0), "texts": ("2", "1" * 499 + "…")}),
        ([10**400, 1], {"kind": "text", "data": codes(1, 0), "texts": ("1", str(10**400))}),
        ([True, "False", ABSENT], {"kind": "boolean", "data": codes(1, 0, -1), "texts": ("False", "True")}),
        ([None, "10", 9, 9], {"kind": "text", "data": codes(2, 1, 0, 0), "texts": ("9", "10", "None")}),
        (["", "b", "A"], {"kind": "text", "data": codes(0, 2, 1), "texts": ("", "A", "b")}),
        ([[1, 2], {"a": 1}], {"kind": "text", "data": codes(0, 1), "texts": ("[1, 2]", "{'a': 1}")}),
    ],
)
def test_a_column_is_numbers_where_all_of_it_reads_as_numbers(values, expected):
    assert column_of("params.x", values) == Column("params.x", "x", "params", **expected)


def test_a_value_whose_text_can_not_be_had_is_told():
    class Odd:
        def __str__(self):
            raise RuntimeError

    assert column_of("params.x", [Odd()]).texts == ("<Odd, which can't be shown: RuntimeError>",)


def test_a_run_may_be_named_by_thousands_of_digits():
    [name, *_] = columns_of([record("trial " + "9" * 5000), record("trial 8")])
    assert name.texts == ("trial 8", "trial " + "9" * 5000)


def test_a_name_may_have_dots_and_a_long_text_is_cut():
    column = column_of("params.model.lr", ["x" * 600])
    assert column.name == "model.lr"
    assert len(column.texts[0]) == 500


def test_not_more_is_shown_at_once_than_people_can_read():
    many = {f"p{k}": k for k in range(99)}
    columns = columns_of([record(params=many, metrics={"system/cpu": 1.0, "loss": 1.0})], first=["loss"])
    shown = [one.key for one in columns if not one.hidden and one.group != "run"]
    assert shown == ["metrics.loss", *(f"params.p{k}" for k in range(MOST_SHOWN["params"]))]


def test_no_runs_have_no_parameters():
    assert {one.group for one in columns_of([])} == {"run"}
    assert all(one.data == b"" for one in columns_of([]))
