"""Checks of the doctor's, some alone."""

import pytest

from ml_experiment_nb import doctor


@pytest.fixture
def only(monkeypatch):
    """Have some of the checks alone be made."""

    def choose(*names):
        monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in names})

    return choose
