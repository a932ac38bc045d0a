import ast
import subprocess
import sys

import numpy as np
import pytest

from ml_experiment_nb import spaces
from ml_experiment_nb.cells import DYNAMIC, literal, parse, read_cell, with_values
from ml_experiment_nb.errors import ParameterError, SpaceError, SpecError

LEADS = {
    "literals": (
        "C = 0.5\nkernel = 'rbf'\nn = -1\nx = None",
        {"C": 0.5, "kernel": "rbf", "n": -1, "x": None},
    ),
    "containers": ("a = (1, 2)\nb = {'k': [1]}\nc = {1}", {"a": (1, 2), "b": {"k": [1]}, "c": {1}}),
    "annotated": ("C: float = 0.5\nfit(C)", {"C": 0.5}),
    "one line": ("C = 1; D = 2; f(); E = 3", {"C": 1, "D": 2}),
    "what may stand among them": ("'doc'\nimport os\nC = 1\npass\nfrom a import b\nD = 2", {"C": 1, "D": 2}),
    "the last wins": ("C = 1\nC = 2", {"C": 2}),
    "a literal after a distribution": ("C = uniform(0, 1)\nC = 2", {"C": 2}),
    "underscores are not parameters": ("_a = 1\n__b = 2\nC = 3", {"C": 3}),
    "a call ends it": ("C = 1\nmodel = fit()\nD = 2", {"C": 1}),
    "a name ends it": ("C = 1\nD = C\nE = 2", {"C": 1}),
    "a tuple target ends it": ("C = 1\na, b = 1, 2\nD = 2", {"C": 1}),
    "a chain ends it": ("a = b = 1\nC = 2", {}),
    "an augmented assignment ends it": ("C = 1\nC += 1\nD = 2", {"C": 1}),
    "a bare annotation ends it": ("C: float\nD = 2", {}),
    "an attribute ends it": ("a.b = 1\nC = 2", {}),
    "an f-string ends it": ("C = f'{x}'\nD = 1", {}),
    "a magic ends it": ("C = 1\n%matplotlib inline\nD = 2", {"C": 1}),
    "a computed range is Python's": ("n = 3\nsteps = range(n)\nD = 2", {"n": 3}),
    "an imported choice is not ours": ("from random import choice\nC = choice([1, 2])\nD = 2", {}),
    "empty": ("", {}),
    "comments": ("# nothing here\n", {}),
}


@pytest.mark.parametrize(("source", "params"), LEADS.values(), ids=LEADS)
def test_lead_params(source, params):
    cell = read_cell(source)
    assert (cell.params, cell.space, cell.source) == (params, {}, source)


@pytest.mark.parametrize(
    ("source", "space", "params"),
    [
        ("C = loguniform(0.01, 1000)\nk = 'rbf'", {"C": "loguniform(0.01, 1000)"}, {"k": "rbf"}),
        ("d = range(2, 5)\ng = choice(['a', None])", {"d": "range(2, 5)", "g": "choice(['a', None])"}, {}),
        ("C: float = uniform(0, 1)", {"C": "uniform(0, 1)"}, {}),
        ("from ml_experiment_nb import uniform\nC = uniform(0, 1)", {"C": "uniform(0, 1)"}, {}),
        ("C = 1\nC = uniform(0, 1)", {"C": "uniform(0, 1)"}, {}),
        ("C = uniform(0, 1)\nf()\nD = uniform(0, 1)", {"C": "uniform(0, 1)"}, {}),
    ],
)
def test_lead_space(source, space, params):
    cell = read_cell(source)
    assert (cell.space, cell.params) == ({name: spaces.parse(text) for name, text in space.items()}, params)


def test_lead_takes_a_list_of_distributions():
    space = read_cell("layers = [range(2, 5), uniform(0, 1)]").space
    assert list(space["layers"]) == [spaces.parse("range(2, 5)"), spaces.parse("uniform(0, 1)")]


def test_a_wrong_distribution_names_its_line_and_parameter():
    with pytest.raises(SpaceError) as caught:
        read_cell("k = 1\n\nC = uniform(2, 1)")
    assert (caught.value.line, caught.value.key) == (3, "C")


