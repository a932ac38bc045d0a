"""torch above the parameters: what makes a fork unsafe, and what a fork draws."""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb import make_plan, run
from ml_experiment_nb.kernelspecs import beginning
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Notebook
from ml_experiment_nb.work.forkserver import ForkServer
from ml_experiment_nb.work.setups import kernel_setup

pytest.importorskip("torch")
pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's"),
]
DRAW = "float(torch.rand(1)), float(np.random.rand()), random.random()"
USE = "x = torch.rand(300, 300, requires_grad=True)\n(x @ x).sum().backward()"


def write(path, setup, *below):
    cells = [new_code_cell("import random\nimport numpy as np\nimport torch\n" + setup)]
    cells += [new_code_cell("C = 1", metadata={"tags": ["parameters"]}), *map(new_code_cell, below)]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.mark.parametrize(
    ("setup", "safe"),
    [
        ("", True),
        ("torch.manual_seed(1)", True),
        ("torch.set_num_threads(1)\n" + USE, True),
        ("torch.set_num_threads(2)\n" + USE, False),
    ],
)
def test_a_setup_is_unsafe_once_torch_has_started_threads(project, setup, safe):
    write(project / "nb.ipynb", setup)
    target = Notebook(path=str(project / "nb.ipynb"))
    task = Task("0", "t", (Step(target, {}),), {}, str(project))
    server = ForkServer(kernel_setup(task, target, beginning(target)))
    try:
        server.wait()
        assert server.unsafe == (None if safe else "the setup cells have started threads, such as OpenMP's")
    finally:
        server.close()


def trials(project, **options):
    asked = {
        "name": "torch",
        "run": "nb.ipynb",
        "param_space": {"C": "range(2)"},
        "sampler": "grid",
        "executor": "inline",
        "slots": 1,
    }
    return [record for record in run(make_plan(spec_from_mapping(asked), **options)) if record.kind == "trial"]


VALUES = "dict(zip(['torch', 'numpy', 'python'], values))"


def test_seeded_draws_are_those_of_a_cold_run(stored):
    seeds = "torch.manual_seed(1)\nnp.random.seed(2)\nrandom.seed(3)\n" + DRAW
    write(stored / "nb.ipynb", seeds, f"values = {DRAW}", VALUES)
    first, second = trials(stored)
    assert (first.ok, first.notes, second.notes) == (True, (), ())
    assert first.metrics == second.metrics
    assert first.metrics == trials(stored, cold=True)[0].metrics


def test_unseeded_draws_differ_and_torch_works_with_all_its_threads(stored):
    write(stored / "nb.ipynb", "", "torch.set_num_threads(2)\n" + USE, f"values = {DRAW}", VALUES)
    first, second = trials(stored)
    assert (first.ok, first.notes, second.notes) == (True, (), ())
    for name in ("torch", "numpy", "python"):
        assert first.metrics[name] != second.metrics[name]


def test_a_setup_that_used_torchs_threads_is_run_by_each_trial_and_ends(stored):
    setup = "torch.set_num_threads(2)\n" + USE
    write(stored / "nb.ipynb", setup, USE, "{'sum': float(torch.ones(500, 500).sum())}")
    for record in trials(stored):
        assert (record.ok, record.metrics) == (True, {"sum": 250_000.0})
        assert any("OpenMP" in note for note in record.notes)
