"""What code stands on: files and packages that it imports, and values that it reads."""

import math
import platform
import threading

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from ml_experiment_nb.capture.basis import ENVIRONMENT, MODULES, UNSEEN, VALUES, basis_of, light
from ml_experiment_nb.targets import Cell, Command, Notebook, Script


@pytest.fixture
def files(tmp_path):
    def write(texts=(), **more):
        for name, text in {**dict(texts), **more}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def shell():
    """A session whose functions have a source, as those of a notebook."""
    found = InteractiveShell()

    def run(text):
        result = found.run_cell(text)
        assert result.success
        return found.user_ns

    return run


def names(folder, source):
    return sorted(basis_of([Cell(source=source)], folder).files)


def test_a_module_is_followed_through_the_project_s_own_files(files):
    folder = files(helpers="import deeper", deeper="import math", unused="")
    assert names(folder, "import helpers") == ["deeper.py", "helpers.py"]


def test_packages_and_relative_imports(files):
    model = "from . import parts\nfrom .sub.more import x"
    folder = files({"net/__init__": "", "net/model": model, "net/parts": "", "net/sub/more": ""})
    found = ["net/__init__.py", "net/model.py", "net/parts.py", "net/sub/more.py"]
    assert names(folder, "from net import model") == found
    assert names(folder, "import net.parts") == ["net/__init__.py", "net/parts.py"]


def test_what_a_function_imports_later_counts_too(files):
    assert names(files(late="x = 1"), "def f():\n    import late") == ["late.py"]


def test_files_that_import_each_other(files):
    assert names(files(a="import b", b="import a"), "import a") == ["a.py", "b.py"]


def test_a_module_that_is_no_python_still_counts(files):
    assert names(files(broken="def ("), "import broken") == ["broken.py"]


def test_a_script_finds_what_lies_beside_it_and_a_command_what_it_names(files):
    folder = files({"sub/train": "import beside", "sub/beside": ""}, run="import helpers", helpers="")
    assert sorted(basis_of([Script(path="sub/train.py")], folder).files) == ["sub/beside.py"]
    assert sorted(basis_of([Command(command="python run.py --x 1 missing.py")], folder).files) == [
        "helpers.py",
        "run.py",
    ]
    assert names(folder, "%run run.py") == ["helpers.py", "run.py"]


def test_the_digest_follows_the_files(files):
    before = basis_of([Cell(source="import helpers")], files(helpers="x = 1")).tags()[MODULES]
    assert before.startswith("1 file ")
    assert basis_of([Cell(source="import helpers")], files(helpers="x = 2")).tags()[MODULES] != before
    assert basis_of([Cell(source="x = 1")], files()).tags()[MODULES] == "none"


def test_packages_are_named_by_what_was_installed(tmp_path):
    tags = basis_of([Cell(source="import sklearn.svm, os\nfrom numpy import pi\nimport not_there")], tmp_path).tags()
    python, *packages = tags[ENVIRONMENT].split("; ")
    assert python == f"Python {platform.python_version()}"
    assert [one.partition("==")[0] for one in packages] == ["numpy", "scikit-learn"]
    assert f"numpy=={np.__version__}" in packages


def test_this_package_itself_is_no_part_of_the_code(tmp_path):
    found = basis_of([Cell(source="from ml_experiment_nb import job\nfrom ml_experiment import report")], tmp_path)
    assert (found.files, found.packages) == ({}, ())


def test_targets_that_are_not_there_count_for_nothing(tmp_path):
    found = basis_of([Script(path="gone.py"), Notebook(path="gone.ipynb")], tmp_path)
    assert (found.files, found.packages) == ({}, ())


# --- values ---


def values(folder, given):
    return basis_of([Cell(source="x")], folder, values=given)


def test_values_are_compared_by_content(tmp_path):
    one = values(tmp_path, {"X": np.arange(3), "d": pd.DataFrame({"a": [1, 2]})})
    assert one.values == values(tmp_path, {"X": np.arange(3), "d": pd.DataFrame({"a": [1, 2]})}).values
    assert one.values != values(tmp_path, {"X": np.arange(4), "d": pd.DataFrame({"a": [1, 2]})}).values
    assert one.values != values(tmp_path, {"Y": np.arange(3), "d": pd.DataFrame({"a": [1, 2]})}).values
    assert [name.partition("==")[0] for name in one.packages] == ["numpy", "pandas"]


def test_no_values_and_unknown_ones_are_told_apart(tmp_path):
    assert values(tmp_path, {}).tags()[VALUES] == "none"
    unknown = values(tmp_path, {"lock": threading.Lock()})
    assert unknown.problem.startswith("lock: ")
    assert VALUES not in unknown.tags()


def test_modules_and_installed_functions_count_by_their_packages(tmp_path):
    found = values(tmp_path, {"np": np, "sqrt": math.sqrt, "frame": pd.DataFrame})
    assert found.values == values(tmp_path, {"np": np, "sqrt": math.sqrt, "frame": pd.DataFrame}).values
    assert not found.problem


def test_a_function_of_the_notebook_counts_with_what_it_reads(tmp_path, shell):
    text = "k = 1\ndef inner(x):\n    return x * k\ndef f(x):\n    return [inner(y) for y in x]"
    first = values(tmp_path, {"f": shell(text)["f"]}).values
    assert values(tmp_path, {"f": shell("# a comment\n" + text)["f"]}).values == first
    assert values(tmp_path, {"f": shell(text.replace("k = 1", "k = 2"))["f"]}).values != first
    assert values(tmp_path, {"f": shell(text.replace("x * k", "x + k"))["f"]}).values != first


def test_a_class_of_the_notebook_counts_with_what_its_methods_read(tmp_path, shell):
    text = "k = 1\nclass A:\n    def f(self):\n        return k"
    first = values(tmp_path, {"A": shell(text)["A"]}).values
    assert values(tmp_path, {"A": shell(text)["A"]}).values == first
    assert values(tmp_path, {"A": shell(text.replace("k = 1", "k = 2"))["A"]}).values != first


def test_functions_that_call_each_other(tmp_path, shell):
    found = shell("def a(n):\n    return b(n)\ndef b(n):\n    return a(n) if n else 0")
    assert not values(tmp_path, {"a": found["a"]}).problem


def test_closures_count_by_what_they_hold(tmp_path, shell):
    found = shell("def make(k):\n    def f():\n        return k\n    return f\none, two = make(1), make(2)")
    assert values(tmp_path, {"f": found["one"]}).values != values(tmp_path, {"f": found["two"]}).values


def test_what_is_light():
    assert light({"X": np.zeros(1000), "name": "x", "rows": [{"a": 1}] * 100})
    assert not light({"X": np.zeros(10_000_000)})
    assert not light({"rows": {"train": list(range(1_000_000))}})
    assert not light({"d": pd.DataFrame({"a": np.zeros(10_000_000)})})


def test_what_is_not_light_is_looked_at_only_where_that_is_asked_for(tmp_path):
    small, large = {"X": np.zeros(10)}, {"X": np.zeros(10_000_000)}
    seen = basis_of([Cell(source="X")], tmp_path, values=small, fully=False)
    assert (seen.values, seen.problem) == (values(tmp_path, small).values, "")
    assert basis_of([Cell(source="X")], tmp_path, values=large, fully=False).problem == UNSEEN
    assert not values(tmp_path, large).problem
