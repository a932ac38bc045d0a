import ast
import textwrap

import pytest

from ml_experiment_nb.script_options import Option, command_line, read_options

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("data", nargs="?")
parser.add_argument("-d", "--max-depth", type=int, default=3)
parser.add_argument("--verbose", action="store_true")
parser.add_argument("--no-cache", dest="cache", action="store_false")
parser.add_argument("--warm", action=argparse.BooleanOptionalAction)
group = parser.add_argument_group("model")
group.add_argument("--layers", nargs="+", type=int)
"""
CLICK = """
import click
@click.command()
@click.option("--max-depth", "-d", "depth", default=3)
@click.option("--shout/--no-shout")
@click.option("--quiet", is_flag=True)
def main(depth, shout, quiet): ...
"""


def options(text):
    return read_options(ast.parse(textwrap.dedent(text)))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"max_depth": 4}, ["--max-depth", "4"]),
        ({"verbose": True}, ["--verbose"]),
        ({"verbose": False}, []),
        ({"cache": False}, ["--no-cache"]),
        ({"cache": True}, []),
        ({"warm": True}, ["--warm"]),
        ({"warm": False}, ["--no-warm"]),
        ({"layers": [8, 16]}, ["--layers", "8", "16"]),
        ({"layers": 8}, ["--layers", "8"]),
        ({"other": [8, "a"], "name": "x y"}, ["--other", '[8, "a"]', "--name", "x y"]),
    ],
)
def test_words_as_argparse_takes_them(params, words):
    found = options(ARGPARSE)
    assert found.all
    assert set(found.by_name) == {"max_depth", "verbose", "cache", "warm", "layers"}
    assert command_line(params, found.by_name) == words


def test_words_as_click_takes_them():
    found = options(CLICK)
    assert found.by_name["depth"] == Option("--max-depth")
    assert not found.all
    given = {"depth": 4, "shout": False, "quiet": True}
    assert command_line(given, found.by_name) == ["--max-depth", "4", "--no-shout", "--quiet"]


@pytest.mark.parametrize(
    "more",
    [
        "parser.parse_known_args()",
        "parser.add_subparsers()",
        "other = argparse.ArgumentParser(parents=[parser])",
        "for name in names: parser.add_argument(f'--{name}')",
        "parser.add_argument(*words)",
        "parser.add_argument('--x', **more)",
    ],
)
def test_where_others_may_be_taken(more):
    assert not options(f"{ARGPARSE}\n{more}").all


def test_a_script_without_any():
    assert options("print('--C')").by_name == {}
    assert not options("import argparse; argparse.ArgumentParser().parse_args()").all
