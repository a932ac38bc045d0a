import json

import pytest

from ml_experiment_nb.entries import TAG_LENGTH, is_plain, key_of, known_as, notes_text, run_tags


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("C", "C"), ("a b-c.d:e/f", "a b-c.d:e/f"), ("f(x)=y", "f_x__y"), ("../../etc/passwd", "etc/passwd"),
        ("/a//b/./c", "a/b/c"), ("..", "_"), ("", "_"), ("größe", "größe"), ("x" * 300, "x" * 250), ("a\nb", "a_b"),
    ],
)  # fmt: skip
def test_a_name_as_mlflow_takes_it(name, key):
    assert key_of(name) == key
    assert key_of(key) == key


def test_a_name_is_known_by_itself_or_by_mlflows_key():
    assert known_as("f(x)", {"f(x)", "f_x_"}) == "f(x)"
    assert known_as("f(x)", {"f_x_"}) == "f_x_"
    assert known_as("f(x)", {"other"}) == "f(x)"


@pytest.mark.parametrize(
    ("notes", "kept"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (["a" * 3000, "b" * 3000], ["a" * 3000, "…"]),
        (["a", "b", "c" * 5000], ["a", "b", "…"]),
        (["a" * 2000, "b" * 2000, "c" * 2000, "d"], ["a" * 2000, "b" * 2000, "…"]),
        (["a" * 8000], ["a" * 4000, "…"]),
        (["a" * 8000, "b"], ["a" * 4000, "…"]),
    ],
)
def test_notes_that_are_too_long_for_a_tag_keep_the_first(notes, kept):
    text = notes_text(notes)
    assert json.loads(text) == kept
    assert len(text) <= TAG_LENGTH


def test_tags_are_cut_and_their_names_made_fit():
    [one, other] = run_tags({"a(b)": "x" * (TAG_LENGTH + 1), "c": ""})
    assert (one.key, len(one.value)) == ("a_b_", TAG_LENGTH)
    assert (other.key, other.value) == ("c", "")


@pytest.mark.parametrize(
    ("value", "plain"), [(None, True), (1.5, True), (True, True), ("x", True), (float("nan"), False), ([1], False)]
)
def test_a_value_that_can_be_told_by_looking(value, plain):
    assert is_plain(value) is plain
