import html
import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ml_experiment_nb.comparison.differences import Change, Evidence, differences
from ml_experiment_nb.comparison.shown import MOST, as_html, as_text
from ml_experiment_nb.records import Failure, Record, Status

GIT = """diff --git a/t.py b/t.py
index 0bde35d..9d31ef3 100644
--- a/t.py
+++ b/t.py
@@ -1 +1,2 @@
 x = 1
+y = 2
"""


def record(**more):
    first = Record("a" * 32, "svm", "svm", "experiment", Status.FINISHED, {}, {}, datetime.now(UTC), 1.0)
    return replace(first, **more)


def evidence(run=None, **more):
    return Evidence(run or record(), **more)


def test_packages_of_one_version_differ_if_both_have_digests_that_do():
    def changes(a, b):
        return [
            (one.before, one.after)
            for one in differences(evidence(packages={"x": a}), evidence(packages={"x": b}))["packages"].changes
        ]

    first, second = f"1.0  # files sha256:{'a' * 32}", f"1.0  # files sha256:{'b' * 32}"
    assert changes(first, second) == [("1.0 (files sha256:aaaaaaaaaaaa)", "1.0 (files sha256:bbbbbbbbbbbb)")]
    assert changes(first, first) == changes(first, "1.0") == changes("1.0", second) == []
    assert changes(first, second.replace("1.0", "1.1")) == [("1.0", "1.1")]


def test_runs_that_are_the_same():
    diff = differences(evidence(packages={"numpy": "2.0"}), evidence(packages={"numpy": "2.0"}))
    assert not diff
    assert diff["packages"].same == 1
    assert "no difference was found, in: run, packages" in str(diff)


def test_parameters():
    a, b = record(params={"C": 0.5, "kernel": "rbf", "old": 1}), record(params={"C": 0.7, "kernel": "rbf", "new": 2})
    section = differences(evidence(a), evidence(b))["parameters"]
    assert section.changes == (Change("C", "0.5", "0.7"), Change("old", "1", None), Change("new", None, "2"))
    assert section.same == 1


def test_metrics_say_how_far_apart_they_are():
    a = record(metrics={"accuracy": 0.8, "zero": 0.0, "nan": math.nan, "gone": 1.0, "close": 0.123456, "inf": math.inf})
    b = record(metrics={"accuracy": 0.9, "zero": 1.0, "nan": math.nan, "close": 0.1234561, "inf": -math.inf})
    section = differences(evidence(a), evidence(b))["metrics"]
    assert section.same == 1
    assert {change.name: change for change in section.changes} == {
        "accuracy": Change("accuracy", "0.8", "0.9", "+0.1 (+12.50%)"),
        "zero": Change("zero", "0", "1", "+1"),
        "gone": Change("gone", "1", None),
        "close": Change("close", "0.123456", "0.1234561", "+1.000e-07 (+0.00%)"),
        "inf": Change("inf", "inf", "-inf"),
    }


def test_a_run_that_failed():
    b = record(status=Status.FAILED, failure=Failure("ValueError", "no"))
    section = differences(evidence(), evidence(b))["run"]
    assert section.changes == (Change("status", "finished", "failed"), Change("error", None, "ValueError: no"))


def test_a_file_that_was_renamed_is_compared_with_its_other_version():
    section = differences(evidence(sources={"old.py": "x = 1\n"}), evidence(sources={"new.py": "x = 2\n"}))["source"]
    assert section.changes == (Change("file", "old.py", "new.py"),)
    assert section.hunks[0].lines == ("-x = 1", "+x = 2")


def test_a_cells_run_and_its_notebooks_are_compared_by_cells():
    cells = [{"cell_type": "code", "source": source} for source in ("data = 1", "s = data + 1\n{'acc': s}")]
    a = evidence(sources={"cell.py": "s = data + 2\n{'acc': s}"})
    b = evidence(sources={"one.ipynb": json.dumps({"cells": cells, "nbformat": 4})})
    found = differences(a, b)["source"]
    assert found.changes == (Change("file", "cell.py", "one.ipynb"),)
    assert {one.name: one.lines for one in found.hunks} == {
        "one.ipynb, cell 1 (added)": ("+data = 1",),
        "one.ipynb, cell 2 (it was cell 1)": ("-s = data + 2", "+s = data + 1", " {'acc': s}"),
    }


