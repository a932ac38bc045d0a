"""How long `ml-experiment check` takes for a notebook of 100 cells: ``python benchmarks/preflight.py [N]``.

Each number is the median of N: of fresh processes (9 by default), and of calls in one process that has it loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

COMMAND = str(Path(sys.executable).with_name("ml-experiment"))
KINDS = [
    "%load_ext ml_experiment_nb\nimport numpy as np\nfrom sklearn.svm import SVC\nrng = np.random.default_rng(1)",
    "X{k} = rng.normal(size=(100, 5))\ny{k} = (X{k}.sum(axis=1) > 0).astype(int)\n!ls {{k}}",
    "def fit{k}(C, kernel='rbf'):\n    model = SVC(C=C, kernel=kernel)\n    return model.fit(X{j}, y{j})\n",
    "%%experiment 'number {k}' --into run{k}\nC = 0.5\nkernel = 'rbf'\n\nmodel = fit{i}(C, kernel)\n"
    "{{'accuracy': model.score(X{h}, y{h}), **{{f'{{n}}': n for n in range(3)}}}}",
    "with open('data/out-{k}.txt', 'w') as file:\n    for row in run{j}.metrics:\n        print(row, file=file)",
]


def main(n: int = 9) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notebook.ipynb"
        path.write_text(notebook())
        whole = median(took(lambda: subprocess.run([COMMAND, "check", path], check=True, capture_output=True), n))
        helped = median(took(lambda: subprocess.run([COMMAND, "--help"], check=True, capture_output=True), n))
        from ml_experiment_nb import check

        assert not check(path, ignore=["undefined"]), check(path)
        call = median(took(lambda: check(path), n))
    print(f"ml-experiment --help     {helped:5.0f} ms")
    show("ml-experiment check", whole, goal=500)
    show("the call alone", call, goal=500)


def notebook(cells: int = 100) -> str:
    made = []
    for k in range(cells):
        kind = KINDS[0] if k == 0 else KINDS[1 + (k - 1) % 4]
        source = kind.format(k=k, j=k - 1, i=k - 1, h=k - 2)
        made.append({"cell_type": "code", "id": f"c{k}", "metadata": {}, "source": source, "outputs": []})
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


def took(work, n: int) -> list[float]:
    work()  # once to warm the disk's cache
    found = []
    for _ in range(n):
        began = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - began))
    return found


def show(name: str, found: float, *, goal: float) -> None:
    print(f"{name:<24} {found:5.0f} ms   goal {goal:.0f} ms   {'met' if found < goal else 'missed'}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
