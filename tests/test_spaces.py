import ast
import subprocess
import sys

import pytest

from ml_experiment_nb.errors import SpaceError
from ml_experiment_nb.spaces import (
    Choice,
    LogUniform,
    RandInt,
    Range,
    Uniform,
    choice,
    contains,
    from_ast,
    is_text,
    loguniform,
    parse,
    parse_value,
    randint,
    uniform,
)


@pytest.mark.parametrize(
    ("text", "distribution", "canonical"),
    [
        ("range(5)", Range(0, 5), "range(0, 5)"),
        ("range(-3, 9, 2)", Range(-3, 9, 2), "range(-3, 9, 2)"),
        ("range(1, 9, step=2)", Range(1, 9, 2), "range(1, 9, 2)"),
        ("randint(1, 9)", RandInt(1, 9), "randint(1, 9)"),
        ("randint(high=9, low=-1)", RandInt(-1, 9), "randint(-1, 9)"),
        ("uniform(0, 1)", Uniform(0.0, 1.0), "uniform(0, 1)"),
        ("uniform(-1.5, +1e-5)", Uniform(-1.5, 1e-5), "uniform(-1.5, 1e-05)"),
        ("uniform(0, 1, step=0.1)", Uniform(0.0, 1.0, 0.1), "uniform(0, 1, step=0.1)"),
        (" loguniform(0.01, 1000)\n", LogUniform(0.01, 1000.0), "loguniform(0.01, 1000)"),
        ("mlx.loguniform(1e-5, 1e20)", LogUniform(1e-5, 1e20), "loguniform(1e-05, 1e+20)"),
        ("choice(['scale', 'auto'])", Choice(("scale", "auto")), "choice(['scale', 'auto'])"),
        ("choice((None, True, -1))", Choice((None, True, -1)), "choice([None, True, -1])"),
        (
            'choice([[64, 64], {"a": (1,)}])',
            Choice(([64, 64], {"a": (1,)})),
            "choice([[64, 64], {'a': (1,)}])",
        ),
    ],
)
def test_text_is_parsed_to_a_distribution_whose_text_reads_back(text, distribution, canonical):
    assert parse(text) == distribution
    assert str(distribution) == canonical
    assert parse(canonical) == distribution


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("logunifrom(1, 2)", "did you mean 'loguniform'?"),
        ("zzz(1)", "'zzz' is not a distribution: write choice("),
        ("scale", "'scale' is not a distribution"),
        ("", "can't be read"),
        ("uniform(0, 1", "was never closed"),
        ("uniform(0)", "missing a required argument: 'high'"),
        ("uniform(0, 1, 2, 3)", "too many positional arguments"),
        ("uniform(0, 1, stop=2)", "unexpected keyword argument 'stop'"),
        ("uniform(0, **{'high': 1})", "each argument once"),
        ("uniform(0, high=1, high=2)", "each argument once"),
        ("uniform(0, a)", "takes literals only, not a"),
        ("uniform(0, 2**9**9)", "takes literals only"),
        ("choice([__import__('os').getcwd()])", "takes literals only"),
        ("choice([uniform(0, 1), 2])", "takes literals only"),
        ("uniform(1, 0)", "uniform(1, 0): low must be less than high"),
        ("uniform(1, 1)", "low must be less than high"),
        ("uniform(0, 1e999)", "high must be a finite number, not inf"),
        ("uniform('0', 1)", "low must be a finite number, not '0'"),
        ("uniform(0, 1, step=0)", "step must be positive"),
        ("uniform(1, 0, step='a')", "step must be a finite number, not 'a'"),
        ("uniform(0, 1, step=1e-300)", "step is too small"),
        ("loguniform(0, 1)", "low must be greater than 0"),
        ("loguniform(2, 1)", "low must be less than high"),
        ("randint(3, 3)", "low must be less than high"),
        ("randint(0.5, 3)", "low must be a whole number, not 0.5"),
        ("randint(True, 3)", "low must be a whole number, not True"),
        ("range(0)", "range(0, 0) is empty"),
        ("range(5, 0, -1)", "step must be positive, not -1"),
        ("choice([])", "no options"),
        ("choice('auto')", "write choice(['auto', ...])"),
        ("choice(['a', 'b', 'a'])", "the option 'a' more than once"),
        ("choice([1, 1e999])", "choice can't hold inf"),
        ("choice([b'a'])", "choice can't hold b'a'"),
        ("[0.1, 1]", "write choice([0.1, 1])"),
        ("[uniform(0, 1), uniform(0, 1)]", "is a list: write one distribution"),
        ("(" * 10_000, "can't be read"),
    ],
)
def test_wrong_text_says_what_to_do(text, problem):
    with pytest.raises(SpaceError) as raised:
        parse(text)
    assert problem in str(raised.value)


