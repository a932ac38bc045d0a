"""A magic's line, parsed, and our own errors shown as one line under the cell."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.error import UsageError

from ml_experiment_nb.errors import ExperimentError, SpecError, nearest


def parsed(magic: Any, line: str) -> Namespace:
    """Return what a magic's line says.

    Raises:
        UsageError: It can't be read.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line.strip()!r} can't be read: {error}") from None
    magic.parser.allow_abbrev = False  # whoever looks for an option in a line finds it by its whole name
    known, unknown = magic.parser.parse_known_args(words)
    if unknown:
        raise UsageError(_unknown(unknown[0], magic.parser))
    found: Namespace = known
    return found


def _unknown(word: str, parser: Any) -> str:
    """Say what is wrong with a word of the line that means nothing."""
    if not word.startswith("-"):
        return f"{word!r} is one word too many: put a name of several words in quotes"
    options = [option for action in parser._actions for option in action.option_strings]
    return f"{word}: there is no such option{nearest(word.partition('=')[0], options)}"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Show our own errors in one line.

    IPython would do so with a `UsageError`, but it sends a kernel's clients none: papermill would go on.
    """
    try:
        yield
    except UsageError as error:
        raise in_one_line(SpecError(str(error))) from None
    except ExperimentError as error:
        raise error if hasattr(error, "_render_traceback_") else in_one_line(error) from None


def in_one_line(error: BaseException) -> BaseException:
    """Make an error show itself without a traceback."""
    error._render_traceback_ = lambda: [f"{type(error).__name__}: {error}"]  # type: ignore[attr-defined]
    return error.with_traceback(None)