@pytest.mark.parametrize(
    ("source", "line", "part"),
    [
        ("C = 1\nD = = 2", 2, "invalid syntax: D = = 2"),
        ("\n\nfor x in y\n    pass", 3, "for x in y"),
        ("C = 1\n  D = 2", 2, "unexpected indent: D = 2"),
        ("x = 1\nreturn x", 2, "'return' outside function: return x"),
        ("\n%time f()\nx = (", 3, "'(' was never closed"),
        ("x = '\0'", None, "null"),
    ],
)
def test_syntax_errors_are_one_line_and_say_where(source, line, part):
    with pytest.raises(SpecError) as caught:
        read_cell(source)
    assert part in caught.value.problem
    assert "\n" not in str(caught.value)
    if line:
        assert caught.value.line == line


READS = {
    "straight line": ("x = a\ny = x + b", "a b", "x y"),
    "read, then written": ("x = x + 1\nx", "x", "x"),
    "parameters are bound": ("C = 0.5\nkernel = uniform(0, 1)\nfit(C, kernel)", "fit", "C kernel"),
    "a parameter's annotation": ("C: Fraction = 1", "Fraction", "C"),
    "augmented": ("n += 1", "n", "n"),
    "augmented item": ("xs[i] += v", "xs i v", ""),
    "attribute target": ("a.b = c", "a c", ""),
    "annotated": ("x: T = v\nx", "T v", "x"),
    "annotated, not bound": ("x: T\nx", "T x", ""),
    "both branches": ("if t:\n  x = 1\nelse:\n  x = 2\nx", "t", "x"),
    "one branch": ("if t:\n  x = 1\nx", "t x", "x"),
    "a branch that raises": ("if t:\n  x = 1\nelse:\n  raise E\nx", "t E", "x"),
    "for": ("for i in xs:\n  y = i\ni, y", "xs i y", "i y"),
    "for else": ("for i in xs:\n  if i: break\nelse:\n  z = 1\nz", "xs z", "i z"),
    "continue": ("for i in xs:\n  if i:\n    continue\n  else:\n    y = 1\n  y", "xs", "i y"),
    "while": ("while t:\n  y = 1\ny", "t y", "y"),
    "with": ("with f() as x:\n  y = x\ny", "f", "x y"),
    "with suppress": ("with contextlib.suppress(E):\n  y = f()\ny", "contextlib E f y", "y"),
    "try, all ways": ("try:\n  import q\nexcept E:\n  q = None\nq", "E", "q"),
    "try, one way": ("try:\n  x = f()\nexcept E:\n  pass\nx", "f E x", "x"),
    "try, handler raises": ("try:\n  x = f()\nexcept E:\n  raise\nx", "f E", "x"),
    "a handler sees what was before": ("try:\n  x = f()\nexcept E:\n  x", "f E x", "x"),
    "finally sees what was before": ("try:\n  x = f()\nfinally:\n  x", "f x", "x"),
    "after finally": ("try:\n  x = f()\nfinally:\n  y = 1\nx, y", "f", "x y"),
    "except as": ("try:\n  f()\nexcept E as e:\n  e\ne", "f E e", ""),
    "except star": ("try:\n  f()\nexcept* E as e:\n  e", "f E", ""),
    "del": ("x = 1\ndel x\nx", "x", "x"),
    "del reads": ("del x", "x", ""),
    "del in a loop": ("x = 1\nfor i in xs:\n  del x\nx", "xs x", "i x"),
    "comprehension": ("[x + k for x in xs if x > t]\nx", "xs k t x", ""),
    "comprehension's first iterable": ("[x for x in x]", "x", ""),
    "nested comprehension": ("{a: b for a in xs for b in a}", "xs", ""),
    "generator in a call": ("sum(w * x for x in xs)", "sum w xs", ""),
    "walrus": ("if (n := f()) > 1:\n  n\nn", "f", "n"),
    "walrus after and": ("a and (n := f())\nn", "a f n", "n"),
    "walrus in a comprehension": ("[n := x for x in xs]\nn", "xs n", "n"),
    "conditional expression": ("a if t else b", "a t b", ""),
    "lambda": ("f = lambda x, y=d: x + k", "d k", "f"),
    "lambda in a comprehension": ("[lambda: v + u for v in xs]", "xs u", ""),
    "function": ("def f(a, b=d) -> R:\n  c = a\n  return c + g", "d R g", "f"),
    "decorator and annotation": ("@deco\ndef f(a: A): pass", "deco A", "f"),
    "function reads a later name": ("def f():\n  return g\ng = 1", "", "f g"),
    "function reads an earlier name": ("g = 1\ndef f():\n  return g", "", "f g"),
    "function reads a perhaps later name": ("def f():\n  return g\nif t:\n  g = 1", "g t", "f g"),
    "recursion": ("def f(n):\n  return f(n - 1)", "", "f"),
    "closures": ("def f(a):\n  b = 1\n  def g():\n    nonlocal b\n    b = a + k\n  return g", "k", "f"),
    "global written": ("def f():\n  global n\n  n = 1", "", "f n"),
    "global counted": ("def f():\n  global n\n  n += 1", "n", "f n"),
    "local counted": ("def f():\n  n = 0\n  n += 1\n  return n", "", "f"),
    "async": ("async def f():\n  async for x in g():\n    await x\nawait f()", "g", "f"),
    "top-level async": ("async with s() as c:\n  r = await c.get(u)\nr", "s u", "c r"),
    "class": ("class A(B, m=M):\n  x = y\n  z = x\n  def f(self): return x, w", "B M y x w", "A"),
    "class names are not outside": ("class A:\n  x = 1\nx", "x", "A"),
    "class body is at once": ("class A:\n  x = y\ny = 1", "y", "A y"),
    "comprehension in a class": ("class A:\n  k = 1\n  v = [k for _ in k]", "k", "A"),
    "class in a class": ("class A:\n  k = 1\n  class B:\n    v = k", "k", "A"),
    "super": ("class A:\n  def f(self): super().f()", "super", "A"),
    "imports": ("import a.b\nimport c.d as e\nfrom g import h as i, j\na, e, i, j", "", "a e i j"),
    "match": ("match s:\n  case {'k': v, **r}: v\n  case [K(), *t]: t\n  case _: pass\nv", "s K v", "v r t"),
    "match, all ways": ("match s:\n  case 1: x = 1\n  case other: x = other\nx", "s", "other x"),
    "match, not all ways": ("match s:\n  case 1: x = 1\nx", "s x", "x"),
    "a guard": ("match s:\n  case v if v > t: pass", "s t", "v"),
    "star and unpacking": ("a, *b = xs\nf(*b, **kw)", "xs f kw", "a b"),
    "f-string": ("f'{x:{w}} {y!r}'", "x w y", ""),
    "string is not read": ("'x'", "", ""),
    "%time reads its code": ("%time y = f(x)\ny", "f x", "y"),
    "%timeit with options": ("%timeit -n 5 f(x)", "f x", ""),
    "%magic expands": ("%cd {folder}", "folder", ""),
    "!command": ("!ls data", "", ""),
    "!command expands": ("out = !ls {folder} $name", "folder name", "out"),
    "help": ("obj?\nx = 1", "", "x"),
    "get_ipython by hand": ("get_ipython().system('ls')", "get_ipython", ""),
    "%%time is read through": ("%%time\nC = 1\nf(C, x)", "f x", "C"),
    "nested wrappers": ("\n%%capture out\n%%time\nf(x)", "f x", ""),
    "%%bash is opaque": ("%%bash\necho x", "", ""),
    "indented": ("  x = a\n  x", "a", "x"),
}


