"""How good a parallel search is: ``python benchmarks/search_quality.py [SEEDS] [SLOTS]``.

TPE with `SLOTS` slots (4) against Optuna's own loop, one trial after the other, with the same number of trials and the
same sampler: the best value that each finds on Branin, on Hartmann6 and for an SVM on scikit-learn's digits, over
`SEEDS` seeds (10). Both functions sleep for a while, as if they were trained, so that slots pay on few cores.

The quality is met where our mean is no worse than Optuna's by more than two standard errors of their difference, the
time where the search is faster by three quarters of the slots; the SVM, of a fifth of a second, is too short for that.
What Optuna alone takes for the functions is what its trials would sleep.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

DIGITS = load_digits()
PARTS = train_test_split(DIGITS.data, DIGITS.target, test_size=0.4, random_state=1)
SLEEP = 1.0  # seconds
SHARE = 0.75  # of the slots, by which a search should be faster


def branin(x: float, y: float) -> dict[str, float]:
    time.sleep(SLEEP)
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return {"value": bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10}


def hartmann6(a: float, b: float, c: float, d: float, e: float, f: float) -> dict[str, float]:
    time.sleep(SLEEP)
    alpha = (1.0, 1.2, 3.0, 3.2)
    A = (
        (10, 3, 17, 3.5, 1.7, 8),
        (0.05, 10, 17, 0.1, 8, 14),
        (3, 3.5, 1.7, 10, 17, 8),
        (17, 8, 0.05, 10, 0.1, 14),
    )
    P = (
        (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
        (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
        (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
        (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
    )
    inner = [
        sum(w * (x - p) ** 2 for w, x, p in zip(row, (a, b, c, d, e, f), at, strict=True))
        for row, at in zip(A, P, strict=True)
    ]
    return {"value": -sum(w * math.exp(-s) for w, s in zip(alpha, inner, strict=True))}


def svm(C: float, gamma: float) -> dict[str, float]:
    X_train, X_val, y_train, y_val = PARTS
    return {"value": 1 - SVC(C=C, gamma=gamma).fit(X_train, y_train).score(X_val, y_val)}


@dataclass(frozen=True)
class Problem:
    """A function to minimise, its space, and how many trials it gets; `sleeps`: its time is that of its sleep."""

    function: Callable[..., dict[str, float]]
    space: dict[str, str]
    trials: int
    sleeps: bool = True


PROBLEMS = (
    Problem(branin, {"x": "uniform(-5, 10)", "y": "uniform(0, 15)"}, 30),
    Problem(hartmann6, dict.fromkeys("abcdef", "uniform(0, 1)"), 40),
    Problem(svm, {"C": "loguniform(0.001, 1000)", "gamma": "loguniform(1e-7, 1)"}, 24, sleeps=False),
)


def main(seeds: int = 10, slots: int = 4) -> None:
    print(f"{'':<10} {'trials':>6} {'Optuna, mean ± SE':>22} {'ours, mean ± SE':>22} {'alone s':>8} {'ours s':>7}")
    for problem in PROBLEMS:
        alone = [optuna_alone(problem, seed) for seed in range(seeds)]
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            os.environ["ML_EXPERIMENT_ROOT"] = folder
            mine = [ours(problem, seed, slots) for seed in range(seeds)]
        report(problem, alone, mine, slots)


def report(problem: Problem, alone: list[tuple[float, float]], mine: list[tuple[float, float]], slots: int) -> None:
    bests = [[best for best, _ in runs] for runs in (alone, mine)]
    means, errors = [statistics.fmean(one) for one in bests], [error(one) for one in bests]
    seconds = [statistics.median(took for _, took in runs) for runs in (alone, mine)]
    texts = [f"{mean:.4f} ± {se:.4f}" for mean, se in zip(means, errors, strict=True)]
    name = problem.function.__name__
    print(f"{name:<10} {problem.trials:>6} {texts[0]:>22} {texts[1]:>22} {seconds[0]:>8.1f} {seconds[1]:>7.1f}")
    is_good = means[1] - means[0] <= 2 * math.hypot(*errors)
    faster = seconds[0] / seconds[1]
    print(f"  no worse than Optuna alone: {met(is_good)}", end="")
    print(f"; {faster:.1f} times as fast in {slots} slots: {met(faster >= SHARE * slots)}" if problem.sleeps else "")


def error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def met(is_so: bool) -> str:
    return "met" if is_so else "missed"


def optuna_alone(problem: Problem, seed: int) -> tuple[float, float]:
    """Return the best value that Optuna finds by itself, and the seconds that it takes."""
    import optuna

    from ml_experiment_nb import spaces

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = spaces.to_optuna({name: spaces.parse(text) for name, text in problem.space.items()})
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    sleep, time.sleep = time.sleep, lambda seconds: None  # what it sleeps is known
    began = time.perf_counter()
    try:
        for _ in range(problem.trials):
            trial = study.ask(space)
            study.tell(trial, problem.function(**trial.params)["value"])
    finally:
        time.sleep = sleep
    slept = SLEEP * problem.trials if problem.sleeps else 0.0
    return study.best_value, time.perf_counter() - began + slept


def ours(problem: Problem, seed: int, slots: int) -> tuple[float, float]:
    """Return the best value that a group finds, and the seconds from its first trial's start to its last one's end."""
    from ml_experiment_nb.plans import make_plan
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.runs import Started, follow
    from ml_experiment_nb.specs import spec_from_mapping

    asked: dict[str, Any] = {
        "kind": "group", "name": problem.function.__name__, "run": {"function": problem.function},
        "param_space": problem.space, "metric": "value", "num_trials": problem.trials, "seed": seed, "slots": slots,
        "executor": "inline",
    }  # fmt: skip
    began, values = 0.0, []
    for update in follow(make_plan(spec_from_mapping(asked), values={"function": problem.function})):
        if isinstance(update, Started) and not update.parent:
            began = began or time.perf_counter()
        if isinstance(update, Record) and update.kind == "trial":
            values.append(update.metrics["value"])
            ended = time.perf_counter()
    assert len(values) == problem.trials
    return min(values), ended - began


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
