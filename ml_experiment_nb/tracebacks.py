"""An exception as a notebook shows it: with the frames of the user's own code, without those of this package.

IPython asks an exception for ``_render_traceback_`` before it formats one itself. The exception keeps all of its
frames: ``%tb``, ``%debug`` and ``%xmode Verbose`` have them, and nothing is different outside of IPython.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

_OURS = str(Path(__file__).parent) + os.sep


def lines_of(error: BaseException, *, skipped: int | None = None) -> list[str]:
    """Return what a notebook shows of an exception, in the style that its user has chosen by ``%xmode``.

    Args:
        error: The exception.
        skipped: How many frames are left out where all are shown; by default the one of IPython that runs the cell.
    """
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return traceback.format_exception(error)
    formatted = shell.InteractiveTB.structured_traceback
    if shell.InteractiveTB.mode == "Verbose" or _is_asked_again():
        whole: list[str] = formatted(type(error), error, error.__traceback__, tb_offset=skipped)
        return whole
    shown = kept_frames(error.__traceback__)
    with _without_our_causes(error):
        if shown is None:
            return [f"{type(error).__name__}: {error}"]
        lines: list[str] = formatted(type(error), error, shown, tb_offset=0)
    return lines


def kept_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without our frames, and without those of libraries that we call; None where none is left."""
    kept: list[TracebackType] = []
    last = 0  # how many are kept up to the user's last one
    inside = True  # what runs the user's cell comes first
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(_OURS):
            inside = True
            del kept[last:]  # a library that has called us
        elif not _is_library(file):
            inside = False
        if not inside:
            kept.append(trace)
            last = last if _is_library(file) else len(kept)
        trace = trace.tb_next
    found = None
    for one in reversed(kept):
        found = TracebackType(found, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return found


def show_short(error: E) -> E:
    """Have a notebook show an exception without our frames that is none of ours; one that says how itself stays so."""
    if not hasattr(error, "_render_traceback_"):
        error._render_traceback_ = functools.partial(lines_of, error)  # type: ignore[attr-defined]
    return error


def shortened(verb: Callable[P, T]) -> Callable[P, T]:
    """Have a notebook show without our frames what the user's code raises within a verb, and an interrupt of it."""

    @functools.wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return verb(*args, **kwargs)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or _is_of_the_user(error):
                show_short(error)
            raise

    return call


def _is_library(file: str) -> bool:
    if file.startswith("<"):
        return not file.startswith("<ipython-input")
    return file.startswith(_libraries())


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Return the folders of what is installed, and of Python itself."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = {sysconfig.get_path(name) for name in names} | {str(Path(os.__file__).parent)}
    folders = {one for path in found if path for one in (path, os.path.realpath(path))}
    return tuple(one + os.sep for one in sorted(folders))


def _is_asked_again() -> bool:
    """Return whether ``%tb`` asks, which is for whoever wants more than was shown."""
    from IPython.core.magics.execution import ExecutionMagics

    asks = inspect.unwrap(ExecutionMagics.tb).__code__
    frame = sys._getframe()
    while frame is not None and frame.f_code is not asks:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None


@contextmanager
def _without_our_causes(error: BaseException) -> Iterator[None]:
    """Leave out what led to an exception of ours, within this block, unless the user's code has raised that."""
    cause, context, hidden = error.__cause__, error.__context__, error.__suppress_context__
    led = cause or (None if hidden else context)
    if led is None or _is_of_the_user(led) or _is_of_the_user(error):
        yield
        return
    try:
        error.__cause__, error.__context__ = None, None
        yield
    finally:
        error.__cause__, error.__context__, error.__suppress_context__ = cause, context, hidden


def _is_of_the_user(error: BaseException) -> bool:
    """Return whether an exception was raised in the user's code, or in a library that this calls."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    shown = kept_frames(error.__traceback__)
    while shown is not None and shown.tb_next is not None:
        shown = shown.tb_next
    return last is not None and shown is not None and shown.tb_frame is last.tb_frame
