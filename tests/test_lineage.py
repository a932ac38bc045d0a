import builtins

import pytest

from ml_experiment_nb.effects import Executed
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.lineage import dependencies, needed_cells


@pytest.fixture
def needed():
    """Execute cells, and tell which of them a last one stands on, by their place."""

    def find(*cells, reads, failed=()):
        namespace = {"__name__": "__main__", "__builtins__": builtins}
        for number, source in enumerate(cells):
            if number not in failed and not source.startswith("%"):
                exec(source, namespace)
        history = [Executed(k, source, k in failed) for k, source in enumerate(cells)]
        return [one.number for one in needed_cells(reads.split(), history, namespace)]

    return find


@pytest.mark.parametrize(
    ("cells", "reads", "taken"),
    [
        (["a = 1", "b = 2"], "b", [1]),
        (["a = 1", "b = a + 1", "c = 0"], "b", [0, 1]),
        (["a = 1", "a = 2"], "a", [1]),
        (["a = 1", "a += 1", "a += 1"], "a", [0, 1, 2]),
        (["a = 1", "if a: a = 2"], "a", [0, 1]),
        (["a = 1", "b = 1\nif b > 2: a = 5"], "a", [0, 1]),
        # what a function reads when it is called, wherever that was bound
        (["def f(): return K", "K = 1", "K = 2"], "f", [0, 2]),
        (["def f(): return K", "K = 1", "x = f()", "K = 2", "K = 3"], "f x", [0, 1, 2, 4]),
        (["import math", "def f():\n    return math.pi * g()", "def g(): return h", "h = 3"], "f", [0, 1, 2, 3]),
        (["class A:\n    n = 1", "class B(A):\n    pass"], "B", [0, 1]),
        # what changes a value without binding its name
        (["a = [1]", "a.append(2)", "print(a)", "a.index(1)"], "a", [0, 1]),
        (["a = {}", "a['x'] = 1", "b = a['x']"], "a", [0, 1]),
        (["a = {'x': 1}", "del a['x']"], "a", [0, 1]),
        (["import random", "a = [3, 1]", "random.shuffle(a)"], "a", [0, 1, 2]),
        (["def change(x): x.append(1)", "a = []", "done = change(a)"], "a", [0, 1, 2]),
        (["a = [1]", "total = sum(a)", "b = sorted(a)"], "a", [0]),
        (["a = 3", "print(a)", "str(a)"], "a", [0]),
        (["class A:\n    pass", "a = A()", "a.plot = a\na.line = print", "a.plot.line(1)"], "a", [0, 1, 2]),
        (["a = 3", "%%experiment --save x.yaml\na = 4"], "a", [0]),
        # a module's own state
        (["import random", "random.seed(0)", "x = random.random()", "y = random.random()"], "y", [0, 1, 2, 3]),
        (["import random", "random.seed(0)", "x = 1"], "x", [2]),
        (["import warnings", "warnings.filterwarnings('ignore')", "def f(): return warnings"], "f", [0, 1, 2]),
        # what any cell may depend on
        (["import os", "os.environ['TRIP'] = '1'", "a = 1"], "a", [0, 1, 2]),
        (["%load_ext ml_experiment_nb", "%matplotlib inline", "a = 1"], "a", [1, 2]),
        (["from math import *", "a = 1"], "pi", [0]),
        (["a = 1"], "a print missing", [0]),
        (["%%time\na = 1"], "", []),
    ],
)  # fmt: skip
def test_the_cells_that_are_needed(needed, cells, reads, taken):
    assert needed(*cells, reads=reads) == taken


def test_a_failed_cell_is_not_taken(needed):
    assert needed("a = 1", "b = a", "a.append(1)", reads="b", failed=(2,)) == [0, 1]
    with pytest.raises(SpecError, match=r"a may have been made by In \[1\], which failed: run it again"):
        needed("a = 1", "a = 2; 1 / 0", reads="a", failed=(1,))
    assert needed("a = 1", "a = 2; 1 / 0", "a = 3", reads="a", failed=(1,)) == [2]


@pytest.mark.parametrize(
    ("cells", "reads", "says"),
    [
        (["a = 1", "b = 2"], "b _", "the cell reads _, which a new notebook hasn't"),
        (["b = len([_12])"], "b", r"In \[0\] reads _12, which a new notebook hasn't"),
        (["%%experiment x\nC = 1\nmodel = C"], "model", r"model was made by In \[0\], a %%experiment cell"),
    ],
)
def test_what_can_not_be_traced(cells, reads, says):
    namespace = {"a": 1, "b": 2, "model": 3, "_": 4, "_12": 5}
    with pytest.raises(SpecError, match=says):
        needed_cells(reads.split(), [Executed(k, source) for k, source in enumerate(cells)], namespace)


def test_a_name_that_no_cell_makes():
    history = [Executed(1, "b = a + 1")]
    with pytest.raises(SpecError, match="the cell reads a, and no cell that was executed here makes it"):
        needed_cells(["a"], history, {"a": 1, "b": 2})
    with pytest.raises(SpecError, match=r"In \[1\] reads a, and no cell"):
        needed_cells(["b"], history, {"a": 1, "b": 2})
    with pytest.raises(SpecError, match="r was made by"):
        needed_cells(["r"], [Executed(1, "%%group x --into r\nC = uniform(0, 1)\n{'a': C}")], {"r": 1})


@pytest.mark.parametrize("above", ["", "%%time\n", "%%capture out\n%%time\n"])
def test_a_cell_of_ours_is_known_below_other_magics_too(above):
    history = [
        Executed(0, "def fit(C): return C"),
        Executed(1, f"{above}%%experiment --into first\nC = 1\nmodel = fit(C)"),
    ]
    found = dependencies(Executed(2, "model, first"), history, dict.fromkeys(("fit", "model", "first"), 1))
    assert ([one.number for one in found.cells], found.problems) == ([0, 1], ())
    with pytest.raises(SpecError, match=r"first was made by In \[1\], a %%experiment cell"):
        needed_cells(["first"], history, {"first": 1})
