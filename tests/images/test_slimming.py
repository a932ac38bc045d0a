"""What an image does without is told from the packages that are installed, and never what their code needs."""

import sys
from dataclasses import replace

import pytest

from ml_experiment_nb.capture.packages import packages_on
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.environments import Environment
from ml_experiment_nb.images.interpreter import Interpreter
from ml_experiment_nb.images.slimming import Spare, _used, spared, told

VERSION = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def spare(tmp_path, monkeypatch):
    """Install files of a package by hand, and say what is spared of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    site = tmp_path / "site"
    info = site / "pack-1.0.dist-info"

    def find(files, *, code=(), debian=(), version="1.0", **choices):
        rows = []
        for place, text in files.items():
            (site / place).parent.mkdir(parents=True, exist_ok=True)
            (site / place).write_text(text)
            rows.append(f"{place},sha256=x,{len(text)}")
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Name: pack\nVersion: 1.0\n")
        (info / "RECORD").write_text("\n".join([*rows, "../../bin/pack,sha256=x,5", "pack/__pycache__/a.pyc,,"]))
        python = Interpreter(sys.executable, VERSION, "/", "linux-x86_64", (str(site),), (str(site),))
        packages = tuple(replace(one, version=version) for one in packages_on([str(site)]))
        environment = Environment("env", python, packages)
        return {one.place: one for one in spared(environment, Choices(**choices), code, debian)}

    return find


TESTED = {"pack/__init__.py": "", "pack/tests/__init__.py": "", "pack/tests/test_a.py": "12345"}


def test_a_folder_of_tests_is_spared_and_counted(spare):
    assert spare(TESTED) == {"pack/tests": Spare("pack", "pack/tests", "tests", 5)}


def test_a_folder_without_any_test_is_no_folder_of_tests(spare):
    assert spare({"pack/test/__init__.py": "", "pack/test/client.py": "1", "pack/testing/test_a.py": "1"}) == {}


@pytest.mark.parametrize(
    "line",
    [
        "from pack.tests import helper",
        "from pack import tests",
        "    import pack.tests.test_a as a",
        "from .tests.test_a import x",
        "from . import core, tests",
        "import_module('pack.tests.helper')",
        "DATA = os.path.join(HERE, 'tests', 'data')",
        "open('tests/data/a.csv')",
        "DATA = Path(HERE) / 'tests'",
    ],
)
def test_tests_that_other_modules_need_go_in(spare, line):
    assert spare({**TESTED, "pack/core.py": f"import os\n{line}\n"}) == {}


@pytest.mark.parametrize(
    "line",
    [
        "from other.tests import helper",
        "split = 'tests'",
        ">>> join(dirname(__file__), 'tests')",
        "# the tests of pack.tests are these",
        "from pack import testsuite",
    ],
)
def test_tests_that_are_only_spoken_of_are_spared(spare, line):
    assert list(spare({**TESTED, "pack/core.py": f"{line}\n"})) == ["pack/tests"]


def test_pytests_own_file_needs_no_tests(spare):
    assert list(spare({**TESTED, "pack/conftest.py": "from pack.tests import helper\n"})) == ["pack/tests"]


def test_tests_that_the_users_code_imports_go_in(spare):
    assert spare(TESTED, code=["x = 1\nfrom pack.tests.test_a import y"]) == {}
    assert list(spare(TESTED, code=["import pack"])) == ["pack/tests"]


def test_sources_are_spared_where_the_compiled_module_lies_beside(spare):
    found = spare({"pack/fast.cpython-311-x86_64-linux-gnu.so": "", "pack/fast.c": "12", "pack/driver.c": "int x;"})
    assert found == {"pack/fast.c": Spare("pack", "pack/fast.c", "sources of compiled modules", 2)}


def test_what_runs_need_no_page_of_is_left_out_by_only_imports(spare):
    files = {"mlflow/server/js/a.js": "123", "mlflow/server/handlers.py": "", "pack/a.js.map": "1"}
    assert list(spare(files)) == ["pack/a.js.map"]
    assert list(spare(files, only_imports=True)) == ["mlflow/server/js", "pack/a.js.map"]


def test_what_is_for_java_goes_in_with_a_java(spare):
    files = {"ray/jars/ray_dist.jar": "123"}
    assert list(spare(files)) == ["ray/jars"]
    assert spare(files, debian=["git", "default-jre-headless"]) == {}


def test_packages_are_taken_whole_where_that_is_asked(spare):
    assert spare(TESTED, whole=True) == {}


def test_a_package_of_another_version_than_is_installed_is_taken_whole(spare):
    assert spare(TESTED, version="2.0") == {}


def test_each_kind_is_told_in_a_line_the_largest_first():
    found = [Spare(name, f"{name}/tests", "tests", size) for name, size in zip("abcd", (4, 3, 2, 1), strict=True)]
    lines = told([*found, Spare("a", "a.js.map", "source maps", 100)])
    assert lines == [("without", "source maps, 100 B: a"), ("without", "tests, 10 B: a, b, c and 1 more")]


def test_a_module_beside_its_tests_is_told_from_one_above():
    tests = {"pack/io/tests"}
    assert _used(b"open('io/tests/a.csv')", ["pack"], tests) == tests
    assert _used(b"open('tests/a.csv')", ["pack"], tests) == set()
    assert _used(b"from ..io.tests import x", ["pack", "core"], tests) == tests
