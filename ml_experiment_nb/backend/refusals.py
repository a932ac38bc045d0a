"""What is refused, with the status that HTTP has for it."""

from __future__ import annotations

from ml_experiment_nb.errors import (
    ExecutorError,
    ExperimentError,
    ResumeError,
    RunNotFoundError,
    StillRunningError,
    StoreError,
)

_STATUS: tuple[tuple[type[ExperimentError], int], ...] = (
    (RunNotFoundError, 404),
    (StoreError, 503),
    (ExecutorError, 503),
    (StillRunningError, 409),
    (ResumeError, 409),
)


class Refused(Exception):
    """Something is refused.

    Args:
        status: HTTP's code.
        message: Why, as a sentence for people.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def refusal_of(error: ExperimentError) -> Refused:
    """Return the refusal that one of this package's errors is."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
    return Refused(status, str(error))
