"""A command line's words, read as arguments of a function: ``--C 0.5 --kernel rbf``."""

from __future__ import annotations

import argparse
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from ml_experiment_nb.errors import nearest
from ml_experiment_nb.literals import read_value


def parse_arguments(function: Callable[..., Any], words: Sequence[str]) -> dict[str, Any]:
    """Read a function's arguments from a command line: ``--C 0.5 --kernel rbf``.

    A value's type is the annotation's, else the default's, else what it looks like. ``--help`` lists them.
    """
    parser = argparse.ArgumentParser(
        prog=sys.argv[0],
        description=inspect.getdoc(function),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        conflict_handler="resolve",  # a parameter may be called help
        allow_abbrev=False,
    )
    hints = _hints(function)
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind is not parameter.VAR_KEYWORD:
            _add_argument(parser, parameter, hints.get(parameter.name))
    found, rest = parser.parse_known_args(_joined(words))
    more: dict[str, Any] = {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        more, rest = _read_others(rest)
    if rest:
        known = [option for option in parser._option_string_actions if option.startswith("--")]
        parser.error(f"there is no argument {rest[0]}{nearest(rest[0].partition('=')[0], known)}")
    return {**vars(found), **more}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that only type checkers import
        return {name: hint for name, hint in function.__annotations__.items() if not isinstance(hint, str)}


def _joined(words: Sequence[str]) -> list[str]:
    """Write ``--C -1e-5`` as ``--C=-1e-5``: argparse takes only plain negative numbers for values."""
    found: list[str] = []
    for word in words:
        is_value = re.match(r"-(\.?\d|inf)", word) and found and re.fullmatch(r"--[^=]+", found[-1])
        if is_value:
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def _read_others(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Read ``--name value`` for a function that takes any name, and return what can't be read so."""
    found: dict[str, Any] = {}
    rest = list(words)
    while rest and (named := re.fullmatch(r"--([^\W\d]\w*)(?:=(.*))?", rest[0], re.DOTALL)):
        name, value = named.groups()
        if value is None and len(rest) < 2:
            break
        found[name] = read_value(rest[1] if value is None else value)
        del rest[: 2 if value is None else 1]
    return found, rest


def _add_argument(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any) -> None:
    required = parameter.default is parameter.empty
    kind = hint if hint is not None else None if required or parameter.default is None else type(parameter.default)
    options = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
    name = " | ".join(map(str, options)) if options else getattr(kind, "__name__", str(kind or "value"))
    flag: dict[str, Any] = {"nargs": "?", "const": True} if kind is bool else {}
    spellings = dict.fromkeys([f"--{parameter.name}", f"--{parameter.name.replace('_', '-')}"])
    parser.add_argument(
        *spellings,
        dest=parameter.name,
        required=required,
        default=argparse.SUPPRESS,
        type=functools.partial(_convert, kind),
        help=(name + ("" if required else f", {parameter.default!r}")).replace("%", "%%"),
        metavar=parameter.name.upper(),
        **flag,
    )


def _convert(kind: Any, word: str) -> Any:
    """Turn a word of the command line into a value of a type."""
    origin = typing.get_origin(kind) or kind
    if origin is typing.Literal:
        options = {str(option): option for option in typing.get_args(kind)}
        if word not in options:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(options)}")
        return options[word]
    if origin in (typing.Union, types.UnionType):
        return _convert_to_one(typing.get_args(kind), word)
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind(word)
    if kind is bool:
        if word.lower() in ("true", "yes", "1", "on"):
            return True
        if word.lower() in ("false", "no", "0", "off"):
            return False
        raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")
    if kind is str:
        return word
    value = read_value(word)
    if kind is float and type(value) in (int, float):
        return float(value)
    if (kind is int and type(value) is not int) or (kind is float):
        raise argparse.ArgumentTypeError(f"{word!r} is no {'whole number' if kind is int else 'number'}")
    if origin in (list, tuple, set, dict) and isinstance(value, str | int | float | None):
        raise argparse.ArgumentTypeError(f"{word!r} is no {origin.__name__}, such as {_EXAMPLES[origin]}")
    return origin(value) if origin in (list, tuple, set) else value


def _convert_to_one(kinds: Sequence[Any], word: str) -> Any:
    if type(None) in kinds and word.lower() in ("none", "null"):
        return None
    problems = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return _convert(kind, word)
            except argparse.ArgumentTypeError as error:
                problems.append(str(error))
    raise argparse.ArgumentTypeError("; ".join(problems))


_EXAMPLES = {list: "[1, 2]", tuple: "(1, 2)", set: "{1, 2}", dict: '{"a": 1}'}
