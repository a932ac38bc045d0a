"""What lines of IPython's own syntax say: the Python in them, and which names the magics of ours read and bind."""

from __future__ import annotations

import ast
import re
from typing import Final

OF_OURS: Final = re.compile(r"\s*(?:%%(?!experiment\b|group\b)[^\n]*\n\s*)*%%(experiment|group)\b")
"""A cell of our magics, below others such as ``%%time`` too; it ends with the magic's name."""

RUNS_NOTHING: Final = re.compile(r"\s--(save|plan)\b")
_INTO = re.compile(r"--into[ =](\w+)")
_OPTION = re.compile(r"\{([^\W\d]\w*)|\s--(?:data|each)[ =]([^\W\d]\w*)(?=\s|$)")  # and no file's name
_CAPTURE = re.compile(r"^[ \t]*%%capture[ \t]+(?:--?[\w-]+[ \t]+)*([^\W\d]\w*)", re.MULTILINE)

_OPTIONS = re.compile(r"(?:-\w+(?:\s+\d+)?\s+)*")
_EXPANDED = re.compile(r"\{([^{}]+)\}|\$(\w+)")


def magic_code(call: ast.Call) -> list[ast.stmt]:
    """Return the Python inside a line of IPython's: all of ``%time f(x)``, the ``{x}`` of ``!ls {x}``."""
    match call:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=method),
            args=[ast.Constant(value=str() as first), *others],
        ):
            pass
        case _:
            return []
    line = getattr(others[0], "value", "") if method.endswith("_magic") and others else first
    if is_timed(call):
        return _parsed_or_nothing(_OPTIONS.sub("", line, count=1))
    return code_in_line(line)


def is_timed(call: ast.Call) -> bool:
    """Return whether a call is a line magic that runs the Python behind it."""
    match call:
        case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value=str() as name), *_]):
            return name in ("time", "timeit", "prun")
    return False


def code_in_line(line: str) -> list[ast.stmt]:
    """Return the Python that IPython fills in in a line: the ``{x}`` and ``$x`` of ``!ls {x} $x``."""
    return _parsed_or_nothing("\n".join(code.strip() or name for code, name in _EXPANDED.findall(line)))


def _parsed_or_nothing(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError):
        return []


def names_in_line(line: str) -> frozenset[str]:
    """Return the names that the line of a magic of ours mentions: in braces, and behind ``--data`` and ``--each``."""
    return frozenset(one or other for one, other in _OPTION.findall(line))


def bound_by_line(line: str) -> frozenset[str]:
    """Return the names that the line of a magic binds: behind ``--into``, and behind ``%%capture``."""
    return frozenset(_INTO.findall(line)) | captured_by(line)


def captured_by(source: str) -> frozenset[str]:
    """Return the name that a cell's own ``%%capture`` binds, if it has one."""
    return frozenset(_CAPTURE.findall(source)[:1])
