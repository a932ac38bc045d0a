"""How good a parallel search is: ``python benchmarks/search_quality.py [SEEDS] [SLOTS]``.

TPE with `SLOTS` slots (4) against Optuna's own loop, with the same number of trials and the same sampler: the best
value that each finds on Branin, on Hartmann6 and for an SVM on scikit-learn's digits, over `SEEDS` seeds (10). Optuna
runs one trial after the other, and also, in its own process, as if `SLOTS` of them ran at once: what is lost then is
lost by asking before the last answers have come, whoever asks.

The quality is met where our mean is worse by no more than two standard errors of the difference. The time is that of
one search whose trials sleep for a second, as if something was trained, so that slots pay on few cores too; it is met
where the search is faster than its trials in a row by three quarters of the slots.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

DIGITS = load_digits()
PARTS = train_test_split(DIGITS.data, DIGITS.target, test_size=0.4, random_state=1)
SHORT, LONG = 0.05, 1.0  # seconds that a trial sleeps: where its quality counts, and its time
SHARE = 0.75  # of the slots, by which a search should be faster

pause = SHORT


def branin(x: float, y: float) -> dict[str, float]:
    time.sleep(pause)
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return {"value": bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10}


def hartmann6(a: float, b: float, c: float, d: float, e: float, f: float) -> dict[str, float]:
    time.sleep(pause)
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
    """A function to minimise, its space, and how many trials it gets."""

    function: Callable[..., dict[str, float]]
    space: dict[str, str]
    trials: int


PROBLEMS = (
    Problem(branin, {"x": "uniform(-5, 10)", "y": "uniform(0, 15)"}, 60),
    Problem(hartmann6, dict.fromkeys("abcdef", "uniform(0, 1)"), 80),
    Problem(svm, {"C": "loguniform(0.001, 1000)", "gamma": "loguniform(1e-7, 1)"}, 20),
)


def main(seeds: int = 10, slots: int = 4) -> None:
    columns = ("Optuna in a row", f"Optuna, {slots} at once", f"ours, {slots} slots")
    print(f"{'best value, mean ± SE':<22} {'trials':>6}" + "".join(f"{name:>20}" for name in columns))
    for problem in PROBLEMS:
        alone = [optuna_alone(problem, seed, 1) for seed in range(seeds)]
        at_once = [optuna_alone(problem, seed, slots) for seed in range(seeds)]
        mine = [best for best, _ in (ours(problem, seed, slots) for seed in range(seeds))]
        texts = [f"{statistics.fmean(one):.4f} ± {error(one):.4f}" for one in (alone, at_once, mine)]
        print(f"{problem.function.__name__:<22} {problem.trials:>6}" + "".join(f"{text:>20}" for text in texts))
        print(f"  no worse than in a row: {met(is_as_good(mine, alone))}", end="; ")
        print(f"than Optuna with {slots} at once: {met(is_as_good(mine, at_once))}")
    _measure_time(slots)


def _measure_time(slots: int) -> None:
    global pause
    pause = LONG
    trials = 10 * slots
    _, seconds = ours(replace(PROBLEMS[0], trials=trials), 0, slots)
    faster = trials * LONG / seconds
    print(
        f"{trials} trials of {LONG:g} s in {seconds:.1f} s: {faster:.1f} times as fast: {met(faster >= SHARE * slots)}"
    )


def is_as_good(mine: list[float], others: list[float]) -> bool:
    worse = statistics.fmean(mine) - statistics.fmean(others)
    return worse <= 2 * math.hypot(error(mine), error(others))


def error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def met(is_so: bool) -> str:
    return "met" if is_so else "missed"


def optuna_alone(problem: Problem, seed: int, at_once: int) -> float:
    """Return the best value that Optuna finds by itself, where `at_once` trials are asked for before one is told."""
    import optuna

    from ml_experiment_nb import optuna_spaces, spaces

    global pause
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = optuna_spaces.to_optuna({name: spaces.parse(text) for name, text in problem.space.items()})
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    running: list[optuna.Trial] = []
    before, pause = pause, 0.0
    for left in range(problem.trials, 0, -1):
        while len(running) < min(at_once, left):
            running.append(study.ask(space))
        trial = running.pop(0)
        study.tell(trial, problem.function(**trial.params)["value"])
    pause = before
    return study.best_value


def ours(problem: Problem, seed: int, slots: int) -> tuple[float, float]:
    """Return the best value that a group finds, and the seconds from its first trial's start to its last one's end."""
    from ml_experiment_nb.loop import follow
    from ml_experiment_nb.planning import make_plan
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.specs import spec_from_mapping
    from ml_experiment_nb.updates import Started

    asked: dict[str, Any] = {
        "kind": "group", "name": problem.function.__name__, "run": {"function": problem.function},
        "param_space": problem.space, "metric": "value", "num_trials": problem.trials, "seed": seed, "slots": slots,
        "executor": "inline",
    }  # fmt: skip
    began, values = 0.0, []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ["ML_EXPERIMENT_ROOT"] = folder
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
