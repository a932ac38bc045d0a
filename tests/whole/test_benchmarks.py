"""The benchmarks' table of ratios is read from what they print, and their README tells of each."""

import re
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PRINTED = {
    "cell_overhead.py": (
        "tree, a pause of 0.1 s          median ms  more than plain  of by hand\n"
        "plain                                10.0              0.0       0.20x\n"
        "%%experiment --no-autolog            40.0             30.0       0.80x   at most 1.3: met; under 60 ms: met\n"
        "%%experiment                         60.0             50.0       1.20x\n"
    ),
    "trial_overhead.py": (
        "Optuna with MLflow        200        1.0       50.0         1.2x\n"
        "ours, inline              200        1.0       40.0         1.0x\n"
        "Ray Tune with MLflow       20       10.0     2000.0        49.6x\n"
    ),
    "image.py": (
        "plain                                  60.0s         50.0s    1200 MB\n"
        "ml-experiment image                    70.0s          6.0s    1300 MB\n"
        "ml-experiment image --only-imports     40.0s          4.0s     600 MB\n"
    ),
    "fork_cost.py": "it printed something else\n",
}


@pytest.fixture
def ratios(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield __import__("ratios")
    sys.modules.pop("ratios")


def test_ratios_are_read_from_what_is_printed(ratios):
    _, _, *rows = ratios.table(PRINTED)
    assert [tuple(row.strip("| ").split(" | ")[1:3]) for row in rows] == [
        ("MLflow's calls, by hand", "1.2"),
        ("Optuna with its MLflow callback, in one process", "1.2"),
        ("Ray Tune with its MLflow callback", "50"),
        ("a Dockerfile of `pip freeze`", "12"),
        ("a Dockerfile of `pip freeze`", "2"),
    ]


def test_what_was_not_run_is_not_in_the_table(ratios):
    assert len(ratios.table({})) == 2


def test_the_readme_tells_of_each_benchmark(ratios):
    files = {path.name for path in BENCHMARKS.glob("*.py")} - {"all.py", "ratios.py"}
    first = re.findall(r"^\| (`.*?) \|", (BENCHMARKS / "README.md").read_text(), re.M)
    assert {name for column in first for name in re.findall(r"(\w+\.py)", column)} == files
    assert {one.benchmark for one in ratios.RATIOS} <= files
