import subprocess
import sys

from ml_experiment_nb.capture import snapshot
from ml_experiment_nb.capture.packages import packages
from ml_experiment_nb.capture.system import system_info


def test_a_snapshot_gathers_everything(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    taken = snapshot(tmp_path)
    assert taken.git.root == str(tmp_path.resolve())
    assert taken.system == system_info()
    assert taken.packages == packages()
    assert taken.notes == ()


def test_what_is_missing_is_noted_and_the_rest_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    taken = snapshot(tmp_path)
    assert taken.git is None
    assert taken.packages
    assert taken.notes == ("git is not installed: no commit is recorded",)


def test_the_import_is_light():
    script = (
        "import sys, ml_experiment_nb.capture;"
        "from ml_experiment_nb.capture import artifacts, console;"
        "heavy = {'psutil', 'pynvml', 'pandas', 'numpy', 'matplotlib', 'mlflow', 'cloudpickle'};"
        "print(*heavy & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == ""
