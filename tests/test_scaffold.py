import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from ml_experiment_nb import cli
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.preflight import check
from ml_experiment_nb.scaffold import start_project, with_ignored
from ml_experiment_nb.spec_files import read_spec


def test_a_project_s_first_files_are_right(project):
    folder = project / 'digits: "SVM" #1'
    written = start_project(folder, 'digits: "SVM" #1')
    assert [path.name for path in written] == ["train.ipynb", "search.yaml", ".gitignore"]
    nbformat.validate(nbformat.read(folder / "train.ipynb", 4))
    plan = make_plan(read_spec(folder / "search.yaml"))
    assert (plan.spec.name, plan.notes) == ('digits: "SVM" #1', ())
    assert list(check(folder / "train.ipynb")) == []
    assert (folder / ".gitignore").read_text() == ".ipynb_checkpoints/\n.ml-experiment/\nout/\n"


@pytest.mark.parametrize("there", ["train.ipynb", "search.yaml"])
def test_nothing_is_overwritten(project, there):
    (project / there).write_text("mine")
    with pytest.raises(SpecError, match=f"{there} is there already"):
        start_project(project, "x")
    assert [path.name for path in project.iterdir()] == [there]
    assert (project / there).read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_not_be_written(project):
    project.chmod(0o500)
    with pytest.raises(SpecError, match="can't be written"):
        start_project(project / "new", "x")


def test_a_name_of_bytes_that_are_no_text(project):
    start_project(project, "x\udcffy")
    assert 'name: "x?y"' in (project / "search.yaml").read_text(encoding="utf-8")


def test_a_file_stands_in_the_way(project):
    (project / "file").write_text("")
    with pytest.raises(SpecError, match="can't be written"):
        start_project(project / "file/new", "x")


def test_what_is_ignored_is_added_once():
    assert with_ignored("*.pyc") == "*.pyc\n.ipynb_checkpoints/\n.ml-experiment/\nout/\n"
    assert with_ignored(with_ignored("*.pyc")) == with_ignored("*.pyc")


def test_the_command_says_what_to_try(project):
    done = CliRunner().invoke(cli.commands, ["init", "new"])
    assert done.output.splitlines() == [
        "wrote new/train.ipynb",
        "wrote new/search.yaml",
        "wrote new/.gitignore",
        "try   ml-experiment run new/train.ipynb -p C 2",
        "      ml-experiment run new/search.yaml --plan",
    ]


@pytest.mark.kernel
@pytest.mark.slow
def test_the_project_runs(project):
    start_project(project, "digits")
    words = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "search.yaml"]
    done = subprocess.run(
        [*words, "--trials", "2", "--slots", "1", "--json", "-q"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    *trials, group = map(json.loads, done.stdout.splitlines())
    assert [one["status"] for one in trials] == ["finished"] * 2
    assert group["metrics"]["val_accuracy"] > 0.9


@pytest.mark.slow
def test_bash_completes(project):
    script = subprocess.run([_command(), "completion", "bash"], capture_output=True, text=True, timeout=60).stdout
    assert "_ML_EXPERIMENT_COMPLETE=bash_complete" in script
    for typed, wanted in {"ml-experiment comp": "compare", "ml-experiment run --samp": "--sampler"}.items():
        given = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_ML_EXPERIMENT_COMPLETE": "bash_complete"}
        done = subprocess.run([_command()], env=os.environ | given, capture_output=True, text=True, timeout=60)
        assert f"plain,{wanted}" in done.stdout.splitlines()


def _command():
    return str(Path(sys.executable).parent / "ml-experiment")
