"""A comparison of 10,000 runs in JupyterLab: from running its cell to what is seen, and how quickly it is used.

Beside it, in the same page: MLflow's ``search_runs`` with its DataFrame shown, and plotly's parallel coordinates alone.
Needs Chromium and Playwright. ``python benchmarks/compare_widget.py [runs]``
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("browser", ".")]

from drive import Notebook, find_chromium, launched, opened  # noqa: E402 (the tests' own)
from lab import make_project, serve, write_notebook  # noqa: E402

from ml_experiment_nb.tracking import Store  # noqa: E402

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
WIDE = 10  # parameters, and metrics
PAINTED = """(part) => new Promise((done) => {
    const look = () => document.querySelector(part)
        ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))) : setTimeout(look, 5);
    look();
})"""
USED = """async ([part, text]) => {
    const at = performance.now(), found = document.querySelector(part);
    if (text === null) found.click();
    else { found.value = text; found.dispatchEvent(new Event("input", { bubbles: true })); }
    const busy = performance.now() - at;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return [busy, performance.now() - at];
}"""
CELLS = [
    "from ml_experiment_nb import compare; import mlflow, plotly.express as px, pandas, time\n"
    "mlflow.set_tracking_uri('sqlite:///.ml-experiment/mlflow.db')\n"
    "import anywidget; opened = compare(experiment='many', limit=1)",
    "t = time.perf_counter(); view = compare(experiment='many', limit=10**6, metric='m0', maximize=True)\n"
    "read = time.perf_counter() - t; view",
    "frame = mlflow.search_runs(experiment_names=['many'], max_results=50_000); frame",
    "px.parallel_coordinates(frame[[c for c in frame if c.startswith('metrics')]], color='metrics.m0')",
    "read",
]


def main() -> None:
    program = find_chromium()
    if program is None:
        sys.exit("no Chromium is installed: apt-get install chromium, or name one in CHROMIUM")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        Store(home / "made")
        with launched(program) as browser, serve(home / "lab") as lab:
            folder = make_project(lab.root / "project", home / "made" / ".ml-experiment" / "mlflow.db")
            fill(folder / ".ml-experiment" / "mlflow.db")
            with opened(browser, lab) as (page, _):
                notebook = Notebook.open(page, lab, write_notebook(folder / "n.ipynb", CELLS))
                measure(notebook)
                lab.end_kernels()


def measure(notebook: Notebook) -> None:
    notebook.run(0)
    notebook.save()
    before = notebook.path.stat().st_size
    ours = shown(notebook, 1, ".mlx-comparison .mlx-row")
    plots = ours + drawn(notebook, ".mlx-comparison .mlx-plot")
    notebook.run(4)
    read = float(notebook.output(4).inner_text())
    notebook.save()
    grown = notebook.path.stat().st_size - before
    used = {
        "sort": (".mlx-comparison [role=columnheader][data-key='metrics.m1']", None),
        "filter a column": (".mlx-comparison input[data-key='params.p0']", "> 0.5"),
        "search all": (".mlx-comparison input[type=search]", "0.12"),
    }
    for what, words in used.items():
        busy, painted = notebook.page.evaluate(USED, words)
        print(f"{what:<28}{busy:8.0f} ms busy, {painted:5.0f} ms painted (under 100 ms is wanted)")
    print(f"{'compare, painted':<28}{ours:8.2f} s, of which reading the store {read:.2f} s (1.5 s is wanted)")
    print(f"{'its first plot, painted':<28}{plots:8.2f} s")
    print(f"{'the notebook grew by':<28}{grown / 1000:8.0f} kB (300 kB is wanted)")
    table = shown(notebook, 2, ".jp-Cell[data-windowed-list-index='2'] .jp-RenderedHTMLCommon table")
    print(f"{'search_runs and its table':<28}{table:8.2f} s: {table / ours:.1f} times ours")
    lines = shown(notebook, 3, ".jp-Cell[data-windowed-list-index='3'] .js-plotly-plot .parcoords")
    print(f"{'plotly alone, drawn only':<28}{lines:8.2f} s: {lines / ours:.1f} times ours")


def shown(notebook: Notebook, cell: int, part: str) -> float:
    """Return the seconds from running a cell to what it shows."""
    begun = time.perf_counter()
    notebook.start(cell)
    drawn(notebook, part)
    return time.perf_counter() - begun


def drawn(notebook: Notebook, part: str) -> float:
    """Return the seconds until a part is there and painted."""
    begun = time.perf_counter()
    notebook.page.evaluate(PAINTED, part)
    return time.perf_counter() - begun


def fill(path: Path) -> None:
    """Write finished runs to a store's tables, as MLflow has them."""
    random, began = Random(0), 1_790_000_000_000
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
            " VALUES (1, 'many', 'x', 'active')"
        )
        ids = [uuid.UUID(int=random.getrandbits(128)).hex for _ in range(RUNS)]
        database.executemany(
            "INSERT INTO runs (run_uuid, name, experiment_id, status, start_time, end_time, lifecycle_stage,"
            " artifact_uri, source_type, source_name, entry_point_name, user_id, source_version)"
            " VALUES (?, ?, 1, 'FINISHED', ?, ?, 'active', 'x', 'LOCAL', '', '', '', '')",
            [(one, f"run {k}", began + k, began + k + 5000) for k, one in enumerate(ids)],
        )
        for table, key, value in (
            ("params", "p", lambda: repr(random.random())),
            ("latest_metrics", "m", random.random),
        ):
            more = ("", "") if table == "params" else (", timestamp, step, is_nan", ", 0, 0, 0")
            database.executemany(
                f"INSERT INTO {table} (run_uuid, key, value{more[0]}) VALUES (?, ?, ?{more[1]})",
                [(one, f"{key}{k}", value()) for one in ids for k in range(WIDE)],
            )


if __name__ == "__main__":
    main()
