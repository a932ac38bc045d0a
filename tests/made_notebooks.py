"""Notebooks that tests make of the texts of their cells."""

import json


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
