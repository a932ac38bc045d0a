"""What a fit costs when its parameters, scores and model are kept: ``python benchmarks/model_logging.py [N]``.

Ours, in a tracked call, against MLflow's own autologging with a model, in a run opened by hand, and against the fit
alone. Each number is the median of N fits (5 by default) of a process of its own, the first one apart, since what it
imports is paid once. A library that isn't installed is left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

DATA = """
import numpy as np
X = np.random.default_rng(0).normal(size=(200, 8)).astype("float32")
y = (X[:, 0] > 0).astype("int32")
"""
FITS = {
    "sklearn": """
from sklearn.linear_model import LogisticRegression
def fit():
    LogisticRegression().fit(X, y)
""",
    "xgboost": """
from xgboost import XGBClassifier
def fit():
    XGBClassifier(n_estimators=10).fit(X, y, eval_set=[(X, y)], verbose=False)
""",
    "keras": """
import keras
def fit():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    model.fit(X, y, epochs=3, verbose=0)
""",
}
ALONE = """
def tracked():
    return measured()
"""
OURS = """
from ml_experiment_nb import job
kept = []
@job
def train():
    kept.append(measured())
def tracked():
    train()
    return kept.pop()
"""
MLFLOWS = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.{flavor}.autolog(silent=True)
def tracked():
    with mlflow.start_run():
        return measured()
"""
MEASURE = """
import json, time
def measured():
    began = time.perf_counter()
    fit()
    return time.perf_counter() - began
"""
REPORT = """
print(json.dumps([tracked() for _ in range({n})]))
"""


def main(n: int = 5) -> None:
    print(f"{'':<10} {'alone':>9} {'ours':>9} {'MLflow':>9}   of it, for the record: ours, MLflow, ratio; first fits")
    for name, source in FITS.items():
        if find_spec(name) is None:
            print(f"{name:<10} not installed")
            continue
        alone, ours, theirs = (
            seconds(DATA + source + MEASURE + way.replace("{flavor}", name) + REPORT.replace("{n}", str(n + 1)))
            for way in (ALONE, OURS, MLFLOWS)
        )
        plain, mine, other = (median(found[1:]) for found in (alone, ours, theirs))
        cost, others = max(mine - plain, 1e-3), other - plain
        verdict = "met" if cost < 0.3 else "missed"
        print(
            f"{name:<10} {plain:7.3f} s {mine:7.3f} s {other:7.3f} s   {cost:.3f} s (goal 0.3 s: {verdict}), "
            f"{others:.2f} s, {others / cost:.0f}x; {ours[0]:.1f} s, {theirs[0]:.1f} s"
        )


def seconds(source: str) -> list[float]:
    """Run a program in a folder of its own, and return what it measured."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "ML_EXPERIMENT_"))}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "program.py").write_text(source)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, check=False,
            env={**env, "ML_EXPERIMENT_ROOT": folder, "MLFLOW_DISABLE_TELEMETRY": "true", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"it failed after {time.perf_counter() - began:.0f} s:\n{done.stderr}")
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
