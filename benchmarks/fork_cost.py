"""What a fork costs after a 1 GB prefix, against a fresh process: ``python benchmarks/fork_cost.py [N]``.

A task's child is forked from a server that has read a 1 GB array from a payload, a kernel's from one whose set-up cell
has made such an array. Each number is the median of N children (10 by default). `fork` is the time from the request
until the child is there, `ready` until a task has reported, or a kernel has run its first cell (a fresh one makes the
array there); `private` is what the child has in memory for itself then.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cloudpickle
import nbformat
import numpy as np
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb.events import Metrics
from ml_experiment_nb.kernelspecs import beginning
from ml_experiment_nb.plans import Step, Task, travels_in_payload
from ml_experiment_nb.targets import Function, Notebook
from ml_experiment_nb.wire import Inbox
from ml_experiment_nb.work.children import Child, Fresh
from ml_experiment_nb.work.forkserver import ForkServer
from ml_experiment_nb.work.payload import write_payload
from ml_experiment_nb.work.perform import Request
from ml_experiment_nb.work.setups import kernel_setup, work_setup

ITEMS = 125_000_000  # float64: 1 GB
LATENCY, PRIVATE = 20.0, 40.0  # the goals: ms and MB


def main(n: int = 10) -> None:
    with tempfile.TemporaryDirectory(prefix="mlexp-bench-") as name:
        folder = Path(name)
        print(f"after a prefix of {8 * ITEMS / 1e9:g} GB, medians of {n}\n")
        print(f"{'':<22}{'fork':>12}{'ready':>12}{'private':>12}")
        rows = {"task, forked": task(folder, n), "kernel, forked": kernel(folder, n)}
        for title, fresh in (("task", fresh_task(folder, n)), ("kernel", fresh_kernel(folder, n))):
            rows[f"{title}, fresh"] = fresh
        for title, (fork, ready, private) in rows.items():
            first = f"{fork:9.1f} ms" if fork is not None else f"{'-':>12}"
            print(f"{title:<22}{first}{ready:9.0f} ms{private:9.1f} MB")
        print()
        for title in ("task", "kernel"):
            fork, ready, private = rows[f"{title}, forked"]
            _, cold, held = rows[f"{title}, fresh"]
            met = "met" if fork < LATENCY and private < PRIVATE else "missed"
            print(f"{title:<7} ready {cold / ready:.0f} times as soon, with {held / private:.0f} times less of its own;"
                  f" goal {LATENCY:.0f} ms and {PRIVATE:.0f} MB: {met}")  # fmt: skip


def task(folder: Path, n: int) -> tuple[float, float, float]:
    one = _task(folder)
    with Wire() as inbox:
        server = ForkServer(work_setup(one))
        server.wait()
        env = inbox.env(folder)
        found = [_timed_task(lambda: server.fork(["task", _request(one, folder)], env=env, cwd=str(folder)), inbox)
                 for _ in range(n)]  # fmt: skip
        server.close()
    return _medians(found)


def fresh_task(folder: Path, n: int) -> tuple[None, float, float]:
    one = _task(folder)
    with Wire() as inbox:
        env = {**os.environ, **inbox.env(folder)}
        found = [_timed_task(lambda: Fresh(_request(one, folder), env=env, cwd=str(folder)), inbox) for _ in range(n)]
    return None, *_medians(found)[1:]


def kernel(folder: Path, n: int) -> tuple[float, float, float]:
    path = folder / "nb.ipynb"
    source = f"import numpy as np\narray = np.ones({ITEMS})"
    nbformat.write(new_notebook(cells=[new_code_cell(source), new_code_cell("", metadata={"tags": ["parameters"]})]),
                   path)  # fmt: skip
    target = Notebook(path=str(path))
    task = Task("0", "t", (Step(target, {}),), {}, str(folder), folder=str(folder))
    server = ForkServer(kernel_setup(task, target, beginning(target)))
    server.wait()
    assert server.unsafe is None, server.unsafe
    found = []
    for k in range(n):
        file, _ = write_connection_file(str(folder / f"kernel-{k}.json"), transport="ipc", ip=str(folder / f"k{k}"))
        began = time.perf_counter()
        child = server.fork(["kernel", "-f", file], env=dict(os.environ), cwd=str(folder))
        forked = 1000 * (time.perf_counter() - began)
        found.append((forked, *_ready_kernel(file, began)))
        child.end()
        child.close()
    server.close()
    return _medians(found)


def fresh_kernel(folder: Path, n: int) -> tuple[None, float, float]:
    found = []
    for k in range(n):  # each with sockets of its own: those of one that was killed are there yet
        file, _ = write_connection_file(str(folder / f"fresh-{k}.json"), transport="ipc", ip=str(folder / f"f{k}"))
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", file],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                ready, private = _ready_kernel(file, began, f"import numpy as np\narray = np.ones({ITEMS})")
            finally:
                process.kill()
            found.append((0.0, ready, private))
    return None, *_medians(found)[1:]


def _ready_kernel(file: str, began: float, source: str = "") -> tuple[float, float]:
    """Return when a kernel had done the first thing it was asked, in ms, and the MB that it has for itself then."""
    client = BlockingKernelClient(connection_file=file)
    client.load_connection_file()
    client.start_channels(hb=False, iopub=False)  # the answer tells all: what waits for outputs waits 0.2 s for silence
    try:
        client.execute(f"{source}\nimport os", user_expressions={"pid": "os.getpid()"})
        answer = client.get_shell_msg(timeout=120)["content"]
        ready = 1000 * (time.perf_counter() - began)
        return ready, _private(int(answer["user_expressions"]["pid"]["data"]["text/plain"]))
    finally:
        client.stop_channels()


def _timed_task(start: Callable[[], Child], inbox: Wire) -> tuple[float, float, float]:
    began = time.perf_counter()
    child = start()
    forked = 1000 * (time.perf_counter() - began)
    while not (told := [event for event in inbox.inbox.read() if isinstance(event, Metrics)]):
        time.sleep(0.0005)
    ready = 1000 * (time.perf_counter() - began)
    private = told[0].values["private"]
    child.wait(60)
    child.end()
    child.close()
    return forked, ready, private


class Wire:
    """An inbox with the environment that leads to it."""

    def __enter__(self) -> Wire:
        self.inbox = Inbox()
        return self

    def env(self, folder: Path) -> dict[str, str]:
        """Return what a child's environment says of it."""
        return {
            "ML_EXPERIMENT_SOCKET": self.inbox.path,
            "ML_EXPERIMENT_ARTIFACTS": str(folder),
            "ML_EXPERIMENT_PRUNING": "",
            "ML_EXPERIMENT_TASK": "benchmark",
        }

    def __exit__(self, *_: object) -> None:
        self.inbox.close()


def _task(folder: Path) -> Task:
    array = np.ones(ITEMS)

    def say() -> dict[str, float]:
        assert array[0] == 1
        return {"private": _private(os.getpid())}

    payload = str(write_payload({"function": say}, folder))
    step = Step(Function(function=travels_in_payload), {})
    return Task("0", "t", (step,), {}, str(folder), payload=payload, folder=str(folder))


def _request(one: Task, folder: Path) -> str:
    path = folder / "request.pkl"
    path.write_bytes(cloudpickle.dumps(Request(one.steps[0], one.payload, None)))
    return str(path)


def _private(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(map(int, re.findall(r"Private_\w+:\s+(\d+)", text))) / 1000


def _medians(found: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    fork, ready, private = (median(column) for column in zip(*found, strict=True))
    return fork, ready, private


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
