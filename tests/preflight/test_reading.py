import json

import pytest
from made_notebooks import notebook

from ml_experiment_nb import check
from ml_experiment_nb.errors import SpecError


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.ipynb", None, "there is no such notebook"),
        ("a.py", None, "there is no such script"),
        ("a.txt", "x", "is neither a notebook"),
        ("a.ipynb", "", "it is empty"),
        ("a.ipynb", "{}", "without `nbformat`"),
        ("a.ipynb", notebook("x <- 1", language="R"), "is in r, and only Python can be looked at"),
        ("a.py", "def f(:", "invalid syntax"),
        ("a.yaml", "kind: experiment\nrun: gone.py\n", "run: there is no file"),
    ],
)
def test_files_that_can_not_be_read(here, name, text, problem):
    if text is not None:
        (here / name).write_text(text)
    with pytest.raises(SpecError, match=problem):
        check(name)


def test_an_old_notebook(here):
    cells = [{"cell_type": "code", "input": "print(x)", "language": "python", "outputs": [], "metadata": {}}]
    (here / "a.ipynb").write_text(json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [
        {"cells": cells, "metadata": {}}]}))  # fmt: skip
    assert [one.place for one in check("a.ipynb")] == ["a.ipynb: cell 1 (cell-0), line 1"]


def test_a_notebook_without_ids_and_with_markdown(here):
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "text"},
        {
            "cell_type": "code",
            "metadata": {},
            "source": ["y = 1\n", "print(x)"],
            "outputs": [],
            "execution_count": None,
        },
    ]
    (here / "a.ipynb").write_text(json.dumps({"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": cells}))
    assert [one.place for one in check("a.ipynb")] == ["a.ipynb: cell 2 (cell-1), line 2"]


def test_an_empty_notebook(found):
    assert found() == []
    assert found("", "# nothing", "\n\n") == []


def test_code_that_is_nested_too_deep(found):
    assert found("x = " + "-" * 3000 + "1", "print(x)") == []
