"""All that is wrong with a spec's text, each at its line."""

from __future__ import annotations

import json

import nbformat
import pytest

from ml_experiment_nb.mistakes import MOST, look_through


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.py").write_text("C = 0.5\nkernel = 'rbf'\n")
    cell = nbformat.v4.new_code_cell("C = 0.5", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "svm.ipynb")
    return tmp_path


def told(folder, text, name="new.yaml"):
    """Return the line, the key and the beginning of each mistake."""
    plan, found = look_through(text, folder / name)
    assert (plan is None) == bool(found)
    return [(one.line, one.key, one.problem) for one in found]


def keys(folder, text, name="new.yaml"):
    return [(line, key) for line, key, _ in told(folder, text, name)]


def test_a_sound_one_has_a_plan(folder):
    plan, found = look_through("run: train.py\nparams: {C: 1}\n", folder / "new.yaml")
    assert found == []
    assert plan.spec.params == {"C": 1}


def test_each_is_told_at_its_line_in_their_order(folder):
    text = """\
name: svm
kind: group
run: train.py
num_trails: 3
slots: none
sampler: tpx
param_space:
  C: loguniform(10, 1)
  gamma: choise([1])
  ok: uniform(0, 1)
metric: {name: accuracy, direction: up}
docker_config: {dockerfile: nowhere}
"""
    found = told(folder, text)
    assert [(line, key) for line, key, _ in found] == [
        (4, "num_trails"),
        (5, "slots"),
        (6, "sampler"),
        (8, "param_space.C"),
        (9, "param_space.gamma"),
        (11, "metric.direction"),
        (12, "docker_config.dockerfile"),
    ]
    assert "did you mean 'num_trials'" in found[0][2]


def test_the_same_is_told_of_json(folder):
    data = {"run": "train.py", "slots": -1, "seed": -1, "params": {"C": 1}}
    assert keys(folder, json.dumps(data, indent=1), "new.json") == [(3, "slots"), (4, "seed")]


def test_what_the_code_does_not_take_is_told_of_each_parameter(folder):
    assert keys(folder, "run: svm.ipynb\nparams:\n  D: 1\n  C: 2\n  E: 3\n") == [(3, "params.D"), (5, "params.E")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("kind: group\nrun: train.py\nparam_spac: {C: 'uniform(0, 1)'}\n", [(3, "param_spac")]),  # not: it is required
        ("rum: train.py\nslots: 0\n", [(1, "rum"), (2, "slots")]),
        ("slots: 0\n", [(None, "run"), (1, "slots")]),
        ("kind: grup\nrun: train.py\nnum_trials: 0\n", [(1, "kind")]),  # nobody knows what the rest means
        ("root_path: nowhere\nrun: train.py\n", [(1, "root_path")]),  # nor where to look for the script
        ("run: [train.py, none.py, non.py]\nslots: 0\n", [(1, "run"), (1, "run"), (2, "slots")]),
        ("run: train.py\nslots: 0\nslots: 1\n", [(3, "slots")]),
        ("run: [\n", [(2, None)]),
        ("- 1\n", [(1, None)]),
        ("", [(None, None)]),
        ("run: train.py\ntags: {a.b: [1], c: 2}\nseed: x\n", [(2, "tags.a.b"), (3, "seed")]),
        ("run: {function: 'nowhere:f'}\nparams: {C: 1}\nseed: x\n", [(3, "seed")]),  # nothing is imported
    ],
)
def test_what_depends_on_a_mistake_is_none(folder, text, wanted):
    assert keys(folder, text) == wanted


def test_no_more_are_told_than_can_be_read(folder):
    lines = "".join(f"wrong_{k}: 1\n" for k in range(3 * MOST))
    assert len(told(folder, f"run: train.py\n{lines}")) == MOST