@pytest.mark.parametrize(("source", "reads", "writes"), READS.values(), ids=READS)
def test_reads_and_writes(source, reads, writes):
    cell = read_cell(source)
    assert (set(cell.reads), set(cell.writes)) == (set(reads.split()), set(writes.split()))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 came with Python 3.12")
def test_type_parameters_are_not_read():
    cell = read_cell("def f[T](x: T) -> list[T]: return x\nclass A[U](B[U]):\n  x: U\ntype L[V] = dict[V, W]")
    assert (set(cell.reads), set(cell.writes)) == ({"list", "B", "dict", "W"}, {"f", "A", "L"})


WRITTEN = {
    "one": ("C = 0.5  # note\nfit(C)", {"C": 0.25}, "C = 0.25  # note\nfit(C)"),
    "a distribution": ("C = uniform(0, 1)\nk = 'a'", {"C": 0.3, "k": "b"}, "C = 0.3\nk = 'b'"),
    "a list": ("l = [range(2, 5),\n     range(2, 5)]\nf()", {"l": [2, 3]}, "l = [2, 3]\n\nf()"),
    "annotated": ("C: float=0.5", {"C": 1}, "C: float=1"),
    "only the given": ("C = 1\nD = 2", {"D": 3}, "C = 1\nD = 3"),
    "none": ("C = [1,\n2]", {}, "C = [1,\n2]"),
    "every assignment of the name": ("C = uniform(0, 1)\nC = 2", {"C": 3}, "C = 3\nC = 3"),
    "not the body's": ("C = 1\nf()\nC = 2", {"C": 3}, "C = 3\nf()\nC = 2"),
    "several lines": ("C = [1,  # a\n  2]  # b\nD = 2\n", {"C": (9,)}, "C = (9,)  # b\n\nD = 2\n"),
    "in brackets": ("C = (\n  1\n)\nf()", {"C": 9}, "C = (\n  9\n)\nf()"),
    "several lines in brackets": ("C = (\n [1,\n 2]\n)\nf()", {"C": 9}, "C = (\n 9\n)\n\nf()"),
    "semicolons": ("C = 1; D = 'x'; f()", {"C": 10, "D": "yy"}, "C = 10; D = 'yy'; f()"),
    "a string after it": ('C = [1,\n2]; D = """a\nb"""\nf()', {"C": 9}, 'C = 9; D = """a\nb"""\n\nf()'),
    "both of several lines": ("C = [1,\n2]; D = [3,\n4]\nf()", {"C": 8, "D": 9}, "C = 8; D = 9\n\n\nf()"),
    "at the end": ("C = [1,\n2]", {"C": 9}, "C = 9\n"),
    "not ASCII": ("é = 'à'; C = 'ñ'  # ü", {"é": "ô", "C": "日本"}, "é = 'ô'; C = '日本'  # ü"),
    "line breaks in a string": ("C = 'a'\nf()", {"C": "x\ny"}, "C = 'x\\ny'\nf()"),
    "not finite": ("C = [1.0]", {"C": [float("nan"), float("-inf")]}, "C = [float('nan'), float('-inf')]"),
    "numpy": ("C = 1\nD = 2\nk = 'a'", {"C": np.float64(0.5), "D": np.int64(3), "k": np.str_("b")},
              "C = 0.5\nD = 3\nk = 'b'"),
    "containers": ("C = 1", {"C": {"a": (1,), "b": set(), 2: {1}}}, "C = {'a': (1,), 'b': set(), 2: {1}}"),
    "magics stay": ("\n%%time\nC = 1\n%time f(C)\n!ls\n", {"C": 2}, "\n%%time\nC = 2\n%time f(C)\n!ls\n"),
    "indented": ("  C = 1\n  f(C)\n", {"C": 2}, "C = 2\nf(C)\n"),
    "CRLF": ("C = 1\r\nf()\r\n", {"C": 2}, "C = 2\r\nf()\r\n"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "values", "expected"), WRITTEN.values(), ids=WRITTEN)
