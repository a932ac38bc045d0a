"""A local package is built anew when what its wheel is made of has changed, and only then."""

import sys
import zipfile
from pathlib import Path

import pytest
from made_wheels import BACKEND

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.images.interpreter import interpreter
from ml_experiment_nb.images.pip import Index, Pip
from ml_experiment_nb.images.sources import _unused_by, from_folder

PROJECT = {
    "backend.py": BACKEND,
    "mine.py": "x = 1\n",
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    '[project]\nname = "mine"\nversion = "1.0"\n',
    "train.ipynb": '{"cells": []}',
    "data/a.csv": "1,2,3",
}


def write(root, files):
    for place, text in files.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)


@pytest.fixture
def project(tmp_path):
    """A project of the usual layout: a package that is imported from its source, with a notebook and data beside."""
    write(tmp_path / "project", PROJECT)
    return tmp_path / "project"


@pytest.fixture
def built(project, tmp_path):
    """Return the wheel of the project, and whether it was built for it."""
    pip = Pip(interpreter(sys.executable, tmp_path), Index())
    package = Package("mine", "1.0", project.as_uri(), editable=True)

    def build():
        said = []
        wheel = from_folder(pip, tmp_path / "kept", package, said.append)
        return wheel, bool(said)

    return build


@pytest.mark.slow
def test_a_changed_notebook_beside_a_package_builds_nothing(project, built):
    wheel, is_new = built()
    assert is_new
    write(project, {"train.ipynb": '{"cells": [1]}', "data/a.csv": "4", "data/b.csv": "5", "plots/one.png": "6"})
    assert built() == (wheel, False)
    for change in ({"mine.py": "x = 22\n"}, {"inner/new.py": ""}, {"pyproject.toml": PROJECT["pyproject.toml"] + "\n"}):
        write(project, change)
        wheel, is_new = built()
        assert is_new
    assert sorted(one.name for one in wheel.parents[1].iterdir() if one.name.startswith(".")) == []


def test_what_a_wheel_has_by_its_content_is_used(tmp_path):
    write(tmp_path, {"pack/data.csv": "1", "pack/notes.ipynb": "{}", "other/data.csv": "2", "pack/core.py": "x"})
    wheel = tmp_path / "pack-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pack/core.py", "x")
        archive.writestr("pack/elsewhere/data.csv", "1")
    names = ("pack/data.csv", "pack/notes.ipynb", "other/data.csv", "pack/core.py")
    unused = _unused_by(wheel, {one: Path(tmp_path, one) for one in names})
    assert "pack/notes.ipynb" in unused
    assert "other/data.csv" in unused
    assert "other/new.csv" in unused
    for place in ("pack/data.csv", "pack/new.csv", "pack/core.py", "other/new.py", "other/new.proto", "setup.cfg"):
        assert place not in unused
