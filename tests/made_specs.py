"""Specs that tests make: one for each key, and what they run."""

import json
import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ml_experiment_nb.cell_requests import parse_cell
from ml_experiment_nb.magics import ExperimentMagics
from ml_experiment_nb.specs import Experiment, Group, spec_from_mapping

DOCS = (Path(__file__).parents[1] / "docs/specs.md").read_text()
EXAMPLES = re.findall(r"^\| `.*\| `([^`]+)` \|$", DOCS, re.M)
"""An example of each key: a new key has one too, since it has to be documented."""

PARAMS = [
    {"C": 0.5}, {"C": -1}, {"C": 1e-300, "kernel": "linear"}, {"kernel": "a b 'c' \"d\" $HOME `x` {y} \\ \n é"},
    {"kernel": "5"}, {"kernel": "true"}, {"kernel": ""}, {"kernel": " x "}, {"kernel": "-x"}, {"kernel": "a=b"},
    {"shape": [1, [2.5, "x"], None, True]}, {"shape": {"a": 1}}, {"kernel": None}, {"C": float("inf")},
    {"kernel": "uniform(0, 1)"}, {"kernel": "[1, 2"},
]  # fmt: skip


def yaml(text):
    return YAML(typ="safe", pure=True).load(text)


def whole(**keys):
    """Return a spec with these keys and what else it needs."""
    group = keys.get("kind") == "group" or keys.keys() & (Group.model_fields.keys() - Experiment.model_fields.keys())
    space = {"param_space": {"lr": "uniform(0, 1)"}} if group and not keys.keys() & {"each", "param_space"} else {}
    if "each" in keys:
        keys = {name: value for name, value in keys.items() if name != "metric"}
    return spec_from_mapping({"name": "the name", "run": "train.py", **space, **keys})


def parsed(text):
    """Return what a cell with its magic asks for."""
    above, _, text = text.rpartition("\n\n%%") if text.startswith("rows = ") else ("", "", text.removeprefix("%%"))
    line, _, cell = text.partition("\n")
    kind, *words = shlex.split(line)
    rows = eval(above.removeprefix("rows = ")) if above else None
    options = getattr(ExperimentMagics, kind).parser.parse_args(words)
    return parse_cell(options, cell, kind=kind, rows=rows).spec


TRAIN = """\
from ml_experiment_nb import job

@job
def main(C, kernel="rbf", shape=(1, 2), **more):
    return {"accuracy": C, "size": len(shape)}

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def folder(project):
    """A project with a script and its steps, a table and a notebook."""
    (project / "train.py").write_text(TRAIN)
    (project / "prepare.py").write_text("print('prepared')")
    (project / "rows.csv").write_text("C\n1\n2\n")
    cells = [{"cell_type": "code", "source": s, "metadata": {"tags": t}} for s, t in [("C = 1", ["parameters"])]]
    (project / "train.ipynb").write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells})
    )
    return project
