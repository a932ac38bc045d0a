import ast

import pytest

from ml_experiment_nb.function_names import function_globals


@pytest.mark.parametrize(
    ("text", "reads", "writes"),
    [
        ("def f(a):\n    b = a\n    return b + c", {"c"}, set()),
        ("f = lambda a: a + c", {"c"}, set()),
        ("def f():\n    global n\n    n += 1", {"n"}, {"n"}),
        ("def f():\n    global n\n    n = 1", set(), {"n"}),
        ("def f():\n    global m\n    import json as m", set(), {"m"}),
        ("def f():\n    def g():\n        return c\n    return g", {"c"}, set()),
        ("def f(c):\n    def g():\n        return c\n    return g", set(), set()),
        ("class A:\n    x = at_once\n    def f(self):\n        return c", {"c"}, set()),
        ("y = [x + at_once for x in rows]", set(), set()),
        ("y = [lambda: x + c for x in rows]", {"c"}, set()),
        ("def f():\n    return [x + c for x in rows]", {"c", "rows"}, set()),
        ("async def f():\n    return await c", {"c"}, set()),
        ("x = 1", set(), set()),
    ],
)
def test_what_functions_read_and_bind_of_the_cell_s_names(text, reads, writes):
    found = function_globals(text, ast.parse(text))
    assert (found[0] - {"f"}, found[1]) == (reads, writes)


def test_a_warning_of_the_code_is_not_told_twice(recwarn):
    text = "def f():\n    return 1 is 1"
    function_globals(text, ast.parse("def f():\n    return 1"))
    assert list(recwarn) == []
