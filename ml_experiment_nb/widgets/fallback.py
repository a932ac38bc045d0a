"""What stays of a view of many runs in a saved notebook: a table and a picture, as HTML that stands for itself.

It has neither scripts nor a style sheet, so that GitHub, nbviewer, nbconvert and a JupyterLab that doesn't trust the
notebook show it; and it is small, however many runs there are: the middle of a long table is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ml_experiment_nb import markup
from ml_experiment_nb.overview import overview, summary
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.records import Record, Records
from ml_experiment_nb.widgets import pictures

AXES = 7  # parameters in a picture of parallel coordinates


def group_html(records: Records, *, note: str = "") -> str:
    """Return what stays of a group: how its metric went, and its runs as a table.

    Args:
        records: Its trials, in their order, with the metrics that it optimises.
        note: A line above all, such as that it still goes on.
    """
    line = f"<div>{markup.escaped(note)}</div>" if note else ""
    return f"<div>{line}{history_html(records)}{markup.as_html(overview(records))}</div>"


def comparison_html(records: Records, *, note: str = "") -> str:
    """Return what stays of a comparison: the runs' parameters in a picture, and the runs as a table.

    Args:
        records: The runs in the order of the table, the best first, say; with the metrics that they are compared by.
        note: A line above all.
    """
    line = f"<div>{markup.escaped(note)}</div>" if note else ""
    return f"<div>{line}{_parallel(records)}{markup.as_html(overview(records))}</div>"


def history_html(records: Records) -> str:
    """Return how the metric of a group went as a picture, of two metrics their front; empty where there is none."""
    goals = records.goals
    if len(goals) == 1:
        [(name, maximize)] = goals
        values = [one.metrics.get(name) if one.ok else None for one in records]
        drawn = pictures.history(values, maximize=maximize, metric=name)
    elif len(goals) == 2:
        names = (goals[0][0], goals[1][0])
        drawn = pictures.front(_points(records, names), _points(records.front, names), names)
    else:
        return ""
    return _paragraph(pictures.image(drawn, summary(records)))


def _points(records: Records, names: tuple[str, str]) -> list[tuple[float, float]]:
    a, b = names
    return [(one.metrics[a], one.metrics[b]) for one in records if one.ok and a in one.metrics and b in one.metrics]


def _parallel(records: Records) -> str:
    if (metric := records.metric) is None:
        return ""
    finished = [one for one in records if one.ok and math.isfinite(one.metrics.get(metric, math.nan))]
    names = _varied(finished)[:AXES]
    [(_, maximize)] = records.goals
    rows = [[*(as_number(one.params.get(name)) for name in names), one.metrics[metric]] for one in finished]
    drawn = pictures.parallel([*names, metric], rows, _places([row[-1] for row in rows], maximize))
    alt = f"Parallel coordinates of {', '.join([*names, metric])}: {summary(records)}"
    return _paragraph(pictures.image(drawn, alt))


def _varied(records: list[Record]) -> list[str]:
    """Return the parameters that all of some runs have, and that aren't the same in all."""
    shared: Mapping[str, Any] = records[0].params if records else {}
    texts = {name: {text_of(one.params.get(name)) for one in records} for name in shared}
    return [name for name in shared if len(texts[name]) > 1 and all(name in one.params for one in records)]


def as_number(value: Any) -> Any:
    """Return the number that a text is, as which a store keeps a parameter; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _places(values: list[float], maximize: bool) -> list[float]:
    """Return for each value how good it is, by its rank: from 0, the worst, to 1."""
    order = sorted(range(len(values)), key=lambda k: values[k], reverse=not maximize)
    places = [0.0] * len(values)
    for rank, k in enumerate(order):
        places[k] = rank / max(len(values) - 1, 1)
    return places


def _paragraph(picture: str) -> str:
    return f"<p>{picture}</p>" if picture else ""
