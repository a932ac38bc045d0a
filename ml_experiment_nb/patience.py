"""How long a driver waits for a tracking store that has gone: trials go on meanwhile, and nothing is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from ml_experiment_nb.absences import note
from ml_experiment_nb.errors import StoreError, StoreLostError

SECONDS = 60.0
VARIABLE = "ML_EXPERIMENT_STORE_PATIENCE"
AGAIN = 1.0  # seconds between two tries
Found = TypeVar("Found")


class Patience:
    """What a driver has of it: some, from the first time that the store can't be written until it can be again."""

    def __init__(self) -> None:
        self._gone: float | None = None
        self._tried = 0.0
        self.notes: list[str] = []  # for how long it was away

    @property
    def is_due(self) -> bool:
        """Whether to try now, or again."""
        return self._gone is None or time.monotonic() - self._tried >= AGAIN

    def attempt(self, write: Callable[[], Found]) -> Found | None:
        """Write something, and return what comes of it; None when it can't be written yet.

        Raises:
            StoreError: The store has been gone for too long, or for good.
        """
        self._tried = time.monotonic()
        try:
            found = write()
        except StoreLostError:
            raise
        except StoreError as error:
            self._gone = self._gone or self._tried
            if time.monotonic() - self._gone >= seconds():
                raise StoreError(
                    f"{error}; it was tried for {seconds():g} s. What was recorded stays in .ml-experiment/runs: "
                    "`ml-experiment ls` sends it when the store is there again"
                ) from error
            return None
        if self._gone is not None:
            self.notes.append(note(time.monotonic() - self._gone))
        self._gone = None
        return found

    def insist(self, write: Callable[[], Found]) -> Found:
        """Write something now, waiting for the store as long as there is patience; see `attempt`."""
        while (found := self.attempt(write)) is None:
            time.sleep(AGAIN)
        return found


def seconds() -> float:
    """Return how long a store is waited for: ``ML_EXPERIMENT_STORE_PATIENCE``, or a minute."""
    try:
        return float(os.environ.get(VARIABLE, SECONDS))
    except ValueError:
        return SECONDS
