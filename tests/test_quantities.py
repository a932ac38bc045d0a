"""Amounts and texts as people read them: `quantities.json` has the amounts for JupyterLab and the widgets, too."""

import json
from pathlib import Path

import pytest

from ml_experiment_nb import quantities
from ml_experiment_nb.quantities import cut, line_of, number, repr_of, text_of

WORDS = json.loads(Path(__file__).with_name("quantities.json").read_text())


class Odd:
    def __repr__(self):
        raise RuntimeError("no")


def test_a_value_without_a_text_is_still_told():
    assert (text_of(Odd()), repr_of(Odd())) == ("<Odd, which can't be shown: RuntimeError>",) * 2
    assert (text_of("a"), repr_of("a")) == ("a", "'a'")


@pytest.mark.parametrize(("text", "shown"), [("", ""), ("abcd", "abcd"), ("abcde", "abc…")])
def test_a_text_is_cut_where_it_is_too_long(text, shown):
    assert cut(text, 4) == shown


def test_a_text_of_several_lines_is_shown_in_one():
    assert line_of(" RUN pip \\\n   install x ", 90) == "RUN pip \\ install x"
    assert line_of("a\nb " * 50, 8) == "a b a b…"
    assert len(number("word " * 100)) == 80


@pytest.mark.parametrize("kind", WORDS)
def test_an_amount_is_told_in_the_words_that_a_browser_has_too(kind):
    told = getattr(quantities, kind)
    assert [[amount, told(amount)] for amount, _ in WORDS[kind]] == WORDS[kind]
