"""What differs between a run and its replay, made a verdict: pure."""

import json

import pytest
from made_evidence import record

from ml_experiment_nb.comparison.differences import Evidence
from ml_experiment_nb.records import Failure, Status
from ml_experiment_nb.replays.judging import causes_of, is_alike, verdict_of
from ml_experiment_nb.verdicts import Difference, Verdict, VerdictAnswer


def judged(before, after, **options):
    curves = tuple({name: [(0, value)] for name, value in one.record.metrics.items()} for one in (before, after))
    return verdict_of(before, after, curves=curves, **options)


def notebook(text):
    cell = {"cell_type": "code", "source": "show()", "outputs": [{"output_type": "stream", "text": text}]}
    return json.dumps({"cells": [cell]})


def test_nothing_that_differs_is_identical():
    run = Evidence(record(metrics={"acc": 1.0}), files={"a.csv": "3 B sha256:aa"})
    verdict = judged(run, run, logs=("x\n", "x\n"))
    assert verdict.sentence == "identical: 1 metric, 1 file and 1 output are the same"


def test_what_differs_is_told_with_metrics_before_files_before_outputs():
    before = Evidence(record(metrics={"acc": 1.0}), files={"a.csv": "3 B"})
    after = Evidence(record(metrics={"acc": 2.0}), files={"a.csv": "4 B", "b.csv": "1 B"})
    verdict = judged(before, after, logs=("one\ntwo\n", "one\nthree\n"))
    assert [one.kind for one in verdict.differences] == ["metric", "file", "file", "output"]
    assert str(verdict.differences[-1]) == 'output line 2 "two" → "three"'


def test_a_tolerated_metric_does_not_hide_a_file_that_differs():
    from ml_experiment_nb.verdicts import read_tolerances

    before = Evidence(record(metrics={"acc": 1.0}), files={"a.csv": "3 B"})
    after = Evidence(record(metrics={"acc": 1.001}), files={"a.csv": "4 B"})
    verdict = judged(before, after, tolerances=read_tolerances(["acc=0.1"]))
    assert verdict.answer is VerdictAnswer.DIFFERS
    assert verdict.first.kind == "file"


@pytest.mark.parametrize("ignored", [["files", "outputs"], ["*.csv", "line *"], ["file", "output"]])
def test_what_is_ignored_is_not_compared(ignored):
    before, after = Evidence(record(), files={"a.csv": "3 B"}), Evidence(record(), files={"a.csv": "4 B"})
    assert judged(before, after, logs=("a", "b"), ignored=ignored).answer is VerdictAnswer.IDENTICAL


def test_a_run_that_fails_where_it_had_not_could_not_run():
    failed = record(status=Status.FAILED, failure=Failure("ModuleNotFoundError", "No module named 'gone'"))
    cause = Difference("package", "gone", "1.0")
    verdict = judged(Evidence(record()), Evidence(failed), causes=[cause])
    assert verdict.sentence == "could not run: it failed with ModuleNotFoundError: No module named 'gone'"
    assert verdict.causes == (cause,)


def test_a_run_that_fails_as_it_did_is_identical_and_otherwise_differs():
    def failed(message):
        return Evidence(record(status=Status.FAILED, failure=Failure("ValueError", message)))

    assert judged(failed("at 0x7f0011223344"), failed("at 0x7f5566778899")).answer is VerdictAnswer.IDENTICAL
    assert judged(failed("one"), failed("two")).first.kind == "error"
    assert judged(failed("one"), Evidence(record())).first.kind == "status"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epoch 1 took 3.2 s", "epoch 1 took 14 s"),
        ("2026-01-02 03:04:05,678 start", "2027-11-12 13:14:15,999 start"),
        ("<object at 0x7f0011223344>", "<object at 0x7f5566778899>"),
        ("/tmp/ipykernel_12/345.py:4", "/tmp/ipykernel_99/1.py:4"),
    ],
)
def test_what_is_printed_of_the_moment_is_no_difference(old, new):
    assert judged(Evidence(record()), Evidence(record()), logs=(old, new)).answer is VerdictAnswer.IDENTICAL
    books = [Evidence(record(), notebooks={"a.ipynb": notebook(text)}) for text in (old, new)]
    assert judged(*books).answer is VerdictAnswer.IDENTICAL


