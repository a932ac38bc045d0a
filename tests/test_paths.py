"""Paths with something to fill in."""

from pathlib import Path

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.paths import filled_in, is_spec, literal


def test_a_path_is_filled_in_as_papermill_does():
    from papermill.parameterize import parameterize_path

    for path in ("out-{C}-{name}.ipynb", "{{C}}.ipynb", "plain.ipynb", "{C:.2f}"):
        assert filled_in(path, {"C": 0.5, "name": "x"}) == parameterize_path(path, {"C": 0.5, "name": "x"})
    assert len(filled_in("{pm[run_uuid]}", {})) == 36
    assert filled_in("{pm[current_datetime_local].year}", {}).isdecimal()
    for wrong in ("{D}", "{", "{}", "{C.x}"):
        with pytest.raises(SpecError):
            filled_in(wrong, {"C": 1})


def test_what_is_not_given_is_told_with_the_nearest_name():
    with pytest.raises(
        SpecError, match=r"out-\{gama\}: row 3 gives no parameter 'gama'; did you mean 'gamma'\?; \{\{ and"
    ):
        filled_in("out-{gama}", {"gamma": 1}, giver="row 3")


def test_nothing_is_filled_in_a_literal_path():
    assert filled_in(literal("/a/{C}/{{x}}.ipynb"), {"C": 1}) == "/a/{C}/{{x}}.ipynb"


def test_a_spec_is_known_by_its_name():
    assert all(is_spec(one) for one in ("svm.yaml", Path("a/SVM.YML"), "s3://bucket/svm.json"))
    assert not any(is_spec(one) for one in ("svm.yaml.bak", "yaml", ".json", "train.py", ""))
