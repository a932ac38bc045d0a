import subprocess
import sys

import pytest

from ml_experiment_nb.work.faraway import SCHEME, reachable


@pytest.mark.parametrize(
    ("uri", "same_files", "same_machine", "refused"),
    [
        ("sqlite:////a/mlflow.db", False, True, True),
        ("sqlite:////a/mlflow.db", True, False, False),
        ("/a/mlruns", False, False, True),
        ("http://127.0.0.1:5000", False, True, False),
        ("http://localhost:5000", True, False, True),
        ("http://tracking:5000", False, False, False),
        ("postgresql://u:p@db/mlflow", False, False, False),
    ],
)
def test_which_stores_a_node_reaches(uri, same_files, same_machine, refused):
    found = reachable(uri, same_files=same_files, same_machine=same_machine)
    assert found == (f"{SCHEME}:{uri}" if refused else uri)


@pytest.mark.slow
def test_mlflow_says_what_to_do(project):
    code = "import mlflow\ntry: mlflow.log_metric('a', 1)\nexcept Exception as error: print(error)"
    env = {"MLFLOW_TRACKING_URI": f"{SCHEME}:sqlite:////a/mlflow.db", "PATH": "", "HOME": str(project)}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout
    assert "`mlflow server --host 0.0.0.0 --backend-store-uri sqlite:////a/mlflow.db`" in said
    assert "report() and artifact() need none" in said
