"""A run's card, whole, in each of its forms."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from made_records import STARTED, record

from ml_experiment_nb.cards import Card, Change, File, card_html, card_markdown, card_text, change, warnings_of
from ml_experiment_nb.records import Failure, Status

NOW = record(kind="experiment", name="SVM", params={"C": 0.5, "kernel": "rbf"}, metrics={"acc": 0.9, "loss": 0.25})
BEFORE = replace(
    NOW, run_id="fedcba9876543210", params={"C": 0.1, "kernel": "rbf"}, metrics={"acc": 0.8, "loss": 0.25, "old": 1.0},
    started=STARTED - timedelta(seconds=90),
)  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "more", "text"),
    [
        (0.8, 0.9, None, "▲ +0.1"),
        (0.8, 0.9, True, "▲ +0.1 better"),
        (0.8, 0.9, False, "▲ +0.1 worse"),
        (0.9, 0.8, True, "▼ \u22120.1 worse"),
        (3, 1, False, "▼ \u22122 better"),
        (0.8, 0.8, True, "="),
        (None, 0.8, True, "new"),
        (0.8, None, True, "gone"),
        (math.nan, math.nan, True, "="),
        (math.nan, 1.0, True, "≠"),
        (1.0, math.inf, True, "▲ better"),
    ],
)
def test_a_change(before, after, more, text):
    assert str(change(before, after, more)) == text


def test_no_direction_is_made_up():
    assert change(1.0, 2.0, None) == Change("▲", "+1", "")


def test_text():
    card = Card(NOW, BEFORE, {"acc": True}, [File("model.pkl", 12_000)])
    assert card_text(card) == (
        "SVM  ✓ finished  1.50 s  0123456789abcdef0123456789abcdef\n"
        "  params   C=0.5 (was 0.1), kernel=rbf\n"
        "  metrics  acc=0.9 (▲ +0.1 better), loss=0.25 (=)\n"
        "  files    model.pkl (12 kB)"
    )


def test_what_speaks_against_running_it_again():
    doubtful = replace(
        NOW,
        notes=("the session has hidden state, which its cells alone don't give: x: no cell binds it", "another"),
        tags={"mlexp.unseeded": "numpy, torch", "mlexp.preflight": "a path", "mlexp.git.dirty": "true"},
    )
    assert warnings_of(doubtful) == [
        "hidden state: x: no cell binds it",
        "random numbers drawn without a seed: numpy, torch (with --seed 1 each run draws the same)",
        "a path",
        "files differ from the git commit",
    ]
    assert card_text(Card(doubtful)).splitlines()[-2:] == [
        "  note: another",
        "  ⚠ hidden state: x: no cell binds it; random numbers drawn without a seed: numpy, torch "
        "(with --seed 1 each run draws the same); a path; "
        "files differ from the git commit",
    ]
    assert "⚠" not in card_html(Card(NOW))


def test_html():
    made = card_html(Card(NOW, BEFORE, {"acc": True}, page="http://127.0.0.1:5000/#/runs/0123"))
    head, tables = made.split("</div>", 1)
    assert head == (
        '<div><div><b>SVM</b> · <span style="color:var(--jp-success-color1, #1f883d)">✓ finished</span> in 1.50 s'
        " · run <code>01234567</code> · "
        '<a href="http://127.0.0.1:5000/#/runs/0123" target="_blank" rel="noopener">open in MLflow</a>'
    )
    row = '<tr><th scope="row" style="text-align:left">'
    right, left = '<td align="right">', '<td style="text-align:left">'
    better = '<span style="color:var(--jp-success-color1, #1f883d)">▲ +0.1 better</span>'
    assert f"{row}acc</th>{right}0.9</td>{right}0.8</td>{left}{better}</td></tr>" in tables
    assert f"{row}loss</th>{right}0.25</td>{right}0.25</td>{left}=</td></tr>" in tables
    assert f"{row}old</th>{right}—</td>{right}1</td>{left}gone</td></tr>" in tables
    assert f"{row}C</th>{left}<b>0.5</b></td>{left}0.1</td></tr>{row}kernel</th>{left}rbf</td><td></td></tr>" in tables
    assert "before: run <code>fedcba98</code> of this cell, 1 min 30 s earlier" in tables


def test_long_values_are_shown_where_they_differ():
    was, now = ("/data/" + "x" * 200 + end for end in ("/a.csv", "/b.csv"))
    card = Card(replace(NOW, params={"file": now}), replace(NOW, params={"file": was}))
    assert f"file=…{'x' * 39}/b.csv (was …{'x' * 39}/a.csv)" in card_text(card)
    assert f'<b>…{"x" * 39}/b.csv</b></td><td style="text-align:left">…{"x" * 39}/a.csv</td>' in card_html(card)


def test_html_of_a_first_run_has_no_column_for_one_before():
    made = card_html(Card(NOW))
    assert "before" not in made
    assert "<code>ml-experiment ui</code> opens it" in made


def test_html_of_a_failed_run_says_why_in_a_line():
    failed = replace(NOW, status=Status.FAILED, failure=Failure("ValueError", "no <C>\nat all"), metrics={})
    made = card_html(Card(failed))
    assert ">✗ failed</span>" in made
    assert ">ValueError: no &lt;C&gt; at all</div>" in made


def test_html_is_escaped():
    odd = replace(NOW, name="<b>", params={"<i>": "<script>"}, metrics={"<u>": 1.0}, notes=("<p>",))
    files = [File("<x>.png", 3, b"png")]
    made = card_html(Card(odd, replace(odd, params={"<i>": "<s>"}), files=files, page='http://h/"><script>'))
    assert not any(word in made for word in ("<b><", "<i>", "<script>", "<u>", "<p>", "<s>", "<x>"))
    assert 'alt="&lt;x&gt;.png"' in made


def test_small_images_are_shown_and_other_files_named():
    made = card_html(Card(NOW, files=[File("roc.svg", 4, b"<svg"), *(File(f"f{k}", k) for k in range(10))]))
    assert 'src="data:image/svg+xml;base64,PHN2Zw=="' in made
    assert "files: roc.svg (4 B), f0 (0 B), f1 (1 B), " in made
    assert "f6 (6 B) and 3 more<" in made


def test_of_many_parameters_those_that_changed_come_first():
    one = replace(NOW, params={f"p{k}": k for k in range(100)})
    made = card_html(Card(one, replace(one, params={**one.params, "p70": 0})))
    assert made.index(">p70<") < made.index(">p0<")
    assert ">p30<" not in made
    assert "… 80 more …" in made


def test_markdown():
    assert card_markdown(Card(replace(NOW, notes=("a|b",)))) == (
        "**SVM** · ✓ finished in 1.50 s · run `01234567`\n\n"
        "|  | value |\n| :--- | :--- |\n| acc | 0.9 |\n| loss | 0.25 |\n| C | 0.5 |\n| kernel | rbf |\n\n"
        "note: a\\|b"
    )
    same = card_markdown(Card(record(params={"C": 1, "lr": 2}, metrics={"lr": 0.5})))
    assert "| metrics.lr | 0.5 |\n| C | 1 |\n| params.lr | 2 |" in same
    job = record(run_id=None, params={}, metrics={}, failure=Failure("KeyError", "'a'"), status=Status.FAILED)
    assert card_markdown(Card(job)) == "**svm \\#1** · ✗ failed in 1.50 s · not tracked\n\nKeyError: 'a'"


def test_what_came_of_doing_it_again_is_told():
    tags = {"mlexp.replayed": "identical: 1 metric is the same", "mlexp.replayed.by": "b" * 32}
    original = Card(replace(NOW, tags=tags))
    assert "  replayed as bbbbbbbb: identical: 1 metric is the same" in card_text(original).splitlines()
    again = {"mlexp.replay.of": "a" * 32, "mlexp.replay.sentence": "differs: metric <acc> 1 → 2"}
    assert "replay of aaaaaaaa: differs: metric &lt;acc&gt; 1 → 2" in card_html(Card(replace(NOW, tags=again)))
    assert "replay of aaaaaaaa: differs" in card_markdown(Card(replace(NOW, tags=again)))