def test_with_values(source, values, expected):
    written = with_values(read_cell(source), values)
    assert written == expected
    assert written.count("\n") == source.count("\n")
    parse(written)


def test_with_values_is_read_back():
    values = {"a": -1.5, "b": ["x", None, True], "c": {"k": (1, 2j, b"z", ...)}}
    cell = read_cell("a = 1\nb = choice([1, 2])\nc = 3\nf(a, b, c)")
    again = read_cell(with_values(cell, values))
    assert (again.params, again.space, again.reads) == (values, {}, cell.reads)


def test_with_values_names_the_nearest_parameter():
    cell = read_cell("C = 1\nkernel = uniform(0, 1)")
    with pytest.raises(ParameterError) as caught:
        with_values(cell, {"kernal": 1})
    problem = "the cell has no such parameter; did you mean 'kernel'?"
    assert (caught.value.problem, caught.value.key) == (problem, "kernal")
    with pytest.raises(ParameterError, match=r"no such parameter; it takes none"):
        with_values(read_cell("f()"), {"C": 1})


@pytest.mark.parametrize("value", [object(), [object()], np.zeros(3), lambda: 1, complex("nan"), range(3)])
def test_with_values_refuses_what_is_no_literal(value):
    with pytest.raises(ParameterError, match="C: a value of type"):
        with_values(read_cell("C = 1"), {"C": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [("-1", -1), ("[1, 'a']", [1, "a"]), ("x", DYNAMIC), ("f()", DYNAMIC), ("{[]}", DYNAMIC)],
)
def test_literal(text, value):
    assert literal(ast.parse(text, mode="eval").body) == value


def test_plain_cells_are_read_without_ipython():
    code = "import sys; from ml_experiment_nb import cells, scripts; cells.read_cell('C = 1\\nf(C)');"
    heavy = "{'IPython', 'nbformat', 'numpy', 'optuna'}"
    done = subprocess.run([sys.executable, "-c", f"{code} print({heavy} & set(sys.modules))"], capture_output=True)
    assert done.stdout.decode().strip() == "set()"


def test_a_function_called_top_reads_no_globals_of_its_own_names():
    assert read_cell("def top(self, which):\n    return self.go(which, other)").reads == {"other"}
