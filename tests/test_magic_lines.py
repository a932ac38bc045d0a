import ast

import pytest

from ml_experiment_nb.cells import parse
from ml_experiment_nb.magic_lines import (
    OF_OURS,
    RUNS_NOTHING,
    bound_by_line,
    captured_by,
    code_in_line,
    is_timed,
    magic_code,
    names_in_line,
)


def code(statements):
    return [ast.unparse(one) for one in statements]


def call(line):
    """Return the call that IPython makes of a line."""
    [statement] = parse(line).body
    value = getattr(statement, "value", None)
    assert isinstance(value, ast.Call)
    return value


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("%time f(x)", ["f(x)"]), ("%timeit -n 3 -r 1 f(x)", ["f(x)"]), ("%prun -s cumtime f(x)", []),
        ("!ls {folder} $name", ["folder", "name"]), ("%cd {a['b']}", ["a['b']"]), ("!echo {not python", []),
        ("!awk '{print $1}'", []), ("%matplotlib inline", []), ("print(1)", []),
    ],
)  # fmt: skip
def test_the_python_within_a_line(line, found):
    assert code(magic_code(call(line))) == found


def test_a_line_that_runs_python_is_told():
    assert is_timed(call("%time x = 1"))
    assert not is_timed(call("%cd x"))
    assert not is_timed(call("print('time')"))


def test_what_is_no_python_is_nothing():
    assert code(code_in_line("{a} {1 +} $b")) == []
    assert code(code_in_line("{a} $b")) == ["a", "b"]


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("%%experiment x", "experiment"), ("\n  %%group", "group"), ("%%time\n%%group x", "group"),
        ("%%capture out\n\n%%experiment", "experiment"), ("%%groups x", None), ("x = 1\n%%group", None),
        ("%%time\nx = '%%group'", None),
    ],
)  # fmt: skip
def test_a_cell_of_ours_is_known_by_its_magic(source, kind):
    found = OF_OURS.match(source)
    assert (found and found[1]) == kind


@pytest.mark.parametrize(("line", "runs"), [("x --plan", False), ("x --save a.yaml", False), ("x --planned", True)])
def test_a_line_that_runs_nothing(line, runs):
    assert (RUNS_NOTHING.search(f" {line}") is None) is runs


def test_names_of_a_line():
    assert names_in_line(" {name} --data X --each=rows --data a.csv -p C={value}") == {"name", "X", "rows", "value"}
    assert names_in_line(" x --data 1") == frozenset()
    assert bound_by_line(" x --into found") == {"found"}
    assert bound_by_line(" x --into=found") == {"found"}


def test_the_name_of_captured_output():
    assert captured_by("%%capture --no-stderr said\nprint(1)") == {"said"}
    assert captured_by("%%capture\nmodel.fit(X)") == frozenset()
    assert captured_by("x = '%%capture said'") == frozenset()
