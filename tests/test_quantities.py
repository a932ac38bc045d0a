"""What people read of an amount: `quantities.json` has it for Python, for JupyterLab and for the widgets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_experiment_nb import quantities

WORDS = json.loads(Path(__file__).with_name("quantities.json").read_text())


@pytest.mark.parametrize("kind", WORDS)
def test_an_amount_is_told_in_the_words_that_a_browser_has_too(kind):
    told = getattr(quantities, kind)
    assert [[amount, told(amount)] for amount, _ in WORDS[kind]] == WORDS[kind]
