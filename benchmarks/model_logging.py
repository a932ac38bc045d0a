"""What a fit costs when its parameters, scores and model are kept: ``model_logging.py [N] [LIBRARY]``.

Ours, a tracked call from its beginning to its end, against MLflow's own autologging with a model, in a run opened by
hand, and against the fit alone; of a loop of PyTorch's, for which MLflow has no autologging, against its ``log_model``.
Each number is the median of N fits (5 by default) of a process of its own, the first one apart, since what it imports
is paid once. Computing has one thread: the threads of a fit that lasts milliseconds wait for each other, on a busy
machine for seconds. A library that isn't installed is left out.
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
    "lightgbm": """
from lightgbm import LGBMClassifier
def fit():
    LGBMClassifier(n_estimators=10, verbose=-1).fit(X, y, eval_set=[(X, y)])
""",
    "torch": """
import torch
a, b = torch.from_numpy(X), torch.from_numpy(y).float()[:, None]
loss_of = torch.nn.BCEWithLogitsLoss()
def fit():
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(10):
        optimizer.zero_grad()
        loss_of(model(a), b).backward()
        optimizer.step()
    return model
""",
    "lightning": """
import logging, lightning, torch
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y).float()[:, None])
quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)
    def training_step(self, batch, index):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
def fit():
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", **quiet)
    trainer.fit(Net(), torch.utils.data.DataLoader(data, batch_size=50))
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
tracked = fit
"""
OURS = """
from ml_experiment_nb import job
@job
def tracked():
    fit()
"""
MLFLOWS = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
{autolog}
def tracked():
    with mlflow.start_run():
        {fit}
"""
LOGGED = ("import mlflow.pytorch", "mlflow.pytorch.log_model(fit(), name='model', serialization_format='pickle')")
REPORT = """
import json, time
def measured():
    began = time.perf_counter()
    tracked()
    return time.perf_counter() - began
print(json.dumps([measured() for _ in range({n})]))
"""


def main(n: int = 5, only: str | None = None) -> None:
    print(f"{'':<10} {'alone':>9} {'ours':>9} {'MLflow':>9}   of it, for the record: ours, MLflow, ratio; first fits")
    for name, source in FITS.items():
        if only not in (None, name):
            continue
        if find_spec(name) is None:
            print(f"{name:<10} not installed")
            continue
        flavor = "pytorch" if name == "lightning" else name
        setting, fitted = LOGGED if name == "torch" else (f"mlflow.{flavor}.autolog(silent=True)", "fit()")
        by_mlflow = MLFLOWS.replace("{autolog}", setting).replace("{fit}", fitted)
        alone, ours, theirs = (
            seconds(DATA + source + way + REPORT.replace("{n}", str(n + 1))) for way in (ALONE, OURS, by_mlflow)
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
            env={**env, "ML_EXPERIMENT_ROOT": folder, "MLFLOW_DISABLE_TELEMETRY": "true", "TF_CPP_MIN_LOG_LEVEL": "3",
                 "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"it failed after {time.perf_counter() - began:.0f} s:\n{done.stderr}")
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
