from pathlib import Path
from typing import Literal, Optional

import pytest

from ml_experiment_nb.arguments import parse_arguments


def parse(function, *words):
    return parse_arguments(function, words)


def typed(
    C: float,
    n: int = 3,
    verbose: bool = False,
    kernel: Literal["rbf", "linear", 1, True] = "rbf",
    layers=[1, 2],  # noqa: B006
    anything=None,
    name: str = "7",
    limit: Optional[int] = None,  # noqa: UP045
    both: int | str = 1,
    folder: Path = Path("x"),
    rates: tuple[float, ...] = (0.1,),
    options: dict = {},  # noqa: B006
    *,
    learning_rate=1e-3,
):
    """Train at 100%.

    And more.
    """


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("--C 0.5", {"C": 0.5}),
        ("--C=2", {"C": 2.0}),
        ("--C -1", {"C": -1.0}),
        ("--C -1e-5", {"C": -1e-5}),
        ("--C -inf", {"C": float("-inf")}),
        ("--C -.5", {"C": -0.5}),
        ("--n 4", {"n": 4}),
        ("--n -4", {"n": -4}),
        ("--verbose", {"verbose": True}),
        ("--verbose true", {"verbose": True}),
        ("--verbose No", {"verbose": False}),
        ("--verbose 0", {"verbose": False}),
        ("--kernel linear", {"kernel": "linear"}),
        ("--kernel 1", {"kernel": 1}),
        ("--kernel True", {"kernel": True}),
        ("--layers [3,4]", {"layers": [3, 4]}),
        ("--layers 3,4", {"layers": [3, 4]}),
        ("--anything 1e-3", {"anything": 1e-3}),
        ("--anything rbf", {"anything": "rbf"}),
        ("--anything none", {"anything": "none"}),
        ("--anything null", {"anything": None}),
        ("--name 8", {"name": "8"}),
        ("--name --C=", {"name": ""}),
        ("--limit 5", {"limit": 5}),
        ("--limit none", {"limit": None}),
        ("--both 5", {"both": 5}),
        ("--both five", {"both": "five"}),
        ("--folder /a/b", {"folder": Path("/a/b")}),
        ("--rates [0.5]", {"rates": (0.5,)}),
        ("--options {'a':1}", {"options": {"a": 1}}),
        ("--learning_rate 0.1", {"learning_rate": 0.1}),
        ("--learning-rate 1", {"learning_rate": 1.0}),
    ],
)
def test_arguments_are_typed_by_the_signature(words, value):
    if words == "--name --C=":
        words = "--name="
    found = parse(typed, "--C", "9", *words.split())
    assert found == {"C": 9.0, **value}
    assert {name: type(one) for name, one in found.items()} == {"C": float, **{n: type(v) for n, v in value.items()}}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "the following arguments are required: --C"),
        ("--C abc", "argument --C: 'abc' is no number"),
        ("--C", "argument --C: expected one argument"),
        ("--C 1 --n 1.5", "argument --n: '1.5' is no whole number"),
        ("--C 1 --n true", "argument --n: 'true' is no whole number"),
        ("--C 1 --verbose maybe", "argument --verbose: 'maybe' is neither true nor false"),
        ("--C 1 --kernel poly", "argument --kernel: 'poly' is none of rbf, linear, 1, True"),
        ("--C 1 --layers x", "argument --layers: 'x' is no list, such as [1, 2]"),
        ("--C 1 --limit x", "argument --limit: 'x' is no whole number"),
        ("--C 1 --kernal rbf", "there is no argument --kernal; did you mean '--kernel'?"),
        ("--C 1 --kern rbf", "there is no argument --kern"),
        ("--C 1 stray", "there is no argument stray"),
    ],
)
def test_arguments_that_do_not_fit(words, says, capsys):
    with pytest.raises(SystemExit) as left:
        parse(typed, *words.split())
    assert left.value.code == 2
    assert says in capsys.readouterr().err.replace("--learning_rate/", "").replace("\n", " ")


def test_help_lists_the_parameters(capsys):
    with pytest.raises(SystemExit) as left:
        parse(typed, "--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "Train at 100%.\n\nAnd more." in text
    for line in ("--C C", "float", "int, 3", "rbf | linear | 1 | True, 'rbf'", "--learning-rate", "list, [1, 2]"):
        assert line in text


def test_a_function_that_takes_any_name_takes_it_from_the_command_line():
    def train(C, **more):
        pass

    found = parse(train, "--C", "1", "--depth", "3", "--name=x y", "--shift", "-2")
    assert found == {"C": 1, "depth": 3, "name": "x y", "shift": -2}
    with pytest.raises(SystemExit):
        parse(train, "--C", "1", "--depth")


def test_annotations_that_only_type_checkers_know():
    namespace = {}
    exec("def train(C: 'Frame', n: int = 1): pass", namespace)
    assert parse(namespace["train"], "--C", "0.5", "--n", "2") == {"C": 0.5, "n": 2}


def test_a_parameter_may_be_called_help():
    assert parse(lambda help: None, "--help", "me") == {"help": "me"}
