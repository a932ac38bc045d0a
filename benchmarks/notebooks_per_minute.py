"""Headless notebooks a minute: ``python benchmarks/notebooks_per_minute.py [N]``.

One notebook of three cells (data, parameters, a support vector machine of scikit-learn) is executed with many values of
its parameter, by

- the papermill command, a process for each notebook;
- papermill in a loop in one process;
- ``ml-experiment run --each``, N notebooks (200 by default) on one slot and on two, tracked in MLflow. Once with the
  data's cell above the parameters, where it runs once for all, and once below them, where it runs in every notebook.

Ratios are against the loop's own pace, its import left out: "in all" counts every start-up of the other, "running" is
the pace between the first notebook's end and the last one's. CPU is what the machine spent on a notebook, start-ups
included, over what its cells compute themselves; Ray's is out of sight.
"""

from __future__ import annotations

import csv
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

DATA = """\
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

X, y = load_iris(return_X_y=True)
X_train, X_val, y_train, y_val = train_test_split(X, y, random_state=0)"""
FIT = """\
model = SVC(C=C).fit(X_train, y_train)
{"val_accuracy": model.score(X_val, y_val)}"""
LOOP = """\
import sys, time, papermill
for k in range(int(sys.argv[1])):
    papermill.execute_notebook("once.ipynb", "out.ipynb", {"C": 0.1 + k}, progress_bar=False)
    print(time.perf_counter(), flush=True)"""
OURS = (
    ("once", 1, "inline"),
    ("whole", 1, "inline"),
    ("once", 2, "inline"),
    ("once", 2, "ray"),
    ("whole", 2, "ray"),
)
BIN = Path(sys.executable).parent


def main(n: int = 200) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.chdir(folder)
        write_inputs(n)
        own = compute()
        papermill = [str(BIN / "papermill"), "--no-progress-bar", "--log-level", "ERROR", "once.ipynb", "out.ipynb"]
        found = {"papermill, the command": several([*papermill, "-p", "C", "0.5"], 3)}
        found["papermill, a loop"] = loop = timed([sys.executable, "-c", LOOP, "6"], 6)
        for notebook, slots, executor in OURS:
            command = [str(BIN / "ml-experiment"), "run", f"{notebook}.ipynb", "--each", "params.csv", "--json"]
            took = timed([*command, "--slots", str(slots), "--executor", executor], n)
            what = "set-up once" if notebook == "once" else "set-up each"
            found[f"ours, {what}, {slots} slots {executor}"] = took if executor == "inline" else (*took[:3], math.nan)
        head = ("", "n", "s in all", "a minute", "running", "CPU s each")
        print(f"{head[0]:<36}" + "".join(f"{one:>12}" for one in head[1:]) + f"{'against the loop':>24}")
        for name, (count, seconds, pace, cpu) in found.items():
            ratio = f"{loop[2] / (seconds / count):.1f}x, {loop[2] / pace:.1f}x running"
            figures = f"{count:>12}{seconds:>12.1f}{60 * count / seconds:>12.1f}{60 / pace:>12.1f}{cpu - own:>12.3f}"
            print(f"{name:<36}{figures}{ratio:>24}")
        print(
            f"the cells' own compute: {own:.3f} s of CPU; goals for two slots: 25x in all, 40x running, 0.15 s of CPU"
        )


def write_inputs(n: int) -> None:
    cell = nbformat.v4.new_code_cell
    parameters = cell("C = 1.0", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, cells in (("once", [cell(DATA), parameters]), ("whole", [parameters, cell(DATA)])):
        nbformat.write(nbformat.v4.new_notebook(cells=[*cells, cell(FIT)], metadata=kernel), f"{name}.ipynb")
    with open("params.csv", "w", newline="") as file:
        csv.writer(file).writerows([["C"], *([0.01 + 0.05 * k] for k in range(n))])


def compute() -> float:
    """Return the CPU seconds of the cell that every notebook runs, without imports."""
    names: dict[str, object] = {"C": 1.0}
    exec(DATA, names)
    began = time.process_time()
    for _ in range(10):
        exec(FIT, names)
    return (time.process_time() - began) / 10


def several(command: list[str], n: int) -> tuple[int, float, float, float]:
    """Run a command for each notebook."""
    began, cpu = time.perf_counter(), children_cpu()
    for _ in range(n):
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return n, seconds, seconds / n, (children_cpu() - cpu) / n


def timed(command: list[str], n: int) -> tuple[int, float, float, float]:
    """Run one command for all notebooks; it prints a line for each."""
    began, cpu, ends = time.perf_counter(), children_cpu(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            ends.append(time.perf_counter())
    assert process.returncode == 0, command
    assert len(ends) >= n, f"{len(ends)} of {n}: {command}"
    return n, time.perf_counter() - began, (ends[n - 1] - ends[0]) / (n - 1), (children_cpu() - cpu) / n


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
