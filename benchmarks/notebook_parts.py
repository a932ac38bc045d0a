"""Where a warm notebook's time goes: ``python benchmarks/notebook_parts.py [N]``.

The three-cell notebook of `notebooks_per_minute` is executed N times (30 by default) as a trial's process does it, in
this one, with kernels forked after the set-up; each part's mean is printed. The CPU of the kernel's side is what the
fork server's children have used. What a trial costs besides (its own fork, MLflow's calls), `trial_overhead` measures.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from notebooks_per_minute import write_inputs
from papermill import iorw

from ml_experiment_nb.kernelspecs import beginning
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.targets import Notebook
from ml_experiment_nb.work import client, engine, kernels, notebook, setups
from ml_experiment_nb.work.forkserver import ForkServer
from ml_experiment_nb.work.forkwire import FORKS

PARTS = (
    (kernels.ForkProvisioner, "launch_kernel", "fork"),
    (client.HeadlessClient, "wait_for_ready", "kernel's start, until it answers"),
    (engine.Client, "_ask", "questions of ours (watch, last value)"),
    (engine.Client, "execute_cell", "cells, over zmq and nbclient"),
    (kernels.ForkProvisioner, "shutdown_requested", "kernel's end"),
    (iorw.PapermillIO, "write", "writing"),
)


class Sink:
    """Takes what a trial would send."""

    def __init__(self, folder: str) -> None:
        self.artifacts = Path(folder, "artifacts")

    def send(self, event: object) -> None:
        """Take an event."""

    def ask(self, event: object) -> bool:
        """Let the trial go on."""
        return False


def main(n: int = 30) -> None:
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.chdir(folder)
        os.mkdir("artifacts")
        write_inputs(1)
        target = Notebook(path=os.path.abspath("once.ipynb"))
        task = Task("0", "bench", (Step(target, {}),), {}, cwd=folder)
        server = ForkServer(setups.kernel_setup(task, target, beginning(target)))
        server.wait()
        assert server.unsafe is None, server.unsafe
        os.environ[FORKS] = server.setup.listen or ""
        notebook.run_notebook(target, {"C": 1.0}, Sink(folder), None)  # imports what it imports
        for cls, method, part in PARTS:
            measure(cls, method, part, spent)
        began, cpu, kernel_cpu = time.perf_counter(), time.process_time(), children_cpu(server)
        for k in range(n):
            notebook.run_notebook(target, {"C": 1.0 + k}, Sink(folder), None)
        wall = time.perf_counter() - began
        cpu, kernel_cpu = time.process_time() - cpu, children_cpu(server) - kernel_cpu
        server.close()
    rest = wall - sum(spent.values())
    for part, seconds in [*spent.items(), ("the rest of papermill and nbclient", rest), ("in all", wall)]:
        print(f"{part:<40}{1000 * seconds / n:>8.1f} ms")
    print(f"{side('papermill'):<40}{1000 * cpu / n:>8.1f} ms")
    print(f"{side('the kernel'):<40}{1000 * kernel_cpu / n:>8.1f} ms")


def side(of: str) -> str:
    return f"CPU on the side of {of}"


def measure(cls: type, method: str, part: str, spent: Counter[str]) -> None:
    """Have a method's time added up."""
    original = getattr(cls, method)

    def timed(*arguments: object, **options: object) -> object:
        began = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            spent[part] += time.perf_counter() - began

    async def timed_async(*arguments: object, **options: object) -> object:
        began = time.perf_counter()
        try:
            return await original(*arguments, **options)
        finally:
            spent[part] += time.perf_counter() - began

    setattr(cls, method, timed_async if asyncio.iscoroutinefunction(original) else timed)


def children_cpu(server: ForkServer) -> float:
    """Return the CPU seconds of what was forked and has ended."""
    found = [server._process.pid, *(one.pid for one in psutil.Process(server._process.pid).children(recursive=True))]
    times = [psutil.Process(pid).cpu_times() for pid in found]
    return sum(one.children_user + one.children_system for one in times)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