def test_the_python_forms_are_the_distributions():
    assert [choice(["a", "b"]), uniform(0, 1, 0.5), loguniform(1, 10), randint(1, 9)] == [
        Choice(("a", "b")),
        Uniform(0.0, 1.0, 0.5),
        LogUniform(1.0, 10.0),
        RandInt(1, 9),
    ]
    with pytest.raises(SpaceError, match="look it up in your code"):
        choice([len, max])


def test_numpy_numbers_become_plain_ones():
    numpy = pytest.importorskip("numpy")
    assert str(choice(numpy.array([1, 2]))) == "choice([1, 2])"
    assert str(uniform(numpy.float64(0.5), numpy.int64(2))) == "uniform(0.5, 2)"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("randint(1, 9)", RandInt(1, 9)),
        (RandInt(1, 9), RandInt(1, 9)),
        (range(2, 9, 3), Range(2, 9, 3)),
        (["range(5)", Uniform(0, 1), range(3)], (Range(0, 5), Uniform(0, 1), Range(0, 3))),
        (["choice([1, 2])"], (Choice((1, 2)),)),
        ("[range(5), range(6)]", (Range(0, 5), Range(0, 6))),
        (
            ["uniform(0", "1)", "uniform(0", 1, "step=0.5)"],
            (Uniform(0, 1), Uniform(0, 1, 0.5)),
        ),  # YAML's split
    ],
)
def test_a_value_is_read_in_any_of_its_forms(value, expected):
    assert parse_value(value) == expected


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([0.1, 1], "write choice([0.1, 1])"),
        (["scale", "auto"], "write choice(['scale', 'auto'])"),
        ([], "write choice([])"),
        (["range(5)", 3], "3 is not a distribution: a fixed value belongs in params"),
        ([["range(5)"], "range(5)"], "can't hold another list"),
        (["range(5)", "rnage(5)"], "did you mean 'range'?"),
        (3, "a fixed value belongs in params"),
        (None, "a fixed value belongs in params"),
        ({"a": 1}, "a fixed value belongs in params"),
        (range(0), "is empty"),
    ],
)
def test_a_value_of_no_form_says_what_to_write(value, problem):
    with pytest.raises(SpaceError) as raised:
        parse_value(value)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loguniform(1, 10)", True),
        (" mlx.choice(['a'])", True),
        ("[range(3), range(4)]", True),
        ("uniform(0, 1", True),
        ("uniform", False),
        ("myrange(3)", False),
        ("rng.choice([1])", False),
        ("f(uniform(0, 1))", False),
        ("", False),
        (1, False),
        (["range(3)"], False),
        (None, False),
    ],
)
def test_which_text_means_a_distribution(text, expected):
    assert is_text(text) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("loguniform(0.01, 1000)", LogUniform(0.01, 1000)),
        ("mlx.choice([1, 2])", Choice((1, 2))),
        ("ml_experiment_nb.spaces.range(3)", Range(0, 3)),
        ("[range(3), (uniform(0, 1))]", (Range(0, 3), Uniform(0, 1))),
        ("(range(3), range(4))", (Range(0, 3), Range(0, 4))),
        ("rng.choice([1, 2])", None),
        ("np.random.uniform(0, 1)", None),
        ("list(range(3))", None),
        ("[1, 2]", None),
        ("[]", None),
        ("0.5", None),
        ("uniform", None),
        ("f()(1)", None),
    ],
)
def test_a_cell_s_expression_is_read_as_data(source, expected):
    assert from_ast(ast.parse(source, mode="eval").body) == expected


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("uniform(0, top)", "takes literals only, not top"),
        ("[range(3), 5]", "5 stands in a list of distributions"),
        ("[[range(3)], range(3)]", "can't hold another list"),
        ("mlx.loguniform(0, 1)", "greater than 0"),
    ],
)
def test_a_cell_s_wrong_distribution_is_an_error(source, problem):
    with pytest.raises(SpaceError) as raised:
        from_ast(ast.parse(source, mode="eval").body)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("distribution", "inside", "outside"),
    [
        (Range(0, 10, 5), [0, 5], [10, 1, 5.0, True, "5"]),
        (RandInt(1, 3), [1, 3], [0, 4, 2.0, None]),
        (Uniform(0, 1), [0, 0.5, 1], [-0.1, 1.1, True, "0.5", float("nan")]),
        (Uniform(0, 1, 0.1), [0, 0.3, 0.1 + 0.2], [0.15]),
        (LogUniform(0.1, 10), [0.1, 1, 10.0], [0, 11]),
        (Choice((1, "a", None, [1])), [1, 1.0, "a", None, [1]], [True, "b", [2]]),
    ],
)
def test_contains(distribution, inside, outside):
    assert [contains(distribution, value) for value in inside] == [True] * len(inside)
    assert [contains(distribution, value) for value in outside] == [False] * len(outside)


def test_importing_the_module_loads_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import ml_experiment_nb.spaces;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names - {'ml_experiment_nb'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
