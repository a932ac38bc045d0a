"""What looking at many runs costs, against MLflow's own search: ``python benchmarks/listing.py [RUNS] [TURNS]``.

A store on SQLite is given `RUNS` runs (10,000 by default), each with 8 parameters, 5 metrics and the tags that a run of
this package has. Then each is timed, in a process of its own and by turns, three times (`TURNS`):

- ``mlflow.search_runs`` with all of them, which returns a DataFrame, and with an order by a metric, the best one alone;
- ``runs()`` with all of them, as a DataFrame;
- ``ml-experiment ls``, as a user starts it, and with all of the runs;
- ``best_run()``;
- ``compare()`` of all of them, and of a group that has as many trials, with the store open already, as in a notebook;
- ``ml-experiment show`` of that group.

Two times are told: of the call alone, and of the whole process, imports included.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

TAGS = 26
GOALS = {"ls": 1.5, "runs()": 1.5, "best_run()": 0.1, "compare": 0.5, "ratio": 6.0}
GROUP = uuid.UUID(int=1).hex
COMPARED = "from ml_experiment_nb import compare; compare(limit=1); "
PEERS = {
    "mlflow.search_runs": "import mlflow; say(lambda: mlflow.search_runs(search_all_experiments=True, max_results=N))",
    "mlflow's best": (
        "import mlflow; say(lambda: mlflow.search_runs(search_all_experiments=True, max_results=1, "
        "order_by=['metrics.m0 DESC']))"
    ),
    "runs()": "from ml_experiment_nb import runs; say(lambda: runs())",
    "best_run()": "from ml_experiment_nb import best_run; say(lambda: best_run(maximize='m0'))",
    "ls": "",
    "ls, all": "",
    "compare()": COMPARED + "say(lambda: compare(limit=N))",
    "compare(group)": COMPARED + f"say(lambda: compare('{GROUP}'))",
    "show, group": "",
}
SAY = """
import json, sys, time
N = int(sys.argv[1])
def say(call):
    began = time.perf_counter()
    found = call()
    print(json.dumps({"call": time.perf_counter() - began, "rows": len(found) if hasattr(found, "__len__") else 1}))
"""


def main(runs: int = 10_000, turns: int = 3) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        fill(Path(folder, "flat"), runs)
        fill(Path(folder, "group"), runs, group=GROUP)
        found = {name: [peer(name, folder, runs) for _ in range(turns)] for name in PEERS}
    best = {
        name: (min(one["call"] for one in times), min(one["process"] for one in times)) for name, times in found.items()
    }
    search, theirs = best["mlflow.search_runs"], best["mlflow's best"]
    print(f"{runs:,} runs{'':<12} {'call s':>8} {'process s':>10} {'of search_runs':>15}")
    for name, (call, process) in best.items():
        print(f"{name:<22} {call:>8.3f} {process:>10.2f} {search[1] / process:>14.1f}x")
    print(f"best_run() is {theirs[0] / best['best_run()'][0]:.0f}x faster than MLflow's own")
    for name in ("ls", "runs()"):
        ok = best[name][1] <= GOALS[name] and search[1] / best[name][1] >= GOALS["ratio"]
        print(f"{name}: within {GOALS[name]} s in all, {GOALS['ratio']:g} times faster: {'met' if ok else 'missed'}")
    print(f"best_run() within {GOALS['best_run()']} s: {'met' if best['best_run()'][0] <= 0.1 else 'missed'}")
    for name in ("compare()", "compare(group)"):
        print(f"{name} within {GOALS['compare']} s: {'met' if best[name][0] <= GOALS['compare'] else 'missed'}")


def peer(name: str, folder: str, runs: int) -> dict[str, float]:
    """Run one peer in a process of its own, and return what it took."""
    uri = f"sqlite:///{folder}/{'group' if 'group' in name else 'flat'}/mlflow.db"
    env = os.environ | {"MLFLOW_TRACKING_URI": uri, "ML_EXPERIMENT_ROOT": folder, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", SAY + PEERS[name], str(runs)]
    if name.startswith("show"):
        command = [sys.executable, "-m", "ml_experiment_nb.cli", "show", GROUP]
    if name.startswith("ls"):
        command = [sys.executable, "-m", "ml_experiment_nb.cli", "ls", *(["-n", str(runs)] if "all" in name else [])]
    began = time.perf_counter()
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    took = time.perf_counter() - began
    if ended.returncode:
        sys.exit(f"{name}: {ended.stderr[-2000:]}")
    lines = ended.stdout.splitlines()
    if name.startswith(("ls", "show")):
        assert len(lines) == 1 + (runs if "all" in name else 20) or (len(lines) > runs and "show" in name)
        return {"call": took, "process": took}
    said = json.loads(lines[-1])
    assert said["rows"] == (1 if "best" in name else runs)
    return {"call": said["call"], "process": took}


def fill(folder: Path, runs: int, *, group: str | None = None) -> str:
    """Make a store with so many runs, trials of a group if there is one, and return its address."""
    folder.mkdir(exist_ok=True)
    uri = f"sqlite:///{folder}/mlflow.db"
    subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", uri], check=True, capture_output=True)
    from mlflow import MlflowClient

    experiment = MlflowClient(uri).create_experiment("many")
    draw, now = random.Random(0), int(time.time() * 1000)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        add = Adder(database, experiment, folder)
        if group is not None:
            add.run(group, "search", now - (runs + 1) * 1000, {"mlexp.kind": "group"})
        for k in range(runs):
            run_id, start = uuid.UUID(int=draw.getrandbits(128)).hex, now - (runs - k) * 1000
            of_group = {"mlexp.kind": "trial", "mlexp.trial": str(k), "mlflow.parentRunId": group}
            add.run(run_id, f"trial {k}", start, of_group if group else {"mlexp.kind": "experiment"})
            params = [(f"p{n}", str(draw.random()), run_id) for n in range(8)]
            database.executemany("insert into params (key, value, run_uuid) values (?,?,?)", params)
            metrics = [(f"m{n}", draw.random(), start, 0, False, run_id) for n in range(5)]
            for table in ("metrics", "latest_metrics"):
                names = "key, value, timestamp, step, is_nan, run_uuid"
                database.executemany(f"insert into {table} ({names}) values (?,?,?,?,?,?)", metrics)
    return uri


@dataclass(frozen=True)
class Adder:
    """Adds runs to an experiment of a store."""

    database: sqlite3.Connection
    experiment: str
    folder: Path

    def run(self, run_id: str, name: str, start: int, tags: Mapping[str, str | None]) -> None:
        """Add a run that has finished, with so many tags more."""
        row = {
            "run_uuid": run_id, "name": name, "user_id": "somebody", "source_type": "LOCAL", "status": "FINISHED",
            "start_time": start, "end_time": start + 900, "lifecycle_stage": "active",
            "artifact_uri": f"{self.folder}/{run_id}", "experiment_id": self.experiment,
        }  # fmt: skip
        self.database.execute(
            f"insert into runs ({', '.join(row)}) values ({','.join('?' * len(row))})", [*row.values()]
        )
        told = {**tags, "mlexp.status": "finished", "mlflow.runName": name}
        told |= {f"mlexp.tag{n}": "x" * 30 for n in range(TAGS)}
        self.database.executemany(
            "insert into tags (key, value, run_uuid) values (?,?,?)",
            [(key, value, run_id) for key, value in told.items()],
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
