import ast

import pytest

from ml_experiment_nb.flow import trace


def missing(text, **options):
    return {name: node.lineno for name, node in trace(text, ast.parse(text), **options).missing.items()}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("print(a)\na = 1", {"print": 1, "a": 1}),
        ("if c:\n    a = 1\na", {"c": 1}),
        ("for k in n:\n    if k:\n        a\n    a = k", {"n": 1}),
        ("while n:\n    a\n    n = a = 1", {}),
        ("try:\n    a\nexcept NameError:\n    pass", {"NameError": 3}),
        ("try:\n    a\nexcept ValueError:\n    pass", {"a": 2, "ValueError": 3}),
        ("class A:\n    a = 1\nprint(a)", {"print": 3, "a": 3}),
        ("def f():\n    global a\n    a = 1\nf()\na", {}),
        ("def f(x: T) -> U: pass", {"T": 1, "U": 1}),
        ("from __future__ import annotations\ndef f(x: T) -> U: pass", {}),
    ],
)
def test_names_that_are_missing(text, names):
    assert missing(text) == names


def test_annotations_that_a_cell_above_has_postponed():
    assert missing("x: T = 1", postponed=True) == {}


def test_what_functions_read():
    text = "a = 1\ndef f():\n    return a + b"
    found = trace(text, ast.parse(text))
    assert (found.reads, found.later, found.in_functions) == ({"b"}, {"b"}, {"a", "b"})
