"""Notebooks, built from the texts of their cells."""

import pytest
from made_notebooks import notebook


@pytest.fixture
def book(tmp_path):
    """Write a notebook and return its path."""

    def write(*cells, **options):
        path = tmp_path / "book.ipynb"
        path.write_text(notebook(*cells, **options))
        return path

    return write


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def found(book):
    """Return what is found in a notebook, but for what git says: a tuple for each."""
    from ml_experiment_nb.preflight import check

    def look(*cells, **options):
        findings = check(book(*cells, **options), ignore=["uncommitted"])
        return [(one.rule, one.cell, one.id, one.line, one.text, one.advice) for one in findings]

    return look


@pytest.fixture
def brief(found):
    """Return what is found in a notebook: the rule, the cell and the line of each."""
    return lambda *cells, **options: [(one[0], one[1], one[3]) for one in found(*cells, **options)]