def test_git():
    a = evidence(record(tags={"mlflow.source.git.commit": "abc", "mlexp.git.dirty": "false"}))
    b = evidence(record(tags={"mlflow.source.git.commit": "abc", "mlexp.git.dirty": "true"}), git_diff=GIT)
    section = differences(a, b)["git"]
    assert [change.name for change in section.changes] == ["dirty", "uncommitted t.py"]
    assert section.changes[1].after.startswith("+1 -0 lines")
    moved = replace(b, git_diff=GIT.replace("0bde35d", "1111111"))
    assert not differences(b, moved)["git"].count  # the same change


def test_tags_machine_and_seeds():
    a = record(tags={"mlexp.system.python": "3.11", "mlexp.driver": "x", "team": "a", "mlexp.seeds": '{"random": 1}'})
    b = record(tags={"mlexp.system.python": "3.12", "mlexp.driver": "y", "team": "b", "mlexp.seeds": '{"random": 2}'})
    diff = differences(evidence(a), evidence(b))
    assert [(one.title, one.changes) for one in diff.differing] == [
        ("seeds", (Change("random", "1", "2"),)),
        ("machine", (Change("python", "3.11", "3.12"),)),
        ("tags", (Change("team", "a", "b"),)),
    ]


def test_as_json():
    a, b = evidence(record(params={"C": 1})), evidence(record(params={"C": 2}), sources={"a.py": "x"})
    data = json.loads(differences(a, b).to_json())
    assert data["sections"]["parameters"]["changes"] == [{"name": "C", "before": "1", "after": "2", "note": ""}]
    assert data["sections"]["source"]["hunks"] == [{"name": "a.py (added)", "lines": ["+x"]}]


def test_text_in_colour():
    diff = differences(evidence(record(params={"C": 1})), evidence(record(params={"C": 2})))
    text = as_text(diff, lambda text, colour: f"<{colour}>{text}</{colour}>")
    assert "  C  <red>1</red>  <green>2</green>" in text
    assert "<bold>parameters: 1 differs</bold>" in text


def test_what_is_long_is_cut():
    many = {f"p{k}": "1" for k in range(100)}
    diff = differences(evidence(packages=many), evidence(sources={"a.py": "\n".join("abc" for _ in range(100))}))
    assert f"  … and {100 - MOST} more" in str(diff)
    assert f"… and {100 - MOST} more lines" in str(diff)


@pytest.mark.parametrize(
    ("a", "b", "shown"),
    [
        ("x" * 500 + "a" + "y" * 500, "x" * 500 + "b" + "y" * 500, tuple(f"…{'x' * 40}{c}{'y' * 37}…" for c in "ab")),
        ("x" * 100, "x" * 101, (f"…{'x' * 40}", f"…{'x' * 41}")),
        ("x" * 80 + "a", "x" * 80 + "b", (f"…{'x' * 40}a", f"…{'x' * 40}b")),
        ("a b", "a  b", ("'a b'", "'a  b'")),
    ],
)
def test_two_values_are_not_shown_as_the_same_text(a, b, shown):
    diff = differences(evidence(record(params={"C": a})), evidence(record(params={"C": b})))
    assert all(f">{html.escape(one)}</span>" in as_html(diff) for one in shown)
    [line] = [line for line in str(diff).splitlines() if line.startswith("  C  ")]
    assert line == f"  C  {shown[0]}  {shown[1]}"


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a & b", "'\""])
def test_html_shows_what_stands_there(text):
    diff = differences(evidence(record(params={"C": text})), evidence(sources={"a.py": text}))
    shown = as_html(diff)
    assert text not in shown or text == "'\""
    assert "<script" not in shown
    assert "http" not in shown


def test_files_too_large_to_be_read_are_said_and_not_counted_as_the_same():
    run = evidence(files={"a.csv": "3 B sha256:aa", "big.bin": "60.0 MB"}, unread=frozenset({"big.bin"}))
    diff = differences(run, run)
    assert (diff["files"].same, diff["files"].unread) == (1, ("big.bin",))
    for shown in (as_text(diff), as_html(diff)):
        assert "not compared, of the same size and too large to be read: big.bin" in shown
    alone = replace(run, files={"big.bin": "60.0 MB"})
    assert "files" not in [one.title for one in differences(alone, alone).equal]
