"""Secrets that this process knows in a test."""

import pytest

from ml_experiment_nb import masking, patterns, secrecy


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The secrets that are known in a test."""
    known = {}
    monkeypatch.setattr(secrecy, "secrets_seen", known)
    monkeypatch.setattr(masking, "secrets_seen", known)
    monkeypatch.setattr(patterns, "secrets_seen", known)
    monkeypatch.setattr(patterns, "_made", None)
    return known
