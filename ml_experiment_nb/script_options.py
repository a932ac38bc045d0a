"""The options of a script's own command line, read from its calls of argparse or click: the script is never run.

What a script makes in another way than by texts in such a call is not known.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_FLAGS = {"store_true": True, "store_false": False}
_UNREADABLE = {"parse_known_args", "parse_known_intermixed_args", "add_subparsers"}
_SEVERAL = ("+", "*")


@dataclass(frozen=True)
class Option:
    """One option of a command line.

    Attributes:
        word: How it is written: ``--max-depth``.
        flag: Of an option without a value, what it sets; None where it takes one.
        opposite: What sets a flag to the contrary, where there is such a word.
        several: Whether it takes values one after the other: ``--layers 8 16``.
    """

    word: str
    flag: bool | None = None
    opposite: str | None = None
    several: bool = False


@dataclass(frozen=True)
class Options:
    """The options that were found, by the names of their values; `all`: the script's parser knows no others."""

    by_name: Mapping[str, Option]
    all: bool = False


def read_options(module: ast.Module) -> Options:
    """Return the options that a script declares."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    named = [name for call in calls if (name := _called(call))]
    found: dict[str, Option] = {}
    whole = named.count("ArgumentParser") == 1 and not _UNREADABLE & set(named)
    for call in calls:
        match _called(call):
            case "add_argument":
                whole &= _add(found, call, _argparse_option)
            case "option" if isinstance(call.func, ast.Attribute):
                _add(found, call, _click_option)
            case "ArgumentParser":
                whole &= not any(keyword.arg in ("parents", None) for keyword in call.keywords)
    return Options(found, whole and bool(found))


def command_line(params: Mapping[str, Any], options: Mapping[str, Option] = {}) -> list[str]:
    """Return parameters as a script's arguments: ``--C 0.5 --layers '[1, 2]'``, or as its options take them."""
    return [word for name, value in params.items() for word in _words(options.get(name, Option(f"--{name}")), value)]


def _words(option: Option, value: Any) -> list[str]:
    if option.flag is not None and isinstance(value, bool):
        opposite = [option.opposite] if option.opposite else []
        return [option.word] if value is option.flag else opposite
    if option.several and isinstance(value, list | tuple):
        return [option.word, *map(word_of, value)]
    return [option.word, word_of(value)]


def word_of(value: Any) -> str:
    """Return a value as a word of a command line: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _add(found: dict[str, Option], call: ast.Call, read: Any) -> bool:
    """Take a call's option, and return whether all of the call could be read; a positional argument is no option."""
    words = [_text(one) for one in call.args]
    if not all(words) or any(keyword.arg is None for keyword in call.keywords):
        return False
    texts = [word for word in words if word]
    if not texts or not texts[0].startswith("-"):
        return True
    given = {str(keyword.arg): keyword.value for keyword in call.keywords}
    long = next((word for word in texts if word.startswith("--")), texts[0])
    option = read(long, given)
    bare = next((word for word in texts[1:] if not word.startswith("-")), None)  # click's own way to name the value
    own = bare or long.lstrip("-").partition("/")[0].strip().replace("-", "_")
    name = _text(given["dest"]) if "dest" in given else own
    if name is None:
        return False
    found[name] = option
    return True


def _argparse_option(word: str, given: Mapping[str, ast.expr]) -> Option:
    action = given.get("action")
    if isinstance(action, ast.Attribute | ast.Name) and ast.unparse(action).endswith("BooleanOptionalAction"):
        return Option(word, True, f"--no-{word.removeprefix('--')}")
    flag = _FLAGS.get(_text(action) or "") if action is not None else None
    nargs = given.get("nargs")
    return Option(word, flag, several=nargs is not None and (_text(nargs) in _SEVERAL or _is_count(nargs)))


def _click_option(word: str, given: Mapping[str, ast.expr]) -> Option:
    yes, _, no = word.partition("/")
    is_flag = isinstance(told := given.get("is_flag"), ast.Constant) and told.value is True
    return Option(yes, True if no or is_flag else None, no.strip() or None)


def _is_count(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
