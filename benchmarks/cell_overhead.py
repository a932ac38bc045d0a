"""What recording a cell costs its user: ``python benchmarks/cell_overhead.py [CELLS] [PAUSE]``.

In one real kernel, by turns, `CELLS` times (20 by default) with a `PAUSE` of 0.1 s between cells, in which somebody
reads what a cell has shown, the same fit of scikit-learn's is run, once one of some 200 ms and once one of some 5 ms,

- as a plain cell;
- as a cell with hand-written ``mlflow.start_run``, ``log_params`` and ``log_metrics``, three facts in all;
- as an ``%%experiment`` cell that autologs nothing, which records besides its source, output, commit, packages, machine
  and identity;
- as an ``%%experiment`` cell as it is by default: it also has the estimator's settings and scores, and keeps the model.

Each writes to a store on SQLite of its own in a work tree of git. What is timed is what a user waits for: from sending
a cell to the kernel's last word about it. Then the same without any pause, where the rest of a cell's writes is paid by
the next one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client.manager import KernelManager

GOAL_RATIO, GOAL_MS = 1.3, 60
SET_UP = """
import os, mlflow
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
X, y = load_digits(return_X_y=True)
%load_ext ml_experiment_nb
mlflow.set_tracking_uri(f"sqlite:///{os.getcwd()}/by-hand.db")
mlflow.set_experiment("forest")
"""
FITS = {
    "forest": """
trees = 100
depth = 12
model = RandomForestClassifier(trees, max_depth=depth, random_state=1).fit(X[:1000], y[:1000])
""",
    "tree": """
trees = 1
depth = 12
model = DecisionTreeClassifier(max_depth=depth, random_state=1).fit(X[:700], y[:700])
""",
}
SCORE = "model.score(X[1000:], y[1000:])"
OURS = ("%%experiment --no-autolog", "%%experiment")


def cells_of(fit: str) -> dict[str, str]:
    """Return the same fit in each of the cells that are compared."""
    by_hand = "".join(f"    {line}\n" for line in fit.strip().splitlines())
    return {
        "plain": fit + SCORE,
        "by hand": (
            f"with mlflow.start_run():\n{by_hand}"
            "    mlflow.log_params({'trees': trees, 'depth': depth})\n"
            f"    mlflow.log_metrics({{'val_accuracy': {SCORE}}})"
        ),
        **{
            magic: f"{magic.replace('%%experiment', '%%experiment forest')}{fit}{{'val_accuracy': {SCORE}}}"
            for magic in OURS
        },
    }


def main(cells: int = 20, pause: float = 0.1) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        make_repository(Path(folder))
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=folder, env=os.environ | {"ML_EXPERIMENT_ROOT": folder, "OMP_NUM_THREADS": "1"})
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=120)
            run(client, SET_UP)
            for name, fit in FITS.items():
                sources = cells_of(fit)
                for source in sources.values():  # each imports what it needs
                    run(client, source)
                tell(measure(client, sources, cells, pause), f"{name}, {pause:g} s between cells")
                tell(measure(client, sources, cells, 0), f"{name}, one after the other")
        finally:
            client.stop_channels()
            manager.shutdown_kernel()


def measure(client: object, sources: dict[str, str], cells: int, pause: float) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(cells):
        for name, source in sources.items():
            time.sleep(pause)
            took[name].append(run(client, source))
    return took


def run(client: object, source: str) -> float:
    """Run a cell and return how long its user waits, in milliseconds."""
    began = time.perf_counter()
    reply = client.execute_interactive(source, timeout=120, output_hook=lambda _: None)
    took = time.perf_counter() - began
    if reply["content"]["status"] != "ok":
        sys.exit("\n".join(reply["content"]["traceback"]))
    return took * 1000


def tell(took: dict[str, list[float]], how: str) -> None:
    median = {name: statistics.median(times) for name, times in took.items()}
    print(f"{how:<30} {'median ms':>10} {'more than plain':>16} {'of by hand':>11}")
    for name, one in median.items():
        print(f"{name:<30} {one:>10.1f} {one - median['plain']:>16.1f} {one / median['by hand']:>10.2f}x", end="")
        if name in OURS:
            ratio, more = one / median["by hand"], one - median["plain"]
            print(f"   at most {GOAL_RATIO}: {'met' if ratio <= GOAL_RATIO else 'missed'}", end="; ")
            print(f"under {GOAL_MS} ms: {'met' if more <= GOAL_MS else 'missed'}", end="")
        print()


def make_repository(folder: Path) -> None:
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main"]
    (folder / "train.py").write_text("C = 1\n")
    (folder / ".gitignore").write_text("*.db*\n")
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    main(*(float(word) if "." in word else int(word) for word in sys.argv[1:]))
