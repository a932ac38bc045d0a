"""What the comparison's widget asks of its kernel: curves, importances, images; each bounded in size."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_experiment_nb.archive import Archive
from ml_experiment_nb.comparison.evidence import curve
from ml_experiment_nb.comparison.studies import importances, scored_study
from ml_experiment_nb.errors import ExperimentError
from ml_experiment_nb.markup import picture_type
from ml_experiment_nb.records import Records, size
from ml_experiment_nb.widgets.columns import least_first

POINTS = 4000  # of a curve that are sent: more can't be told apart on a screen
WEIGHED = 2000  # runs that importances are reckoned from
RUNS = 50  # that are asked about at once
IMAGES = 40  # of a run
LARGEST = 4_000_000  # bytes of an image
ALL_OF_THEM = 24_000_000  # bytes of all images of an answer
Answer = tuple[dict[str, Any], list[bytes]]


def answer(asked: Mapping[str, Any], rows: Records, store: Archive) -> Answer:
    """Return what is answered to a message of the widget: what is said, and the bytes that go with it.

    Args:
        asked: The message: ``what`` is asked, and of which ``rows`` or ``metric``.
        rows: The comparison's runs, as the widget numbers them.
        store: Where they are.

    Raises:
        ExperimentError: It can't be answered; says why.
        StoreError: The store can't be reached.
    """
    verb = _VERBS.get(str(asked.get("what")))
    if verb is None:
        raise ExperimentError(f"this kernel doesn't know what {asked.get('what')!r} is: restart it")
    return verb(asked, rows, store)


def _curves(asked: Mapping[str, Any], rows: Records, store: Archive) -> Answer:
    said, buffers = [], []
    for row in asked["rows"][:RUNS]:
        points = _thinned(curve(store, rows[row], str(asked["metric"])))
        started = rows[row].started.timestamp()
        data = array("d", [float(one.step) for one in points])
        data.extend(one.moment / 1000 - started for one in points)
        data.extend(float(one.value) for one in points)
        said.append({"row": row, "count": len(points)})
        buffers.append(least_first(data))
    return {"curves": said}, buffers


def _thinned(points: Sequence[Any]) -> list[Any]:
    """Return points of a curve, evenly picked where there are very many, the last one always."""
    if len(points) <= POINTS:
        return list(points)
    return [points[k * (len(points) - 1) // (POINTS - 1)] for k in range(POINTS)]


def _importances(asked: Mapping[str, Any], rows: Records, store: Archive) -> Answer:
    every = -(-len(rows) // WEIGHED)
    found = importances(scored_study(rows.like(list(rows)[::every]), str(asked["metric"])))
    note = f"reckoned from one in {every} of the {len(rows)} runs" if every > 1 else ""
    return {"importances": sorted(found.items(), key=lambda one: -one[1]), "note": note}, []


def _images(asked: Mapping[str, Any], rows: Records, store: Archive) -> Answer:
    said: list[dict[str, Any]] = []
    buffers: list[bytes] = []
    rest = ALL_OF_THEM
    for row in asked["rows"][:RUNS]:
        sizes = {path: amount for path, amount in store.files(rows[row]).items() if picture_type(path)}
        for path, amount in list(sizes.items())[:IMAGES]:
            one: dict[str, Any] = {"row": row, "path": path}
            said.append(one)
            if amount > min(LARGEST, rest):
                one["problem"] = f"{size(amount)}: too large to show here"
            elif (content := store.content(rows[row], path)) is None:
                one["problem"] = "can't be read"
            else:
                rest -= len(content)
                one |= {"type": picture_type(path), "buffer": len(buffers)}
                buffers.append(content)
        if len(sizes) > IMAGES:
            more = f"{len(sizes) - IMAGES} more images are not shown"
            said.append({"row": row, "path": "…", "problem": more})
    return {"images": said}, buffers


_VERBS: Mapping[str, Callable[[Mapping[str, Any], Records, Archive], Answer]] = {
    "curves": _curves,
    "importances": _importances,
    "images": _images,
}
