"""Why two runs differ: what was asked, what ran, where, and what came of it, side by side."""

from __future__ import annotations

from ml_experiment_nb.comparison.differences import Diff, differences
from ml_experiment_nb.comparison.evidence import read_both
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.records import Record


def diff(a: str | Record, b: str | Record) -> Diff:
    """Return what differs between two runs of this project's store, and what is the same in both.

    Args:
        a: A run, the older one say: its record, its id, or the beginning of that.
        b: The other one.

    Returns:
        The differences, by what they are in. As a notebook cell's value, or printed, it shows itself.

    Raises:
        RunNotFoundError: There is no such run, or more than one.
        StoreError: The store can't be reached.
    """
    return differences(*read_both(opened_archive(), a, b))
