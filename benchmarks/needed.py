"""What ``--needed`` costs in a store of many runs: ``python benchmarks/needed.py [RUNS]``.

A store on SQLite is given `RUNS` runs (10,000 by default) as `listing.py` makes them: all of the code that is asked
for, each with parameters of its own. Then it is timed, with the store open already, how long it takes to know that one
run is there already, that one is not, and which rows of a table with as many rows are.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from listing import fill

SCRIPT = "import numpy\nfrom ml_experiment_nb import job\n\n@job\ndef main(C=0):\n    return {'acc': C}\n\nmain()\n"
GOALS = {"one, known": 0.2, "one, unknown": 0.2, "a table": 3.0}


def main(runs: int = 10_000) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.chdir(folder)
        os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "ML_EXPERIMENT_ROOT": folder}
        os.environ["MLFLOW_TRACKING_URI"] = fill(Path(folder, "store"), runs)
        Path("train.py").write_text(SCRIPT)
        from ml_experiment_nb import make_plan, needed
        from ml_experiment_nb.specs import spec_from_mapping

        rows = [{"C": k} for k in range(runs)]
        group = make_plan(spec_from_mapping({"kind": "group", "name": "e", "run": "train.py", "each": rows}))
        _tag(Path(folder, "store", "mlflow.db"), group, rows)
        one = {"kind": "experiment", "name": "e", "run": "train.py"}
        plans = {
            "one, known": make_plan(spec_from_mapping({**one, "params": {"C": runs - 1}})),
            "one, unknown": make_plan(spec_from_mapping({**one, "params": {"C": -1}})),
            "a table": group,
        }
        needed(plans["one, known"])  # opens the store
        for name, plan in plans.items():
            began = time.perf_counter()
            found = needed(plan).known
            took = time.perf_counter() - began
            assert found is not None
            assert len(found.records) == {"one, known": 1, "a table": runs}.get(name, 0)
            print(f"{name:<14} {took:>7.3f} s, within {GOALS[name]:g} s: {'met' if took <= GOALS[name] else 'missed'}")


def _tag(database: Path, group: object, rows: list[dict[str, int]]) -> None:
    """Say of each run that it is that of a row."""
    from ml_experiment_nb.capture.basis import basis_of
    from ml_experiment_nb.identity import code_of
    from ml_experiment_nb.provenance import identity_of

    code = code_of(group.targets, Path(group.cwd))
    basis = basis_of(group.targets, Path(group.cwd)).tags()
    with closing(sqlite3.connect(database)) as store, store:
        ids = [one for (one,) in store.execute("select run_uuid from runs order by start_time")]
        for k, run in enumerate(ids):
            tags = {**basis, **identity_of(group, code, group.trial(k, rows[k]))}
            store.executemany(
                "insert into tags (key, value, run_uuid) values (?,?,?)", [(*one, run) for one in tags.items()]
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
