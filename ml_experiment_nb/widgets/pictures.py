"""Small pictures as SVG, drawn without any library, for a saved notebook: they stand on light and on dark.

Thousands of points are thinned out: no picture has more than some tens of kilobytes.
"""

from __future__ import annotations

import base64
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ml_experiment_nb.markup import escaped
from ml_experiment_nb.quantities import cut, is_number, number

WIDTH, HEIGHT = 640, 220
POINTS = 600  # that are drawn of a history
LINES = 200  # that are drawn of parallel coordinates
_GREY, _BLUE, _ORANGE = "#7a7f87", "#3b82c4", "#d9730d"
"""Colours of which each has enough contrast both to white and to black."""
_SCALE = ("#9170c8", "#3b82c4", "#1f9a8a", "#6f9a2f", "#d9730d")  # from the worst to the best
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 34


@dataclass(frozen=True)
class Axis:
    """Where values stand on an axis: from 0 to 1.

    Attributes:
        place: Gives a value's place; None where it has none.
        marks: The values that are written at it, with their places.
        numeric: Whether they are numbers.
    """

    place: Callable[[Any], float | None]
    marks: tuple[tuple[str, float], ...]
    numeric: bool = True


def history(values: Sequence[float | None], *, maximize: bool, metric: str) -> str:
    """Draw a metric in the order of the runs, with the best value so far; empty where no run has a value.

    Args:
        values: A value for each run; None for one that has none, or didn't finish.
        maximize: Whether more is better.
        metric: The metric's name.
    """
    known = [(k, v) for k, v in enumerate(values) if v is not None and math.isfinite(v)]
    if not known:
        return ""
    best = _best_so_far(known, maximize)
    axis = axis_of([v for _, v in known])
    across = (WIDTH - _LEFT - _RIGHT) / max(len(values) - 1, 1)

    def at(k: int, value: float) -> tuple[float, float]:
        return _LEFT + k * across, _y(axis.place(value) or 0.0)

    steps = _thinned(best, POINTS, {best[-1][0]})
    dots = "".join(f"M{_pair(at(*one))}h0" for one in _thinned(known, POINTS, {k for k, _ in steps}))
    first, *later = (at(*one) for one in steps)
    line = f"M{_pair(first)}" + "".join(f"H{_short(x)}V{_short(y)}" for x, y in later)
    end = _short(_LEFT + (len(values) - 1) * across)
    parts = [
        _grid(axis),
        f'<path d="{dots}" stroke="{_BLUE}" stroke-width="5" stroke-linecap="round" stroke-opacity=".65"/>',
        f'<path d="{line}H{end}" fill="none" stroke="{_ORANGE}" stroke-width="2"/>',
        _text(_LEFT, HEIGHT - 16, "1"),
        _text(WIDTH - _RIGHT, HEIGHT - 16, f"{len(values):,}", "end"),
        _text(WIDTH / 2, HEIGHT - 4, f"{metric} of the runs in their order; the line is the best so far", "middle"),
    ]
    return _svg(parts)


def front(points: Sequence[tuple[float, float]], best: Sequence[tuple[float, float]], names: tuple[str, str]) -> str:
    """Draw two metrics against each other, and those points among them that none is better than; empty without any.

    Args:
        points: The values of each run.
        best: Those on the front.
        names: The metrics' names.
    """
    finite = [one for one in points if all(map(math.isfinite, one))]
    if not finite:
        return ""
    x, y = axis_of([a for a, _ in finite]), axis_of([b for _, b in finite])

    def dots(some: Sequence[tuple[float, float]]) -> str:
        places = [(_LEFT + (x.place(a) or 0.0) * (WIDTH - _LEFT - _RIGHT), _y(y.place(b) or 0.0)) for a, b in some]
        return "".join(f"M{_pair(one)}h0" for one in places)

    kept = [one for one in best if all(map(math.isfinite, one))]
    some = [finite[k] for k, _ in _thinned([(k, 0.0) for k in range(len(finite))], POINTS, set())]
    shown = [kept[k] for k, _ in _thinned([(k, 0.0) for k in range(len(kept))], POINTS, set())]
    style = 'stroke-width="5" stroke-linecap="round"'
    parts = [_grid(y), f'<path d="{dots(some)}" stroke="{_BLUE}" {style} stroke-opacity=".65"/>']
    parts.append(f'<path d="{dots(shown)}" stroke="{_ORANGE}" {style}/>')
    parts += [
        _text(_LEFT + place * (WIDTH - _LEFT - _RIGHT), HEIGHT - 16, mark, _anchor(place)) for mark, place in x.marks
    ]
    told = f"{names[1]} (upwards) against {names[0]}; orange: none is better in both"
    return _svg([*parts, _text(WIDTH / 2, HEIGHT - 4, told, "middle")])


