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
parser.add_argument("-v", action="count", dest="level")
parser.add_argument("--tag", action="append")
parser.add_argument("--shift", type=float)
parser.add_argument("--clip", type=float, default=1.0)
parser.add_argument("--shuffle", type=bool, default=True)
"""
CLICK = """
import click
@click.command()
@click.option("--max-depth", "-d", "depth", default=3)
@click.option("--shout/--no-shout")
@click.option("--quiet", is_flag=True)
@click.option("--tag", multiple=True)
@click.option("--span", nargs=2, type=float)
@click.argument("source")
@click.argument("more", nargs=-1)
def main(depth, shout, quiet, tag, span, source, more): ...
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
        ({"level": 3}, ["-v", "-v", "-v"]),
        ({"tag": ["a", "b"]}, ["--tag", "a", "--tag", "b"]),
        ({"shift": -1e-5}, ["--shift=-1e-05"]),
        ({"shift": None}, []),
        ({"clip": None}, ["--clip", "null"]),
        ({"shuffle": False}, ["--shuffle", ""]),
        ({"shift": 2, "data": "a b.csv"}, ["a b.csv", "--shift", "2"]),
        ({"data": None, "shift": 2}, ["--shift", "2"]),
        ({"data": "-x", "shift": 2}, ["--shift", "2", "--", "-x"]),
        ({"other": [8, "a"], "name": "x y"}, ["--other", '[8, "a"]', "--name", "x y"]),
    ],
)
def test_words_as_argparse_takes_them(params, words):
    found = options(ARGPARSE)
    assert found.all
    known = {"data", "max_depth", "verbose", "cache", "warm", "layers", "level", "tag", "shift", "clip", "shuffle"}
    assert set(found.by_name) == known
    assert command_line(params, found.by_name) == words


def test_a_positional_argument_behind_one_that_may_be_left_out_is_not_known():
    found = options(f"{ARGPARSE}\nparser.add_argument('target')")
    assert "target" not in found.by_name


def test_words_as_click_takes_them():
    found = options(CLICK)
    assert found.by_name["depth"] == Option("--max-depth")
    assert not found.all
    given = {"depth": 4, "shout": False, "quiet": True}
    assert command_line(given, found.by_name) == ["--max-depth", "4", "--no-shout", "--quiet"]
    more = {"tag": ["a", "b"], "span": [0.5, 1], "more": ["y", "z"], "source": "x"}
    words = ["x", "y", "z", "--tag", "a", "--tag", "b", "--span", "0.5", "1"]
    assert command_line(more, found.by_name) == words


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
