"""Notebooks that tests make of the texts of their cells."""

import json

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

PYTHON = {"kernelspec": {"name": "py311", "display_name": "Python", "language": "python"}}


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


def write_notebook(path, *sources, kernel="python3"):
    """Write a notebook with a parameter `C` and these cells, and return its path."""
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": kernel, "display_name": "", "language": "python"}})
    parameters = nbformat.v4.new_code_cell("C = 1.0", metadata={"tags": ["parameters"]}, id="params")
    nb.cells = [parameters, *(nbformat.v4.new_code_cell(one, id=f"c{k}") for k, one in enumerate(sources))]
    nbformat.write(nb, path)
    return path


def tagged(source, *names):
    return new_code_cell(source, metadata={"tags": list(names or ("parameters",))})


def node(*cells, metadata=PYTHON):
    return new_notebook(
        cells=[new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells], metadata=metadata
    )
