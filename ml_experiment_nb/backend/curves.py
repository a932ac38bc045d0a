"""The histories of metrics, thinned to what a page can draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from ml_experiment_nb.readings import Point
from ml_experiment_nb.records import as_json

MOST = 500  # points of one metric


def curves(points: Iterable[Point]) -> dict[str, Any]:
    """Return the history of each metric, in columns; `points` has each metric's together, in order."""
    found = {}
    for metric, some in groupby(points, key=lambda one: one.metric):
        each = list(some)
        kept = thinned(each)
        found[metric] = {
            "steps": [one.step for one in kept],
            "times": [one.moment for one in kept],
            "values": [as_json(one.value) for one in kept],
            "count": len(each),
        }
    return found


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """Return at most so many points, in their order: the first and the last, and of each stretch its extremes.

    Args:
        points: The points.
        most: How many are kept, 4 or more.
    """
    if len(points) <= most:
        return list(points)
    stretches = (most - 2) // 2
    kept = {0, len(points) - 1}
    for k in range(stretches):
        stretch = range(len(points) * k // stretches, len(points) * (k + 1) // stretches)
        known = [index for index in stretch if points[index].value == points[index].value] or [stretch[0]]
        kept |= {min(known, key=lambda index: points[index].value), max(known, key=lambda index: points[index].value)}
    return [points[index] for index in sorted(kept)]
