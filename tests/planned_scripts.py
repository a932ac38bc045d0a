"""Scripts and a notebook of a project, and specs and tables of what they are run with."""

import nbformat
import pytest

from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping

TRAIN = """\
from ml_experiment_nb import job

@job
def main(C, kernel="rbf", gamma="scale"):
    return {"accuracy": C}

if __name__ == "__main__":
    main()
"""


PREPARE = "from ml_experiment_nb import job\n@job\ndef prepare(size=10, seed=0): ...\nprepare()\n"


PLAIN = "print('no job here')\n"


@pytest.fixture
def folder(project):
    for name, text in {"train.py": TRAIN, "prepare.py": PREPARE, "plain.py": PLAIN}.items():
        (project / name).write_text(text)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("C = 1\nkernel = 'rbf'")])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, project / "book.ipynb")
    return project


@pytest.fixture
def spec(folder):
    def make(**keys):
        return spec_from_mapping({"run": "train.py", "root_path": str(folder), **keys})

    return make


def group(spec, **keys):
    return spec(**{"kind": "group", "param_space": {"C": "loguniform(0.01, 100)"}, **keys})


@pytest.fixture
def rows(folder):
    """Plan a run for each row of a table."""

    def plan(text="C,gamma\n0.5,auto\n1,\n", run="train.py", output=None, **keys):
        (folder / "params.csv").write_text(text)
        keys = {"run": run, "root_path": str(folder), "name": "SVM", "each": "params.csv", "slots": 2, **keys}
        return make_plan(spec_from_mapping(keys), output=output)

    return plan
