"""Many runs as one table."""

import pytest
from made_records import record

from ml_experiment_nb import markup
from ml_experiment_nb.overview import overview, summary
from ml_experiment_nb.records import Records, Status

PARENT = record(name="SVM", kind="group")


def many(count, **changes):
    return [record(name=f"SVM #{k}", number=k, metrics={"acc": k / count}, **changes) for k in range(count)]


def test_a_table_has_a_row_for_each_run_and_marks_the_best():
    failed = record(name="SVM #2", status=Status.FAILED, metrics={})
    table = overview(Records([*many(2), failed], PARENT, "acc", True))
    assert table.caption == "3 runs of SVM; 2 finished, 1 failed; best acc 0.5 in SVM #1 ★"
    assert [(one.name, one.numeric) for one in table.columns] == [
        ("run", False), ("status", False), ("took", True), ("C", True), ("kernel", False), ("acc", True), ("id", False),
    ]  # fmt: skip
    assert table.rows == (
        ("SVM #0", "✓ finished", "1.50 s", "0.5", "rbf", "0", "01234567"),
        ("SVM #1 ★", "✓ finished", "1.50 s", "0.5", "rbf", "0.5", "01234567"),
        ("SVM #2", "✗ failed", "1.50 s", "0.5", "rbf", "", "01234567"),
    )


def test_a_name_that_is_a_parameter_s_and_a_metric_s_is_told_apart():
    table = overview(Records([record(params={"x": 1}, metrics={"x": 2.0})]))
    assert [one.name for one in table.columns[3:-1]] == ["params.x", "metrics.x"]


def test_of_many_runs_the_middle_is_left_out():
    table = overview(Records(many(1000), None, "acc", True))
    assert [row[0] for row in table.rows] == [f"SVM #{k}" for k in (*range(35), *range(995, 999))] + ["SVM #999 ★"]
    assert (table.left_out, table.after) == (960, 35)


def test_of_many_columns_the_first_are_shown_and_what_was_optimised():
    wide = record(params={f"p{k}": k for k in range(30)}, metrics={"a": 1.0, "acc": 2.0})
    table = overview(Records([wide], None, "acc"))
    assert [one.name for one in table.columns[3:-1]] == [*(f"p{k}" for k in range(19)), "acc"]
    assert table.caption.endswith("; 12 columns more are not shown")


@pytest.mark.parametrize(
    ("records", "line"),
    [
        (Records([]), "0 runs"),
        (Records(many(1)), "1 run; 1 finished"),
        (Records(many(3), PARENT, ["acc", "none"], True), "3 runs of SVM; 3 finished; 0 on the front of acc, none"),
    ],
)
def test_a_line(records, line):
    assert summary(records) == line


def test_the_whole_of_a_thousand_runs_is_small():
    records = Records(many(1000, params={f"p{k}": "x" * 200 for k in range(40)}), None, "acc", True)
    assert len(records._repr_html_()) < 150_000
    assert len(records._repr_markdown_()) < 150_000
    assert str(records).count("\n") == 42
    assert markup.as_html(overview(Records([]))).startswith("<table")
