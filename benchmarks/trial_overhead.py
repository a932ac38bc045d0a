"""What a trial costs beside its own work: ``python benchmarks/trial_overhead.py [TRIALS] [SLOTS]``.

A function that does nothing is searched with TPE and each trial is tracked in an MLflow store of its own on SQLite, by

- this package, as a group of `TRIALS` trials (200 by default) on `SLOTS` slots (2), inline and on Ray, each trial in a
  process of its own;
- Optuna alone, in one process, with its MLflow callback: no isolation, nothing in parallel;
- Ray Tune with OptunaSearch and its MLflow callback, with a tenth of the trials, for it takes seconds for each.

Every peer runs in a process of its own, in turns. A trial's cost is the time from the first trial's start to the last
one's end, divided by the trials; the start-up is told apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

GOAL_MS = 60


def main(trials: int = 200, slots: int = 2) -> None:
    few = max(10, trials // 10)
    found = {
        "Optuna with MLflow": peer("optuna", trials, 1),
        "ours, inline": peer("inline", trials, slots),
        "ours, on Ray": peer("ray", trials, slots),
        "Ray Tune with MLflow": peer("tune", few, slots),
    }
    ours = found["ours, inline"]["each"]
    print(f"{'':<22} {'trials':>6} {'start-up s':>10} {'ms a trial':>10} {'against':>12}")
    for name, one in found.items():
        print(f"{name:<22} {one['trials']:>6} {one['start']:>10.1f} {one['each']:>10.1f} {one['each'] / ours:>11.1f}x")
    for name in ("ours, inline", "ours, on Ray"):
        each = found[name]["each"]
        print(f"{name}: under {GOAL_MS} ms: {met(each < GOAL_MS)}; a twentieth of Ray Tune's: ", end="")
        print(f"{met(each < found['Ray Tune with MLflow']['each'] / 20)}; no more than Optuna's: ", end="")
        print(met(each <= found["Optuna with MLflow"]["each"]))


def met(is_so: bool) -> str:
    return "met" if is_so else "missed"


def peer(name: str, trials: int, slots: int) -> dict[str, float]:
    """Run one peer in a process and a folder of its own, and return what it measured."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        env = os.environ | {"ML_EXPERIMENT_ROOT": folder, "RAY_AIR_NEW_OUTPUT": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = [sys.executable, os.path.abspath(__file__), name, str(trials), str(slots)]
        ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{name}: {ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def ours(executor: str, trials: int, slots: int) -> None:
    from ml_experiment_nb.loop import follow
    from ml_experiment_nb.planning import make_plan
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.specs import spec_from_mapping
    from ml_experiment_nb.updates import Started

    asked = {
        "name": "nothing",
        "kind": "group",
        "run": {"function": nothing},
        "param_space": {"x": "uniform(0, 1)"},
        "metric": {"name": "loss", "direction": "minimize"},
        "num_trials": trials,
        "slots": slots,
        "executor": executor,
    }
    spec = spec_from_mapping(asked)
    began, first, ended = time.perf_counter(), None, 0
    for update in follow(make_plan(spec, values={"function": nothing})):
        if isinstance(update, Started) and not update.parent:
            first = first or time.perf_counter()
        ended += isinstance(update, Record) and update.ok
    assert ended == trials + 1, f"{ended - 1} of {trials} finished"
    say(trials, began, first)


def nothing(x: float) -> dict[str, float]:
    return {"loss": x}


def optuna_alone(trials: int) -> None:
    began = time.perf_counter()
    import optuna
    from optuna_integration.mlflow import MLflowCallback

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    callback = MLflowCallback(tracking_uri="sqlite:///mlflow.db", metric_name="loss")
    study = optuna.create_study(storage=optuna.storages.JournalStorage(journal()))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1, callbacks=[callback])  # makes the tables
    first = time.perf_counter()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials, callbacks=[callback])
    say(trials, began, first)


def journal() -> object:
    from optuna.storages.journal import JournalFileBackend

    return JournalFileBackend("study.log")


def ray_tune(trials: int, slots: int) -> None:
    began = time.perf_counter()
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False)
    callback = MLflowLoggerCallback(tracking_uri="sqlite:///mlflow.db", experiment_name="nothing")
    callback.setup()  # makes the tables
    first = time.perf_counter()
    tuner = tune.Tuner(
        lambda config: {"loss": config["x"]},
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=trials, search_alg=OptunaSearch(), max_concurrent_trials=slots
        ),
        run_config=tune.RunConfig(storage_path=os.getcwd(), callbacks=[callback], verbose=0),
    )
    results = tuner.fit()
    assert len(results) == trials, results.errors
    say(trials, began, first)


def say(trials: int, began: float, first: float) -> None:
    each = (time.perf_counter() - first) / trials * 1000
    print(json.dumps({"trials": trials, "start": first - began, "each": each}))


PEERS = {
    "optuna": lambda trials, slots: optuna_alone(trials),
    "inline": lambda trials, slots: ours("inline", trials, slots),
    "ray": lambda trials, slots: ours("ray", trials, slots),
    "tune": ray_tune,
}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PEERS:
        PEERS[sys.argv[1]](*map(int, sys.argv[2:]))
    else:
        main(*map(int, sys.argv[1:]))
