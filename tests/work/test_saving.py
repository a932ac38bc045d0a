"""What is kept of a notebook that is stopped while it is executed: all that its cells have shown until then."""

import sys
import urllib.parse
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb import make_plan, run
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's")]

SELDOM = "import ml_experiment_nb.work.saving as saving\nsaving.SAVE_EVERY = 600.0\n"
FILL = """
import time
kept = []
while True:
    kept.append(b"x" * (1 << 20) + str(len(kept)).encode())
    time.sleep(0.0001)
"""


@pytest.fixture
def notebook(stored, monkeypatch):
    """Write a notebook of the given cells; while it is executed, it is written on no other occasion than its end."""
    (stored / "seldom").mkdir()
    (stored / "seldom" / "sitecustomize.py").write_text(SELDOM)
    monkeypatch.setenv("PYTHONPATH", str(stored / "seldom"))

    def write(*cells):
        kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
        parameters = new_code_cell("k = 0", metadata={"tags": ["parameters"]})
        codes = [new_code_cell("print('the setup')"), parameters, *map(new_code_cell, cells)]
        nbformat.write(new_notebook(cells=codes, metadata={"kernelspec": kernel}), stored / "nb.ipynb")

    return write


def shown(record):
    executed = nbformat.read(Path(urllib.parse.urlparse(record.artifact_uri).path, "nb.ipynb"), 4)
    return [output.get("text") for cell in executed.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("cold", [False, True])
def test_a_kernel_that_passes_its_memory_limit(notebook, cold):
    notebook("print('before')", FILL)
    asked = {"run": "nb.ipynb", "param_space": {"k": "choice([1])"}, "sampler": "grid", "memory": "400MB"}
    trial, _ = run(make_plan(spec_from_mapping(asked), cold=cold))
    assert str(trial.failure).startswith("TaskMemoryError: stopped at its memory limit of 400 MB")
    assert shown(trial) == ["the setup\n", "before\n"]


def test_a_cell_that_takes_longer_than_its_trial_may(notebook):
    notebook("print('before')", "import time\ntime.sleep(600)")
    asked = {"run": "nb.ipynb", "param_space": {"k": "choice([1])"}, "sampler": "grid", "timeout_per_trial": 5}
    trial, _ = run(make_plan(spec_from_mapping(asked)))
    assert (trial.status, trial.failure.type) == (Status.FAILED, "TaskTimeoutError")
    assert shown(trial) == ["the setup\n", "before\n"]


def test_what_its_own_process_holds_is_ended_with_it(notebook):
    notebook("print('before')", "while True: print('x' * (1 << 20))")
    asked = {"run": "nb.ipynb", "param_space": {"k": "choice([1])"}, "sampler": "grid", "memory": "400MB"}
    trial, _ = run(make_plan(spec_from_mapping(asked)))
    assert trial.failure.type == "TaskMemoryError"
