import sys

import pytest
from frozen_programs import frozen, names

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.errors import ImageError


def test_all_that_the_kernel_has_is_in_it(book):
    found = frozen(book("import yaml"))
    assert {"ml-experiment-nb", "pyyaml", "pytest", "numpy"} <= names(found)
    assert found.dropped == ()
    assert "polars" in names(found)  # the run itself has installed it
    assert len(found.environments) == 1
    assert found.kernel.interpreter.version == sys.version.split()[0]


@pytest.mark.slow
def test_only_imports_drops_what_nothing_imports_and_says_it(book):
    found = frozen(book("import polars"), only_imports=True)
    assert {"polars", "ml-experiment-nb", "mlflow", "ipykernel"} <= names(found)
    assert "pytest" in found.dropped
    assert not {"pytest", "playwright", "jupyterlab"} & names(found)
    assert not found.has_lab
    assert names(found) | set(found.dropped) == names(frozen(book("import polars")))


@pytest.mark.slow
def test_a_declared_package_is_not_dropped(book):
    path = book("1")
    (path.parent / "requirements.txt").write_text("pexpect>=4\n")
    assert "pexpect" in names(frozen(path, only_imports=True))


@pytest.mark.slow
def test_a_package_can_be_left_out_by_its_name(book):
    assert "pexpect" not in names(frozen(book("1"), without=("Pexpect",)))
    with pytest.raises(ImageError, match="the kernel has no package 'pexpct' that could be left out; did you mean"):
        frozen(book("1"), without=("pexpct",))


def test_a_runs_packages_stand_for_those_of_now(book):
    recorded = (
        Package("numpy", "1.0"),
        Package("ml-experiment-nb", "0.0", "file:///absent"),
        Package("gone", "1", "file:///absent"),
    )
    found = frozen(book("import polars"), recorded=(*recorded, Package("ipykernel", "7")), lab=False)
    assert {one.name: one.version for one in found.kernel.packages if one.name == "numpy"} == {"numpy": "1.0"}
    assert "polars" in names(found)  # the run itself has installed it
    assert len(found.environments) == 1  # this package is the one that is installed now
    assert "gone 1 was installed from file:///absent, and isn't any more: left out" in found.notes


@pytest.mark.slow
def test_a_single_run_needs_no_debugger_and_no_completion(book):
    found = frozen(book("1"), only_imports=True)
    assert {"debugpy", "jedi", "ray"} <= set(found.dropped)
    assert not {"debugpy", "jedi"} & set(frozen(book("1"), only_imports=True, lab=True).dropped)
    assert "jedi" not in frozen(book("import jedi"), only_imports=True).dropped
