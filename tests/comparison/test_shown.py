import html
from dataclasses import replace

import pytest
from made_evidence import evidence, record

from ml_experiment_nb.comparison.differences import differences
from ml_experiment_nb.comparison.shown import MOST, as_html, as_text


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
