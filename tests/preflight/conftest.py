"""Notebooks, built from the texts of their cells."""

import json

import pytest


def notebook(*cells, language="python"):
    """Return a notebook's text. A cell is its source, or its source and its tags; its id is c1, c2, ..."""
    made = []
    for number, cell in enumerate(cells, start=1):
        source, *tags = (cell,) if isinstance(cell, str) else cell
        made.append(
            {"cell_type": "code", "id": f"c{number}", "metadata": {"tags": tags}, "source": source,
             "outputs": [], "execution_count": None}
        )  # fmt: skip
    metadata = {"language_info": {"name": language}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": made})


@pytest.fixture
def book(tmp_path):
    """Write a notebook and return its path."""

    def write(*cells, **options):
        path = tmp_path / "book.ipynb"
        path.write_text(notebook(*cells, **options))
        return path

    return write


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
