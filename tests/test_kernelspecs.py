import json
import os
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb import make_plan
from ml_experiment_nb.kernelspecs import Beginning, beginning, is_this_python, launcher_arguments
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Notebook

REST = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.fixture
def kernel(project, monkeypatch):
    """Install a kernelspec where this test alone finds it."""
    monkeypatch.setenv("JUPYTER_PATH", str(project / "jupyter"))

    def install(name, argv=(sys.executable, *REST), **keys):
        folder = project / "jupyter" / "kernels" / name
        folder.mkdir(parents=True)
        said = {"argv": list(argv), "display_name": name, "language": "python", **keys}
        (folder / "kernel.json").write_text(json.dumps(said))
        return name

    return install


@pytest.fixture
def notebook(project):
    """Write a notebook with a set-up of one cell, and return it as a target."""

    def write(*, asks_for="python3", **options):
        cells = [new_code_cell("import os"), new_code_cell("C = 1", metadata={"tags": ["parameters"]})]
        spec = {"name": asks_for, "language": "python", "display_name": asks_for}
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": spec} if asks_for else {}), "nb.ipynb")
        return Notebook(notebook=str(project / "nb.ipynb"), **options)

    return write


def another_environment(folder):
    """Make an interpreter as an environment's is: a link to the one that this one is, too."""
    (folder / "env" / "bin").mkdir(parents=True)
    (folder / "env" / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    return str(folder / "env" / "bin" / "python")


def test_the_kernel_of_this_environment_is_forked(kernel, notebook):
    assert beginning(notebook()) == Beginning(cells=1)
    assert beginning(notebook(asks_for=None)) == Beginning(cells=1)
    own = kernel("own", env={"A": "${HOME}"})
    assert beginning(notebook(asks_for=own)) == Beginning(cells=1, env={"A": "${HOME}"})
    assert beginning(notebook(kernel=own)) == Beginning(cells=1, env={"A": "${HOME}"})
    for k, argv in enumerate([["python", *REST], [sys.executable, "-Xfrozen_modules=off", *REST]]):
        assert beginning(notebook(kernel=kernel(f"k{k}", argv))).started is None


@pytest.mark.parametrize(
    ("argv", "keys", "why"),
    [
        ([sys.executable, "-O", *REST], {}, "starts them in a way of its own"),
        ([sys.executable, "-X", "dev", *REST], {}, "starts them in a way of its own"),
        ([sys.executable, *REST, "--matplotlib=inline"], {}, "starts them in a way of its own"),
        (["conda", "run", "python", *REST], {}, "starts them in a way of its own"),
        ([], {}, "starts them in a way of its own"),
        (["/nowhere/bin/python", *REST], {}, "with another interpreter: /nowhere/bin/python"),
        (["R", *REST], {"language": "R"}, "is for R, not for Python"),
    ],
)
def test_a_kernel_of_another_kind_is_started_and_runs_all_cells(kernel, notebook, argv, keys, why):
    how = beginning(notebook(kernel=kernel("other", argv, **keys)))
    assert how.cells == 0
    assert how.started.startswith("the kernelspec 'other' ")
    assert why in how.started


def test_two_environments_of_one_interpreter_are_told_apart(project, kernel, notebook):
    other = another_environment(project)
    assert not is_this_python(other)
    assert "another interpreter" in beginning(notebook(kernel=kernel("other", [other, *REST]))).started


def test_every_name_of_this_interpreter_is_known(project):
    folder = os.path.dirname(sys.executable)
    assert is_this_python(sys.executable)
    assert is_this_python(os.path.join(folder, "python3"))
    (project / "link").symlink_to(folder)
    assert is_this_python(str(project / "link" / "python"))


def test_what_can_not_be_found_or_read_is_said(project, kernel, notebook):
    assert beginning(notebook(kernel="nowhere")).started == "no kernel is called 'nowhere'"
    kernel("broken")
    (project / "jupyter/kernels/broken/kernel.json").write_text("{")
    assert "'broken' can't be read" in beginning(notebook(kernel="broken")).started


def test_another_engine_has_nothing_run_once_and_a_part_runs_all_of_it(notebook):
    assert beginning(notebook(engine="nbclient")).started == "the engine 'nbclient' starts its kernels itself"
    assert beginning(notebook(from_cell=1)) == Beginning(cells=0)


@pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's")
@pytest.mark.parametrize("options", [{}, {"kernel": "other"}, {"engine": "nbclient"}, {"until_cell": 2}])
def test_a_plan_says_what_runs_once_only_where_something_does(kernel, notebook, options):
    kernel("other", [sys.executable, "-O", *REST])
    target = notebook(**options)
    keys = {"run": {"notebook": target.path, **options}, "param_space": {"C": "range(1, 3)"}, "sampler": "grid"}
    plan = make_plan(spec_from_mapping({"name": "g", **keys}))
    assert ("cell 1 of nb: every trial goes on from there" in str(plan)) is (not options)


def test_a_launchers_arguments():
    assert launcher_arguments(["py", "-m", "ipykernel_launcher", "-f", "x"]) == ["-f", "x"]
    assert launcher_arguments(["py", "-X", "frozen_modules=off", "-m", "ipykernel_launcher"]) == []
    assert launcher_arguments(["py", "-m", "ipykernel", "-f", "x"]) is None
    assert launcher_arguments(["py", "-O", "-m", "ipykernel_launcher"]) is None
    assert launcher_arguments(["py", "x.py", "ipykernel_launcher"]) is None
