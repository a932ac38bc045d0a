import subprocess

import pytest

from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.projects import find_root, home


@pytest.mark.parametrize("mark", [".ml-experiment", ".git", "pyproject.toml"])
def test_the_root_is_the_nearest_folder_with_a_mark(tmp_path, monkeypatch, mark):
    monkeypatch.delenv("ML_EXPERIMENT_ROOT", raising=False)
    deep = tmp_path / "outer" / "inner" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "outer" / "pyproject.toml").touch()
    (tmp_path / "outer" / "inner" / mark).touch()
    assert find_root(deep) == tmp_path / "outer" / "inner"
    monkeypatch.chdir(deep)
    assert find_root() == tmp_path / "outer" / "inner"


def test_the_environment_names_the_root(tmp_path, monkeypatch):
    (tmp_path / ".git").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ML_EXPERIMENT_ROOT", "elsewhere")
    assert find_root() == tmp_path / "elsewhere"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("ML_EXPERIMENT_ROOT", "~/x")
    assert find_root() == tmp_path / "me" / "x"
    monkeypatch.setenv("ML_EXPERIMENT_ROOT", "")
    assert find_root() == tmp_path


def test_home_is_made_and_git_ignores_it(tmp_path):
    root = tmp_path / "new" / "project"
    assert home(root) == root / ".ml-experiment"
    assert home(root).is_dir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (home(root) / "mlflow.db").touch()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_home_leaves_the_users_gitignore_alone(tmp_path):
    (home(tmp_path) / ".gitignore").write_text("mine\n")
    assert (home(tmp_path) / ".gitignore").read_text() == "mine\n"


def test_a_home_that_can_not_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"can't be written .*set ML_EXPERIMENT_ROOT to one"):
        home(tmp_path / "file")
