import pytest

from ml_experiment_nb.backend.asks import CheckAsked, JobAsked


def test_a_check_takes_a_text_or_a_job():
    assert CheckAsked(text="", file="a.yaml").job is None
    for wrong in ({}, {"text": ""}, {"job": JobAsked(kind="experiment", notebook="a.ipynb"), "text": "", "file": "a"}):
        with pytest.raises(ValueError, match="give text and file, or job"):
            CheckAsked(**wrong)
