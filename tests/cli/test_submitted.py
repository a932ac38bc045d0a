from types import SimpleNamespace

import pytest

from ml_experiment_nb import submissions
from ml_experiment_nb.cli import submitted
from ml_experiment_nb.cli.submitted import SubmissionWatch, _counted, _why
from ml_experiment_nb.submissions import Progress


@pytest.mark.parametrize(
    ("text", "progress"),
    [
        ("wheel 3 of 12: numpy", (3, 12)), ("#7 [builder 2/5] RUN pip", (2, 5)), ("[ 2/5] COPY", (2, 5)),
        ("exporting layers", (0, None)), ("2/5 of them", (0, None)), ("", (0, None)),
    ],
)  # fmt: skip
def test_how_far_a_step_is(text, progress):
    assert _counted(text) == Progress(*progress, text)


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("wheel 1 of 2\nerror: no engine answers\n  more\n", "error: no engine answers"),
        ("Error: No such option: --x\n\nTry 'ml-experiment --help'\n", "Error: No such option: --x"),
        ("error: first\nerror: second\n", "error: second"),
        ("Traceback (most recent call last):\n  File\nValueError: no\n\n", "ValueError: no"),
        ("  indented\n\n", "it ended without a word"),
        ("", "it ended without a word"),
    ],
)
def test_why_a_command_failed_is_its_last_word(tmp_path, log, why):
    (tmp_path / submissions.LOG).write_text(log)
    assert _why(tmp_path, SubmissionWatch(tmp_path)) == why


def test_what_its_record_says_comes_before_what_it_printed(tmp_path):
    (tmp_path / submissions.LOG).write_text("error: something else\n")
    told = SubmissionWatch(tmp_path)
    told.made({"image": "x"}, "the image gives other metrics")
    assert _why(tmp_path, told) == "the image gives other metrics"
    assert "the image gives other metrics" not in (tmp_path / "result.json").read_text()


def test_word_of_how_far_it_is_is_left_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(submitted, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    said = []
    monkeypatch.setattr(submissions, "say_progress", lambda folder, progress: said.append(progress.text))
    watch = SubmissionWatch(tmp_path)
    for text in ("first", "at once", "at once again"):
        watch.step(text)
    moment[0] += submitted.EVERY + 0.1
    watch.step("later")
    watch._say(Progress(2, 2, "the last"), last=True)
    assert said == ["first", "later", "the last"]