def test_cells_that_show_something_else_are_named_and_their_page_is_not_compared():
    before, after = (
        Evidence(record(), notebooks={"a.ipynb": notebook(text)}, files={"a.html": text}) for text in ("1", "2")
    )
    verdict = judged(before, after, logs=("1", "2"))
    assert [str(one) for one in verdict.differences] == ['output a.ipynb, cell 1 "1" → "2"']


def test_a_file_that_differs_in_the_run_s_id_and_folder_alone_is_the_same():
    names = {"b" * 32: "a" * 32, "/copy/of": "/home/me"}
    old, new = (b"id " + run * 32 + b" in " + folder for run, folder in ((b"a", b"/home/me/x"), (b"b", b"/copy/of/x")))
    assert is_alike("model.pkl", old, new, names)
    assert not is_alike("model.pkl", old + b"1", new + b"2", names)


def test_a_model_s_own_id_and_time_are_no_difference():
    text = b"run_id: %d\nutc_time_created: '%d'\nflavors: %s\n"
    assert is_alike("model/MLmodel", text % (1, 1, b"sklearn"), text % (2, 2, b"sklearn"), {})
    assert not is_alike("model/MLmodel", text % (1, 1, b"sklearn"), text % (1, 1, b"torch"), {})
    assert not is_alike("other.txt", text % (1, 1, b"sklearn"), text % (2, 2, b"sklearn"), {})


def test_a_file_that_is_alike_is_no_difference():
    before, after = Evidence(record(), files={"m": "9 B sha256:a"}), Evidence(record(), files={"m": "9 B sha256:b"})
    assert judged(before, after).answer is VerdictAnswer.DIFFERS
    assert judged(before, after, alike={"m"}).answer is VerdictAnswer.IDENTICAL


def test_causes_are_told_with_data_first():
    run = record(tags={"mlexp.unseeded": "numpy", "mlexp.system.python": "3.11.1", "mlexp.system.hostname": "one"})
    before = Evidence(run, packages={"numpy": "1.0", "six": "1.0"}, data={"x.csv": "a" * 32})
    system = {"mlexp.system.python": "3.11.2", "mlexp.system.hostname": "two"}
    here = Evidence(record(tags=system), packages={"numpy": "2.0", "six": "1.0"}, data={"x.csv": "b" * 32})
    causes = causes_of(before, here, ["x.csv", "notes.txt", "helper.py"], ["the commit is gone"])
    assert [(one.kind, one.name) for one in causes] == [
        ("data", "x.csv"), ("code", ""), ("files", "helper.py, notes.txt"), ("package", "numpy"),
        ("machine", "python"), ("seed", "numpy"),
    ]  # fmt: skip
    assert str(causes[0]) == "data x.csv aaaaaaaaaaaa → bbbbbbbbbbbb (its content is another than in that run)"


def test_data_that_only_the_run_itself_names_is_a_cause_too():
    before, after = (Evidence(record(), data={"X_train": text * 32}) for text in "ab")
    assert [one.name for one in judged(before, after).causes] == ["X_train"]


def test_a_file_that_was_not_read_is_not_called_the_same():
    run = Evidence(
        record(), files={"a.csv": "3 B sha256:aa", "big.bin": "60.0 MB"}, unread=frozenset({"big.bin"})
    )  # fmt: skip
    verdict = judged(run, run)
    told = "the file big.bin was too large to be read, and of the same size"
    assert verdict.sentence == f"identical: 1 file is the same; {told}"
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert judged(run, run, ignored=["*.bin"]).sentence == "identical: 1 file is the same"
