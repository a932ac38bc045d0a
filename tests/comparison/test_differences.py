import json
import math
from dataclasses import replace

from made_evidence import evidence, record

from ml_experiment_nb.comparison.differences import Change, differences
from ml_experiment_nb.records import Failure, Status

GIT = """diff --git a/t.py b/t.py
index 0bde35d..9d31ef3 100644
--- a/t.py
+++ b/t.py
@@ -1 +1,2 @@
 x = 1
+y = 2
"""


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
