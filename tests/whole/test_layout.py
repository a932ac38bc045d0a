"""Tests lie as the source does: the tests of a module are found by its name."""

from pathlib import Path

import ml_experiment_nb

TESTS = Path(__file__).parents[1]
SOURCES = Path(ml_experiment_nb.__file__).parent
OF_NO_MODULE = {"preflight/test_clean.py"}  # all of the package's rules at once
OF_SEVERAL = ("whole", "browser")


def is_of_a_module(path):
    name = path.stem.removeprefix("test_")
    is_package = name == path.parent.name and (SOURCES / path.parent / "__init__.py").exists()
    return is_package or (SOURCES / path.parent / f"{name}.py").exists()


def test_a_file_of_tests_is_called_as_the_module_that_it_is_about():
    found = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")]
    other = {str(path) for path in found if path.parts[0] not in OF_SEVERAL and not is_of_a_module(path)}
    assert other == OF_NO_MODULE, "name it as its module, or put it into tests/whole if it is about several"
