"""How a trial's cost grows with their number: ``python benchmarks/many_trials.py [TRIALS] [SLOTS] [inline|ray]``.

A function that does nothing is searched by a group of `TRIALS` trials (5,000 by default) on `SLOTS` slots (2), inline
by default, once with a random sampler and once with TPE, each in a process and a store of its own. Told are what a
trial costs at the start and at the end (the first and the last tenth): the time that passes, and what of the driver's
own processor time is spent on it, which other work on the machine changes less. Of that, Optuna's asking and telling is
told apart: it grows by its own nature, for TPE looks at every trial before it. And the driver's memory after the first
tenth and at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import psutil

GOAL = 1.5  # times that a trial may cost at the end what it costs at the start, beside Optuna's part


def main(trials: int = 5000, slots: int = 2, executor: str = "inline") -> None:
    print(f"{trials} trials on {slots} slots, {executor}: first and last tenth, ms a trial")
    print(f"{'sampler':<8} {'passes':>16} {'driver':>16} {'of it Optuna':>16} {'MB after it':>16} {'kB a trial':>10}")
    for sampler in ("Random", "TPE"):
        one = apart(sampler, trials, slots, executor)
        texts = [between(one[name]) for name in ("passes", "driver", "optuna", "rss")]
        print(f"{sampler:<8} {texts[0]:>16} {texts[1]:>16} {texts[2]:>16} {texts[3]:>16} {one['growth']:>10.1f}")
        rest = [one["driver"][k] - one["optuna"][k] for k in (0, 1)]
        goal = "met" if rest[1] <= GOAL * rest[0] else "missed"
        print(f"{'':<8} the driver's own part, without Optuna, grows {rest[1] / rest[0]:.2f} times: {goal}", flush=True)


def between(pair: list[float]) -> str:
    return f"{pair[0]:.1f} → {pair[1]:.1f}"


def apart(sampler: str, trials: int, slots: int, executor: str) -> dict[str, list[float]]:
    """Run a group in a process and a folder of its own, and return what it measured."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        env = os.environ | {"ML_EXPERIMENT_ROOT": folder, "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = [sys.executable, os.path.abspath(__file__), sampler, str(trials), str(slots), executor]
        ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{sampler}: {ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def measure(sampler: str, trials: int, slots: int, executor: str) -> None:
    from ml_experiment_nb.loop import follow
    from ml_experiment_nb.planning import make_plan
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.search import Search
    from ml_experiment_nb.specs import spec_from_mapping

    asked = {
        "name": "nothing",
        "kind": "group",
        "run": {"function": nothing},
        "param_space": {"x": "uniform(0, 1)", "k": "randint(1, 9)", "kernel": "choice(['rbf', 'linear'])"},
        "metric": {"name": "loss", "direction": "minimize"},
        "sampler": sampler,
        "seed": 1,
        "num_trials": trials,
        "slots": slots,
        "executor": executor,
    }
    plan = make_plan(spec_from_mapping(asked), values={"function": nothing})
    spent = [0.0]
    for name in ("ask", "tell"):
        setattr(Search, name, timed(getattr(Search, name), spent))
    marks = []
    for update in follow(plan):
        if isinstance(update, Record) and update.kind == "trial":
            assert update.ok, update
            memory = psutil.Process().memory_info().rss / 1e6
            marks.append((time.perf_counter(), time.process_time(), spent[0], memory))
    assert len(marks) == trials
    few, start = max(2, trials // 10), max(1, trials // 100)  # the very first ones wait for the fork server
    first, last = (marks[start], marks[few], few - start), (marks[-few - 1], marks[-1], few)
    found = {
        name: [(b[k] - a[k]) / n * 1000 for a, b, n in (first, last)]
        for k, name in enumerate(("passes", "driver", "optuna"))
    }
    found |= {"rss": [marks[few][3], marks[-1][3]], "growth": (marks[-1][3] - marks[few][3]) / (trials - few) * 1000}
    print(json.dumps(found))


def timed(method, spent):
    def call(*args, **kwargs):
        began = time.thread_time()
        try:
            return method(*args, **kwargs)
        finally:
            spent[0] += time.thread_time() - began

    return call


def nothing(x: float, k: int, kernel: str) -> dict[str, float]:
    return {"loss": x + k}


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("Random", "TPE"):
        measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        words = sys.argv[1:]
        main(*map(int, words[:2]), *words[2:])
