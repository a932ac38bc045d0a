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
    """One option of a command line, or one of its positional arguments.

    Attributes:
        word: How it is written: ``--max-depth``; of a positional argument nothing.
        flag: Of an option without a value, what it sets; None where it takes one.
        opposite: What sets a flag to the contrary, where there is such a word.
        several: Whether it takes values one after the other: ``--layers 8 16``.
        repeated: Whether it is written once for each value: ``--tag a --tag b``.
        counted: Whether it is written as often as its value says: ``-v -v``.
        nothing: Whether it is None where it is left out.
        false: How False is written where its type is called with the text: ``bool("")``.
    """

    word: str
    flag: bool | None = None
    opposite: str | None = None
    several: bool = False
    repeated: bool = False
    counted: bool = False
    nothing: bool = False
    false: str = "false"


@dataclass(frozen=True)
class Options:
    """The options that were found, by the names of their values; `all`: the script's parser knows no others."""

    by_name: Mapping[str, Option]
    all: bool = False


def read_options(module: ast.Module) -> Options:
    """Return the options that a script declares."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))  # positional arguments come in this order
    named = [name for call in calls if (name := _called(call))]
    found: dict[str, Option] = {}
    whole = named.count("ArgumentParser") == 1 and not _UNREADABLE & set(named)
    for call in calls:
        match _called(call):
            case "add_argument":
                whole &= _add(found, call, _argparse_option)
            case "option" | "argument" if isinstance(call.func, ast.Attribute):
                _add(found, call, _click_option)
            case "ArgumentParser":
                whole &= not any(keyword.arg in ("parents", None) for keyword in call.keywords)
    return Options(found, whole and bool(found))


def command_line(params: Mapping[str, Any], options: Mapping[str, Option] = {}) -> list[str]:
    """Return parameters as a script's arguments: ``--C 0.5 --layers '[1, 2]'``, or as its options take them."""
    places = [name for name, option in options.items() if not option.word and name in params]
    given = [name for name in places if not (params[name] is None and options[name].nothing)]
    first = [word for name in given for word in _values(options[name], params[name])]
    named = [
        word
        for name, value in params.items()
        if name not in places
        for word in (_words(options[name], value) if name in options else [f"--{name}", word_of(value)])
    ]
    ambiguous = any(word.startswith("-") and len(word) > 1 for word in first)
    return [*named, "--", *first] if ambiguous else [*first, *named]


def _words(option: Option, value: Any) -> list[str]:
    if value is None and option.nothing:
        return []
    if option.flag is not None and isinstance(value, bool):
        opposite = [option.opposite] if option.opposite else []
        return [option.word] if value is option.flag else opposite
    if option.counted and isinstance(value, int):
        return [option.word] * value
    if option.repeated and isinstance(value, list | tuple):
        return [word for one in value for word in _written(option, one)]
    return _written(option, value)


def _written(option: Option, value: Any) -> list[str]:
    words = _values(option, value)
    if len(words) == 1 and words[0].startswith("-") and option.word.startswith("--"):
        return [f"{option.word}={words[0]}"]  # argparse takes -1e-5 for an option
    return [option.word, *words]


def _values(option: Option, value: Any) -> list[str]:
    if value is False:
        return [option.false]
    return [*map(word_of, value)] if option.several and isinstance(value, list | tuple) else [word_of(value)]


def word_of(value: Any) -> str:
    """Return a value as a word of a command line: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _add(found: dict[str, Option], call: ast.Call, read: Any) -> bool:
    """Take a call's option, and return whether all of the call could be read."""
    words = [_text(one) for one in call.args]
    if not all(words) or any(keyword.arg is None for keyword in call.keywords):
        return False
    texts = [word for word in words if word]
    given = {str(keyword.arg): keyword.value for keyword in call.keywords}
    if not texts or not texts[0].startswith("-"):
        return not texts or _place(found, texts[0], given)
    long = next((word for word in texts if word.startswith("--")), texts[0])
    option = read(long, given)
    bare = next((word for word in texts[1:] if not word.startswith("-")), None)  # click's own way to name the value
    own = bare or long.lstrip("-").partition("/")[0].strip().replace("-", "_")
    name = _text(given["dest"]) if "dest" in given else own
    if name is None:
        return False
    found[name] = option
    return True


def _place(found: dict[str, Option], name: str, given: Mapping[str, ast.expr]) -> bool:
    """Take a positional argument, unless one before it can be left out: then its place isn't known."""
    places = [option for option in found.values() if not option.word]
    if not any(option.nothing or option.several for option in places):
        nargs = given.get("nargs")
        may_lack = bool({"default", "required"} & set(given)) or (nargs is not None and _text(nargs) in ("?", "*"))
        found[name] = Option("", several=_is_several(nargs), nothing=may_lack)
    return True


def _argparse_option(word: str, given: Mapping[str, ast.expr]) -> Option:
    action = given.get("action")
    if isinstance(action, ast.Attribute | ast.Name) and ast.unparse(action).endswith("BooleanOptionalAction"):
        return Option(word, True, f"--no-{word.removeprefix('--')}")
    kind = (_text(action) or "") if action is not None else ""
    called = given.get("type")
    return Option(
        word,
        _FLAGS.get(kind),
        several=_is_several(given.get("nargs")) or kind == "extend",
        repeated=kind == "append",
        counted=kind == "count",
        nothing=kind not in _FLAGS and _is_none(given.get("default")),
        false="" if isinstance(called, ast.Name) and called.id == "bool" else "false",
    )


def _click_option(word: str, given: Mapping[str, ast.expr]) -> Option:
    yes, _, no = word.partition("/")
    is_flag = _is_true(given.get("is_flag"))
    return Option(
        yes.strip(),
        True if no or is_flag else None,
        no.strip() or None,
        several=_is_several(given.get("nargs")),
        repeated=_is_true(given.get("multiple")),
        counted=_is_true(given.get("count")),
        nothing=not (no or is_flag) and _is_none(given.get("default")),
    )


def _is_several(nargs: ast.expr | None) -> bool:
    return nargs is not None and (_text(nargs) in _SEVERAL or _is_count(nargs))


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_count(node: ast.expr) -> bool:
    node = node.operand if isinstance(node, ast.UnaryOp) else node  # click's nargs=-1
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