def parallel(names: Sequence[str], rows: Sequence[Sequence[Any]], places: Sequence[float]) -> str:
    """Draw a line for each run through its values; empty where there are fewer than two columns or no rows.

    Args:
        names: The columns' names.
        rows: The values of each run; None where one has none, and then it isn't drawn.
        places: Of each run, how good it is: from 0, the worst, to 1, by which it gets its colour.
    """
    if len(names) < 2 or not rows:
        return ""
    axes = [axis_of([row[k] for row in rows if row[k] is not None]) for k in range(len(names))]
    across = (WIDTH - 110) / (len(names) - 1)
    xs = [55 + k * across for k in range(len(names))]
    order, width = sorted(range(len(rows)), key=lambda k: -places[k]), 1 if len(rows) > 50 else 2
    some = {k for k, _ in _thinned([(k, 0.0) for k in order], LINES, {*order[: LINES // 4]})}
    colours: dict[str, list[str]] = {colour: [] for colour in _SCALE}
    for k in reversed(order):  # the best on top
        spots = [axis.place(value) if value is not None else None for axis, value in zip(axes, rows[k], strict=True)]
        if k in some and None not in spots:
            colour = _SCALE[min(int(places[k] * len(_SCALE)), len(_SCALE) - 1)]
            path = "L".join(_pair((x, _y(spot or 0.0, 30))) for x, spot in zip(xs, spots, strict=True))
            colours[colour].append(f"M{path}")
    parts = [
        f'<path d="{"".join(paths)}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity=".8"/>'
        for colour, paths in colours.items()
        if paths
    ]
    for x, name, axis in zip(xs, names, axes, strict=True):
        parts.append(f'<path d="M{_short(x)} 30V{HEIGHT - _BOTTOM}" stroke="{_GREY}"/>')
        parts.append(_text(x, 10, cut(name, 16), "middle"))
        for mark, place in axis.marks:
            if place in (0.0, 1.0):
                parts.append(_text(x, HEIGHT - 22 if place == 0.0 else 24, mark, "middle"))
            elif not axis.numeric:
                parts.append(_text(x + 4, _y(place, 30) + 4, mark, over=True))
    return _svg([*parts, _text(WIDTH / 2, HEIGHT - 6, "a line is a run: purple the worst, orange the best", "middle")])


def axis_of(values: Sequence[Any]) -> Axis:
    """Return an axis for values: of numbers, by their logarithms where they span decades, and of anything else."""
    numbers = [float(v) for v in values if is_number(v) and abs(v) <= sys.float_info.max]
    if len(numbers) < len(values) or not numbers:
        known = list(dict.fromkeys(number(v) for v in values))
        step = 1 / max(len(known) - 1, 1)
        places = {text: k * step if len(known) > 1 else 0.5 for k, text in enumerate(known)}
        shown = known if len(known) <= 8 else [known[0], known[-1]]
        return Axis(lambda value: places.get(number(value)), tuple((text[:14], places[text]) for text in shown), False)
    low, high = min(numbers), max(numbers)
    if low == high:
        return Axis(lambda _: 0.5, ((number(low), 0.5),))
    if low > 0 and high / low >= 100:
        a, b = math.log(low), math.log(high)
        marks = tuple((number(math.exp(a + p * (b - a))), p) for p in (0.0, 0.5, 1.0))
        return Axis(lambda value: (math.log(value) - a) / (b - a), marks)
    marks = tuple((number(low + p * (high - low)), p) for p in (0.0, 0.5, 1.0))
    return Axis(lambda value: (value - low) / (high - low), marks)


def image(svg: str, alt: str) -> str:
    """Return a picture as an element of HTML that everybody leaves in, with words for those who can't see it."""
    if not svg:
        return ""
    data = base64.b64encode(svg.encode(errors="replace")).decode()
    return f'<img alt="{escaped(alt)}" width="{WIDTH}" height="{HEIGHT}" src="data:image/svg+xml;base64,{data}">'


def _best_so_far(known: Iterable[tuple[int, float]], maximize: bool) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for k, value in known:
        if not found or (value > found[-1][1] if maximize else value < found[-1][1]):
            found.append((k, value))
    return found


def _thinned(points: Sequence[tuple[int, float]], most: int, kept: set[int]) -> list[tuple[int, float]]:
    """Return points, evenly thinned out where there are more than so many; those whose number is in `kept` stay."""
    step = max(1, math.ceil(len(points) / most))
    return [one for k, one in enumerate(points) if k % step == 0 or one[0] in kept]


def _grid(axis: Axis) -> str:
    lines = "".join(f"M{_LEFT} {_short(_y(place))}H{WIDTH - _RIGHT}" for _, place in axis.marks)
    texts = "".join(_text(_LEFT - 6, _y(place) + 4, mark, "end") for mark, place in axis.marks)
    return f'<path d="{lines}" stroke="{_GREY}" stroke-opacity=".35"/>{texts}'


def _y(place: float, top: int = _TOP) -> float:
    return HEIGHT - _BOTTOM - place * (HEIGHT - top - _BOTTOM)


def _anchor(place: float) -> str:
    return "start" if place == 0 else "end" if place == 1 else "middle"


def _text(x: float, y: float, text: str, anchor: str = "start", *, over: bool = False) -> str:
    """Return a text; `over` other things it has a light rim, on which it can be read."""
    ink = 'fill="#222" stroke="#fff" stroke-opacity=".8" stroke-width="3" paint-order="stroke"' if over else ""
    ink = ink or f'fill="{_GREY}"'
    shown = escaped(_NOT_IN_XML.sub("", text))
    return f'<text x="{_short(x)}" y="{_short(y)}" text-anchor="{anchor}" {ink}>{shown}</text>'


def _pair(point: tuple[float, float]) -> str:
    return f"{_short(point[0])} {_short(point[1])}"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg(parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}</svg>'
    )
