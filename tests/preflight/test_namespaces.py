import ast

import pytest

from ml_experiment_nb.cells import parse
from ml_experiment_nb.preflight.namespaces import binds_anything, magic_calls, names_bound_by, reads_anything


def nodes(code):
    return list(ast.walk(parse(code)))


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("a, (b, *c) = d", {"a", "b", "c"}), ("import os.path, sys as s", {"os", "s"}),
        ("from m import x as y, z", {"y", "z"}), ("def f(p): pass", {"f"}), ("class A: pass", {"A"}),
        ("match d:\n case {'k': v, **rest}: pass\n case [first, *more] as all: pass",
         {"v", "rest", "first", "more", "all"}),
        ("match d:\n case _: pass", set()), ("del a", set()), ("print(a)", set()),
    ],
)  # fmt: skip
def test_names_that_code_binds(code, names):
    assert {name for node in nodes(code) for name in names_bound_by(node)} == names


@pytest.mark.parametrize(
    "code",
    [
        "from m import *", "exec('x = 1')", "globals().update(a=1)", "globals()['a'] = 1", "f(globals())",
        "f(names=locals())", "vars()['a'] = 1", "del globals()['a']", "get_ipython().user_ns['a'] = 1",
        "ip.user_ns", "get_ipython().run_cell('x = 1')", "get_ipython().push({'a': 1})",
        "sys.modules['__main__'].__dict__['a'] = 1", "import builtins", "__builtins__.a = 1",
    ],
)  # fmt: skip
def test_code_that_may_bind_any_name(code):
    assert any(map(binds_anything, nodes(code)))


@pytest.mark.parametrize(
    "code",
    ["from m import a", "vars(a)['b'] = 1", "globals()['a']", "rows['a'] = 1", "rows.push(1)", "ex.ex", "exec"],
)
def test_code_that_binds_what_it_says(code):
    assert not any(map(binds_anything, nodes(code)))


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("globals()", True), ("eval('a')", True), ("exec('a')", True), ("vars()", True), ("ip.user_ns", True),
        ("vars(a)", False), ("a.eval('b')", False), ("evaluate(a)", False),
    ],
)  # fmt: skip
def test_code_that_may_read_any_name(code, reads):
    assert any(map(reads_anything, nodes(code))) is reads


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        ("%cd x y", [("cd", "x y")]), ("if a:\n    %time f(x)", [("time", "f(x)")]),
        ("get_ipython().magic('%load_ext a')", [("load_ext", "%load_ext a")]),
        ("get_ipython().run_line_magic(name, line)", [("", "")]), ("get_ipython().run_line_magic()", [("", "")]),
        ("!ls", []), ("ip.run_line_magic('cd', 'x')", []),
    ],
)  # fmt: skip
def test_magics_within_python(code, calls):
    assert list(magic_calls(nodes(code))) == calls
