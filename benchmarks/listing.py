"""What looking at many runs costs, against MLflow's own search: ``python benchmarks/listing.py [RUNS]``.

A store on SQLite is given `RUNS` runs (10,000 by default), each with 8 parameters, 5 metrics and the tags that a run of
this package has. Then each is timed, in a process of its own and by turns, three times:

- ``mlflow.search_runs`` with all of them, which returns a DataFrame, and with an order by a metric, the best one alone;
- ``runs()`` with all of them, as a DataFrame;
- ``ml-experiment ls``, as a user starts it, and with all of the runs;
- ``best_run()``.

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
from contextlib import closing
from pathlib import Path

TAGS = 26
GOALS = {"ls": 1.5, "runs()": 1.5, "best_run()": 0.1, "ratio": 6.0}
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
}
SAY = """
import json, sys, time
N = int(sys.argv[1])
def say(call):
    began = time.perf_counter()
    found = call()
    print(json.dumps({"call": time.perf_counter() - began, "rows": len(found) if hasattr(found, "columns") else 1}))
"""


def main(runs: int = 10_000) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        uri = fill(Path(folder), runs)
        found = {name: [peer(name, folder, uri, runs) for _ in range(3)] for name in PEERS}
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


def peer(name: str, folder: str, uri: str, runs: int) -> dict[str, float]:
    """Run one peer in a process of its own, and return what it took."""
    env = os.environ | {"MLFLOW_TRACKING_URI": uri, "ML_EXPERIMENT_ROOT": folder, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", SAY + PEERS[name], str(runs)]
    if name.startswith("ls"):
        command = [sys.executable, "-m", "ml_experiment_nb.cli", "ls", *(["-n", str(runs)] if "all" in name else [])]
    began = time.perf_counter()
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    took = time.perf_counter() - began
    if ended.returncode:
        sys.exit(f"{name}: {ended.stderr[-2000:]}")
    lines = ended.stdout.splitlines()
    if name.startswith("ls"):
        assert len(lines) == 1 + (runs if "all" in name else 20)
        return {"call": took, "process": took}
    said = json.loads(lines[-1])
    assert said["rows"] == (1 if "best" in name else runs)
    return {"call": said["call"], "process": took}


def fill(folder: Path, runs: int) -> str:
    """Make a store with so many runs, by MLflow's own tables, and return its address."""
    uri = f"sqlite:///{folder}/mlflow.db"
    subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", uri], check=True, capture_output=True)
    from mlflow import MlflowClient

    experiment = MlflowClient(uri).create_experiment("many")
    draw, now = random.Random(0), int(time.time() * 1000)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        columns = "run_uuid, name, user_id, source_type, status, start_time, end_time, lifecycle_stage, artifact_uri"
        for k in range(runs):
            run_id, start = uuid.UUID(int=draw.getrandbits(128)).hex, now - (runs - k) * 1000
            row = (
                run_id,
                f"trial {k}",
                "somebody",
                "LOCAL",
                "FINISHED",
                start,
                start + 900,
                "active",
                f"{folder}/{run_id}",
                experiment,
            )
            database.execute(f"insert into runs ({columns}, experiment_id) values (?,?,?,?,?,?,?,?,?,?)", row)
            params = [(f"p{n}", str(draw.random()), run_id) for n in range(8)]
            database.executemany("insert into params (key, value, run_uuid) values (?,?,?)", params)
            metrics = [(f"m{n}", draw.random(), start, 0, False, run_id) for n in range(5)]
            for table in ("metrics", "latest_metrics"):
                names = "key, value, timestamp, step, is_nan, run_uuid"
                database.executemany(f"insert into {table} ({names}) values (?,?,?,?,?,?)", metrics)
            told = [("mlexp.kind", "experiment"), ("mlexp.status", "finished"), ("mlflow.runName", f"trial {k}")]
            tags = [(name, value, run_id) for name, value in told + [(f"mlexp.tag{n}", "x" * 30) for n in range(TAGS)]]
            database.executemany("insert into tags (key, value, run_uuid) values (?,?,?)", tags)
    return uri


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
