"""What the benchmarks print about their peers, read as one table of ratios."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """A comparison with a peer that stands in what a benchmark prints.

    Attributes:
        benchmark: The benchmark's file.
        what: What is compared.
        peer: With whom.
        pattern: Finds it: a group `times`, how many times as much the peer takes; or `of`, how much of the peer's we
            take; or both numbers, `theirs` and `ours`.
    """

    benchmark: str
    what: str
    peer: str
    pattern: str

    def read(self, printed: str) -> float | None:
        """Return how many times as much the peer takes; None where the benchmark hasn't said it."""
        found = re.search(self.pattern, printed, re.M | re.S)
        if found is None:
            return None
        told = {name: float(text) for name, text in found.groupdict().items()}
        if "theirs" in told:
            return told["theirs"] / told["ours"]
        return told["times"] if "times" in told else 1 / told["of"]


_IMAGE = r"^plain +[\d.]+s +{}.*^ml-experiment image --only-imports +[\d.]+s +{}"
RATIOS: Sequence[Ratio] = (
    Ratio(
        "cell_overhead.py", "a cell that is recorded, without what libraries log", "MLflow's calls, by hand",
        r"^%%experiment --no-autolog +[\d.]+ +-?[\d.]+ +(?P<of>[\d.]+)x",
    ),
    Ratio(
        "model_logging.py", "a fit whose settings, scores and model are kept", "MLflow's autologging",
        r"^sklearn\b[^\n]*?(?P<times>\d+)x;",
    ),
    Ratio(
        "trial_overhead.py", "a trial, beside its own work", "Optuna with its MLflow callback, in one process",
        r"^Optuna with MLflow\b[^\n]*?(?P<times>[\d.]+)x",
    ),
    Ratio(
        "trial_overhead.py", "the same", "Ray Tune with its MLflow callback",
        r"^Ray Tune with MLflow\b[^\n]*?(?P<times>[\d.]+)x",
    ),
    Ratio(
        "notebooks_per_minute.py", "a headless notebook, its set-up shared, two slots", "papermill in a loop",
        r"^ours, set-up once, 2 slots\b[^\n]*?(?P<times>[\d.]+)x,",
    ),
    Ratio(
        "notebooks_per_minute.py", "the same, its set-up in each notebook", "papermill in a loop",
        r"^ours, set-up each, 2 slots\b[^\n]*?(?P<times>[\d.]+)x,",
    ),
    Ratio("fork_cost.py", "a task's start, with 1 GB at hand", "a fresh process", r"^task +ready (?P<times>\d+) times"),
    Ratio(
        "fork_cost.py", "a kernel's start, with 1 GB at hand", "a fresh kernel", r"^kernel +ready (?P<times>\d+) times"
    ),
    Ratio(
        "listing.py", "`ml-experiment ls`, a process", "`mlflow.search_runs`",
        r"^ls +[\d.]+ +[\d.]+ +(?P<times>[\d.]+)x",
    ),
    Ratio(
        "listing.py", "`runs()` of all runs, a process", "`mlflow.search_runs`",
        r"^runs\(\) +[\d.]+ +[\d.]+ +(?P<times>[\d.]+)x",
    ),
    Ratio("listing.py", "`best_run()`", "`mlflow.search_runs`, ordered", r"^best_run\(\) is (?P<times>\d+)x faster"),
    Ratio(
        "compare_widget.py", "runs side by side in the page, painted", "`search_runs` and its DataFrame",
        r"^search_runs and its table\b[^\n]*: (?P<times>[\d.]+) times ours",
    ),
    Ratio(
        "image.py", "an image built anew after a changed cell", "a Dockerfile of `pip freeze`",
        _IMAGE.format(r"(?P<theirs>[\d.]+)s", r"(?P<ours>[\d.]+)s"),
    ),
    Ratio(
        "image.py", "that image's size, `--only-imports`", "a Dockerfile of `pip freeze`",
        _IMAGE.format(r"[\d.]+s +(?P<theirs>\d+) MB", r"[\d.]+s +(?P<ours>\d+) MB"),
    ),
    Ratio("search_quality.py", "a search on four slots", "its trials in a row", r"(?P<times>[\d.]+) times as fast"),
)  # fmt: skip


def table(printed: Mapping[str, str]) -> list[str]:
    """Return the lines of a table: of each comparison that was made, how many times as much the peer takes.

    Args:
        printed: What the benchmarks have printed, by their files.
    """
    found = [(one, one.read(printed[one.benchmark])) for one in RATIOS if one.benchmark in printed]
    rows = [f"| {one.what} | {one.peer} | {_number(times)} | `{one.benchmark}` |" for one, times in found if times]
    return ["| Ours | The peer | It takes … times as much | By |", "| --- | --- | --- | --- |", *rows]


def _number(times: float) -> str:
    return f"{times:.0f}" if times >= 10 else f"{times:.2g}"
