"""How long the extension and the command take to start: ``python benchmarks/start_time.py [N]``.

Each number is the median of N fresh processes (15 by default). Loading the extension is measured over bare IPython.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

IPYTHON = [sys.executable, "-m", "IPython", "--no-banner", "--quick", "-c"]
COMMAND = str(Path(sys.executable).with_name("ml-experiment"))


def main(n: int = 15) -> None:
    cases = {
        "bare": [*IPYTHON, "pass"],
        "loaded": [*IPYTHON, "%load_ext ml_experiment_nb"],
        "help": [COMMAND, "--help"],
    }
    seconds = {name: [] for name in cases}
    for words in cases.values():
        took(words)  # once to warm the disk's cache
    for _ in range(n):  # in turns, so that a busy moment of the machine hits all of them
        for name, words in cases.items():
            seconds[name].append(took(words))
    bare, loaded, command = (1000 * median(seconds[name]) for name in cases)
    print(f"bare IPython            {bare:5.0f} ms")
    show("%load_ext over it", loaded - bare, goal=150)
    show("ml-experiment --help", command, goal=300)


def took(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def show(name: str, found: float, *, goal: float) -> None:
    print(f"{name:<23} {found:5.0f} ms   goal {goal:.0f} ms   {'met' if found < goal else 'missed'}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
