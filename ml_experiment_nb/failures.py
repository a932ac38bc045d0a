"""An exception of user code as data: its traceback begins where the user's own code does."""

from __future__ import annotations

import functools
import os
import traceback
from pathlib import Path
from types import TracebackType

from ml_experiment_nb.errors import CellFailedError, ExperimentError, WorkerFailedError
from ml_experiment_nb.records import Failure

OURS = (str(Path(__file__).parent) + os.sep, functools.__file__, "<frozen")


def failure_of(error: BaseException) -> Failure:
    """Return an exception as data, its traceback beginning at the first frame that is not ours."""
    if isinstance(error, CellFailedError | WorkerFailedError):
        return Failure(error.name, error.message, error.traceback)
    first = user_frames(error.__traceback__)
    if isinstance(error, ExperimentError) and first is not None and _is_ours(first):
        first = None  # raised by this package on purpose: its frames say nothing
    text = "".join(traceback.format_exception(type(error), error, first))
    try:
        return Failure(type(error).__name__, str(error), text)
    except Exception as other:  # the user's own class, and its own mistake
        return Failure(type(error).__name__, f"(its message can't be had: {other!r})", text)


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without this package's frames at its beginning."""
    first = trace
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return trace or first


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(OURS)
