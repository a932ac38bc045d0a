"""What is done with installed packages in an image is done by a file of Python's own modules."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml_experiment_nb.images import settle


@pytest.fixture
def site(tmp_path):
    for name in ("pack/a.py", "pack/tests/test_a.py", "other/b.py", "single.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def test_files_and_folders_are_removed_and_nothing_else(site):
    settle.spare(["pack/tests", "single.py", "absent", "absent/too"], site)
    assert sorted(str(one.relative_to(site)) for one in site.rglob("*.py")) == ["other/b.py", "pack/a.py"]


def has_bytecode(file):
    return os.path.exists(importlib.util.cache_from_source(str(file)))


def test_what_is_named_is_compiled_and_trusted(site):
    (site / "pack/broken.py").write_text("def")
    settle.bytecode(["pack", "single.py", "absent", "absent.py"], site)
    assert [has_bytecode(site / name) for name in ("pack/a.py", "single.py", "other/b.py")] == [True, True, False]
    header = Path(importlib.util.cache_from_source(str(site / "pack/a.py"))).read_bytes()[4:8]
    assert header == b"\x01\0\0\0"  # by a hash that isn't checked


@pytest.mark.slow
def test_what_an_import_loads_is_found_without_a_trace_of_it(site):
    """What a module prints, raises or leaves running is no matter."""
    found = settle._imported(["json.tool", "no_such_module"])
    assert any(one.endswith("json/tool.py") for one in found)
    code = f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv = ['x', 'noisy', 'json.tool']; "
    (site / "noisy.py").write_text("import sys; print('noise'); sys.exit(3)")
    said = subprocess.check_output([sys.executable, "-c", code + settle._ASKED], text=True, stderr=subprocess.DEVNULL)
    assert any(one.endswith("json/tool.py") for one in json.loads(said.splitlines()[-1]))


def test_it_stands_by_itself():
    """An image hasn't this package when it is run."""
    text = Path(settle.__file__).read_text()
    assert "ml_experiment_nb" not in text
