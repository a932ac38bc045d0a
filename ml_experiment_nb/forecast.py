"""What can be said of a plan before it runs: how long it may take, by past runs, and the points that come first."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_experiment_nb import optuna_spaces
from ml_experiment_nb.archive import Archive
from ml_experiment_nb.errors import RunNotFoundError, StoreError
from ml_experiment_nb.identity import code_of
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import find_root, has_store
from ml_experiment_nb.quantities import about
from ml_experiment_nb.records import Record, duration, pairs
from ml_experiment_nb.specs import Group
from ml_experiment_nb.targets import Notebook, Script

NEWEST = 200
"""How many past runs are looked at, the newest first."""

SHOWN = 5
"""How many points are drawn."""

_GROUPS = 5
_STARTUP = {"CmaEs": 1, "TPE": 10, "GP": 10}  # how many points a sampler draws before it looks at results


@dataclass(frozen=True)
class Estimate:
    """How long a plan may take, in seconds.

    Attributes:
        total: All of it; None where it isn't known how much runs at once, or how many runs there are.
        each: The median of the past runs.
        spread: Their first and last decile.
        startup: How much longer a group took until the first of its trials had ended; None where no past group tells.
        past: How many past runs there are.
        same_code: Whether they ran the same code, and not only the same file.
    """

    total: float | None
    each: float
    spread: tuple[float, float]
    startup: float | None
    past: int
    same_code: bool


def forecast(plan: Plan) -> str:
    """Return what is shown below a plan; nothing is made for it, neither a store nor a study.

    Where a group goes on, its study says what comes next, and no points are shown.

    Raises:
        SpecError: The sampler doesn't take an option, or can't draw.
    """
    rows = [("estimate", _estimate_text(plan))] if plan.tracked else []
    if isinstance(plan.spec, Group) and plan.table is None and plan.again is None:
        rows += _points_text(plan.spec)
    return "\n".join(f"  {name:<10} {text}" for name, text in rows)


def estimate(plan: Plan) -> Estimate | None:
    """Return how long a plan may take by past runs of the same name and code; None where there are none.

    Raises:
        StoreError: The tracking store can't be reached.
    """
    root = find_root()
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not has_store(root) or (named.startswith("sqlite:///") and not Path(named.removeprefix("sqlite:///")).exists()):
        return None
    store = opened_archive(root)
    past, same_code = _past(store, plan)
    if not past:
        return None
    seconds = sorted(record.seconds for record in past)
    each = statistics.median(seconds)
    startup = _startup(past, each, store) if plan.kind == "group" else 0.0
    count = how_many(plan)
    total = None
    if count is not None and plan.slots is not None:
        total = math.ceil(count / plan.slots) * each + (startup or 0.0)
    low, high = seconds[len(seconds) // 10], seconds[len(seconds) - 1 - len(seconds) // 10]
    return Estimate(total, each, (low, high), startup, len(past), same_code)


def how_many(plan: Plan) -> int | None:
    """Return how many runs of the same length a plan has left to do; None where a sampler decides."""
    if not isinstance(plan.spec, Group):
        return 1  # its targets together are one run
    kept, redo = (plan.again.kept, plan.again.redo) if plan.again is not None else ((), ())
    total = None if plan.total is None else plan.total - len(kept)
    if plan.table is None and plan.spec.sampler.is_exhaustive and plan.spec.param_space:
        points = math.prod(len(values) for values in optuna_spaces.grid(plan.spec.param_space).values())
        left = max(0, points - sum(one.number not in redo for one in kept))
        return left if total is None else min(left, total)
    return total


def first_points(group: Group) -> list[dict[str, object]]:
    """Return the points that come first: those to begin with, then what the sampler draws without any results.

    Of a space that the code draws there are none to tell.

    Raises:
        SpecError: It doesn't take an option, or can't draw.
    """
    from ml_experiment_nb.search import Search

    if not group.param_space:
        return []
    known = _STARTUP.get(group.sampler.name, SHOWN)
    count = group.sampler.options.get("n_startup_trials", known)
    search = Search(group.model_copy(update={"storage": "sqlite:///:memory:"}), Path(), "forecast")
    draws = [search.ask() for _ in range(min(SHOWN, max(1, count if isinstance(count, int) else known)))]
    return [dict(draw.params) for draw in draws if draw is not None]


def _estimate_text(plan: Plan) -> str:
    try:
        found = estimate(plan)
    except StoreError as error:
        return f"none: {error}"
    if found is None:
        return "none: there are no past runs"
    low, high = (duration(seconds) for seconds in found.spread)
    spread = f", {low} to {high}" if low != high else ""
    runs = "1 past run" if found.past == 1 else f"{found.past} past runs"
    code = "" if found.same_code else " of the same file, whose code was another"
    whole = f"about {about(found.total)}" if found.total is not None else "unknown"
    parts = [f"{duration(found.each)} each ({runs}{code}{spread})"]
    if (count := how_many(plan)) is not None and plan.kind == "group":
        parts.insert(0, f"{count} {'rows' if plan.table is not None else 'trials'}")
    if found.startup is None:
        parts.append("without what it takes to start")
    elif found.startup >= 0.1:
        parts.append(f"{duration(found.startup)} to start")
    return f"{whole}: {', '.join(parts)}"


def _points_text(group: Group) -> list[tuple[str, str]]:
    fixed = group.sampler_seed is not None or group.sampler.name == "Grid"
    points = [pairs(point) for point in first_points(group)]
    said = "first" if fixed else "such as"
    rows = [(said if k == 0 else "", point) for k, point in enumerate(points)]
    return rows if fixed or not rows else [*rows, ("", "(examples: without a seed, others are drawn when it runs)")]


def _past(store: Archive, plan: Plan) -> tuple[list[Record], bool]:
    """Return finished runs of the same name, and whether they are of the same code, or only of the same file."""
    code = code_of(plan.targets, Path(plan.cwd))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or plan.spec.name
    files = [str(one.path) for one in plan.targets if isinstance(one, Script | Notebook)]
    wanted = [({"mlexp.code_hash": code.digest}, True)]
    if len(files) == len(plan.targets) == 1:
        wanted += [({"mlflow.source.name": file}, False) for file in dict.fromkeys([files[0], *_given(plan)])]
    for tags, same_code in wanted:
        try:
            found = store.records(experiment=name, status="finished", tags=tags, limit=NEWEST)
        except RunNotFoundError:
            return [], True
        if found := [record for record in found if record.kind != "group"]:
            return found, same_code
    return [], True


def _given(plan: Plan) -> list[str]:
    return [one.path for one in plan.spec.run if isinstance(one, Script | Notebook)]


def _startup(past: Sequence[Record], each: float, store: Archive) -> float | None:
    """Return how much longer than a trial the beginning of past groups took, up to the first trial's end."""
    firsts = {one.parent_id: one for one in past if one.number == 0 and one.parent_id}
    found = []
    for parent, first in list(firsts.items())[:_GROUPS]:
        begun = store.record(str(parent)).started
        found.append((first.started - begun).total_seconds() + first.seconds - each)
    return max(0.0, statistics.median(found)) if found else None
