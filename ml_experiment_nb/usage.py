"""A magic's line, parsed, and our own errors shown as one line under the cell."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from IPython.core.error import UsageError

from ml_experiment_nb.errors import ExperimentError, SpecError, nearest

_TELLING = 4  # characters that an option's beginning has to have to tell which is meant

_OUTSIDE = "interrupted while none of the cell's own code ran"


def parsed(magic: Any, line: str, *others: Any) -> Namespace:
    """Return what a magic's line says.

    Args:
        magic: The magic.
        line: Its line.
        others: Magics whose options may be meant to be its own.

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
        raise UsageError(_unknown(unknown[0], magic, others))
    found: Namespace = known
    return found


def _unknown(word: str, magic: Any, others: Sequence[Any]) -> str:
    """Say what is wrong with a word of the line that means nothing."""
    if not word.startswith("-"):
        return f"{word!r} is one word too many: put a name of several words in quotes"
    name = word.partition("=")[0]
    own = _options(magic)
    theirs = {one: other.__name__ for other in others for one in _options(other) if one not in own}
    begun = [one for one in own if len(name) >= _TELLING and one.startswith(name)]
    meant = [one for one in theirs if one == name or (len(name) >= _TELLING and one.startswith(name))]
    hint = nearest(name, begun or own)
    if meant and not begun:
        hint = f": {meant[0]} is an option of %%{theirs[meant[0]]}, not of %%{magic.__name__}"
    return f"{word}: there is no such option{hint}"


def _options(magic: Any) -> list[str]:
    return [option for action in magic.parser._actions for option in action.option_strings]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Show our own errors, and an interrupt of our own code, in one line.

    IPython would do so with a `UsageError`, but it sends a kernel's clients none: papermill would go on.
    """
    try:
        yield
    except UsageError as error:
        raise in_one_line(SpecError(str(error))) from None
    except KeyboardInterrupt as error:  # outside of the user's own code: that shows where it was
        shown = hasattr(error, "_render_traceback_")
        raise error if shown else in_one_line(KeyboardInterrupt(_OUTSIDE)) from None
    except ExperimentError as error:
        raise error if "_render_traceback_" in vars(error) else in_one_line(error) from None


def in_one_line(error: BaseException) -> BaseException:
    """Make an error show itself without a traceback."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    error._render_traceback_ = lambda: [text]  # type: ignore[attr-defined]
    return error.with_traceback(None)
