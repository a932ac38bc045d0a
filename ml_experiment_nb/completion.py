"""What Tab and Shift-Tab know of the magics: their options, what may follow them, and distributions in a cell's lead.

It is asked while somebody types, so that all of it is read from the text alone; nothing is run or imported.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

DISTRIBUTIONS = ("choice", "loguniform", "randint", "range", "uniform")
"""What a leading assignment of a group's cell may draw from."""

_FIRST = re.compile(r"\s*(?:%%(?P<cell>group|experiment)|%(?P<line>diff|compare))\b(?P<words>.*)", re.DOTALL)
_ASSIGNED = re.compile(r"\w+\s*(:[^=]+)?=\s*\w*")
_VARIABLES = ("into", "each", "data")
_METRICS = ("maximize", "minimize")


def install(shell: Any) -> None:
    """Have a shell complete and explain our magics."""
    if any(getattr(one, "matcher_identifier", "") == _ID for one in shell.Completer.custom_matchers):
        return
    shell.Completer.custom_matchers.append(_matcher(shell))
    found = shell.object_inspect_mime

    def explained(oname: str, *args: Any, **options: Any) -> dict[str, str]:
        try:
            bundle: dict[str, str] = found(oname, *args, **options)
        except KeyError:
            if (text := explanation(oname, shell.find_cell_magic("group").parser)) is None:
                raise
            return {"text/plain": text}
        return bundle

    shell.object_inspect_mime = explained


_ID = "ml_experiment_nb"


def _matcher(shell: Any) -> Any:
    @context_matcher(identifier=_ID)
    def complete(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")
        first = _FIRST.match(lines[0])
        if first is None:
            return {"completions": []}
        before = lines[context.cursor_line][: context.cursor_position]
        if context.cursor_line:
            words = distributions(lines[1 : context.cursor_line], before) if first["cell"] == "group" else ()
            kind = "function"
        else:
            name, table = (first["cell"], "cell") if first["cell"] else (first["line"], "line")
            parser = shell.magics_manager.magics[table][name].parser
            words = of_line(parser, before, context.full_text, shell.user_ns)
            kind = "magic"
        found = [word for word in words if word.startswith(context.token)]
        return {
            "completions": [SimpleCompletion(word, type=kind) for word in found],
            "suppress": bool(found),
            "ordered": True,
        }

    return complete


def of_line(
    parser: argparse.ArgumentParser, before: str, source: str, namespace: Mapping[str, Any] | None = None
) -> Sequence[str]:
    """Return what may stand at the end of a magic's line, of whatever beginning.

    Args:
        parser: The magic's.
        before: The line, up to the cursor.
        source: The whole cell.
        namespace: The notebook's variables.
    """
    words = before.split()[1:] if before[-1:].isspace() else before.split()[1:-1]
    typed = "" if before[-1:].isspace() else before.split()[-1]
    options = {word: action for action in parser._actions for word in action.option_strings}
    if "=" in typed and typed.partition("=")[0] in options:
        return _values(options[typed.partition("=")[0]], source, namespace or {})
    if words and words[-1] in options and options[words[-1]].nargs != 0:
        return _values(options[words[-1]], source, namespace or {})
    if not typed.startswith("-") and typed:
        return ()
    given = {options[word.partition("=")[0]].dest for word in words if word.partition("=")[0] in options}
    free = [one for one in parser._actions if one.dest not in given or isinstance(one, argparse._AppendAction)]
    return [word for action in free for word in action.option_strings if word.startswith("--")]


def _values(action: argparse.Action, source: str, namespace: Mapping[str, Any]) -> Sequence[str]:
    """Return what may follow an option."""
    if action.choices is not None:
        return [str(one) for one in action.choices]
    if action.dest in ("sampler", "pruner"):
        from ml_experiment_nb.algorithms import Pruner, Sampler

        names = Sampler.NAMES if action.dest == "sampler" else Pruner.NAMES
        return [_as_typed(name) for name in names]
    if action.dest == "autolog":
        from ml_experiment_nb.libraries import LIBRARIES

        return LIBRARIES
    if action.dest in _VARIABLES:
        return sorted(name for name in namespace if not name.startswith("_") and name not in _OF_IPYTHON)
    if action.dest in _METRICS:
        return _metrics(source)
    return [f"{name}=" for name in _parameters(source)] if action.dest == "param" else ()


_OF_IPYTHON = frozenset({"In", "Out", "exit", "quit", "open", "get_ipython"})
_TYPED = {"CmaEs": "cma-es", "NSGAII": "nsga-ii", "NSGAIII": "nsga-iii", "BruteForce": "brute-force"}
_TYPED |= {"SuccessiveHalving": "sha", "Nop": "none"}


def _as_typed(name: str) -> str:
    return _TYPED.get(name, name.lower())


def distributions(lead: Sequence[str], before: str) -> Sequence[str]:
    """Return the distributions, where a cell's line is one more of its leading assignments.

    Args:
        lead: The cell's lines above.
        before: The line, up to the cursor.
    """
    if _ASSIGNED.fullmatch(before) is None:
        return ()
    try:
        body = ast.parse("\n".join(lead)).body
    except (SyntaxError, ValueError):
        return ()
    if not all(isinstance(one, ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom) for one in body):
        return ()
    return [f"{name}(" for name in DISTRIBUTIONS]


def _metrics(source: str) -> list[str]:
    """Return the names of the metrics that a cell ends with, as far as they stand there."""
    body = _body(source)
    value = body[-1].value if body and isinstance(body[-1], ast.Expr) else None
    value = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value
    keys = value.keys if isinstance(value, ast.Dict) else []
    return [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _parameters(source: str) -> list[str]:
    from ml_experiment_nb.cells import lead
    from ml_experiment_nb.errors import SpaceError

    found = []
    with suppress(SpaceError):  # one that is being typed
        for one in lead(_body(source)):
            found.append(one.name)
    return found


def _body(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source.partition("\n")[2]).body
    except (SyntaxError, ValueError):
        return []


def explanation(name: str, parser: argparse.ArgumentParser) -> str | None:
    """Return the help of a distribution or of one of ``%%group``'s options; None for any other name."""
    if name in DISTRIBUTIONS:
        from ml_experiment_nb import spaces

        call = getattr(spaces, name, None)
        if call is None:
            return None
        lines = [f"{name}{inspect.signature(call)}", "", inspect.getdoc(call) or "", "", "A distribution of %%group."]
        return "\n".join(lines)
    for action in _named(parser, name):
        return f"%%group --{name.replace('_', '-')}\n\n{action.help}"
    return None


def _named(parser: argparse.ArgumentParser, name: str) -> Iterable[argparse.Action]:
    return (one for one in parser._actions if f"--{name.replace('_', '-')}" in one.option_strings)
