"""The folder that an image is built from holds what is needed, no secret, and is the same for the same."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from made_wheels import make_wheel

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.context import image_of, new_folder, write_context
from ml_experiment_nb.images.environments import Environment
from ml_experiment_nb.images.freeze import freeze
from ml_experiment_nb.images.program import read_program
from ml_experiment_nb.images.wheels import Gathered, Wheel


@pytest.fixture
def made(tmp_path, monkeypatch, image_cache):
    """A program whose environment has one package of the index and one of this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(image_cache))
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    (root / "data/a.csv").write_text("1")
    (root / "helper_module.py").write_text("x = 1")
    nb = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    )
    nb.cells = [nbformat.v4.new_code_cell("import helper_module\nopen('data/a.csv')\nsecret('API_TOKEN')", id="c")]
    nbformat.write(nb, root / "train.ipynb")
    uv = make_wheel(tmp_path / "wheels", "uv", "0.1")
    import zipfile

    with zipfile.ZipFile(uv, "a") as archive:
        archive.writestr("uv-0.1.data/scripts/uv", "#!/bin/sh\n")

    def make(name):
        frozen = freeze(read_program(root / "train.ipynb"), Choices(), caller=sys.executable)
        packages = (Package("tinypack", "1.0"), Package("mine", "2.0", root.as_uri(), editable=True))
        environment = Environment("env", frozen.kernel.interpreter, packages)
        wheels = tuple(Wheel(one, make_wheel(tmp_path / "wheels", one.name, one.version), "0" * 64) for one in packages)
        gathered = [Gathered(environment, wheels, ("a note",))]
        image = image_of(frozen, gathered, base="base:1", version="0.1.0", labels={"mlexp.version": "0.1.0"})
        with new_folder(tmp_path / name) as folder:
            write_context(folder, frozen, gathered, image, uv)
        return tmp_path / name

    make.root = root
    return make


def files(folder):
    return {str(one.relative_to(folder)): one for one in sorted(folder.rglob("*")) if one.is_file()}


@pytest.mark.slow
def test_it_has_what_is_needed_and_nothing_else(made):
    found = files(made("one"))
    assert list(found) == sorted(
        [
            *("Dockerfile", "env/bytecode.txt", "env/local.txt", "env/requirements.txt", "env/spare.txt"),
            *("frozen.json", "tools/settle.py", "tools/uv"),
            *("local/mine-2.0-py3-none-any.whl", "wheels/tinypack-1.0-py3-none-any.whl"),
            *("work/data/a.csv", "work/helper_module.py", "work/train.ipynb"),
        ]
    )
    assert found["env/requirements.txt"].read_text() == f"tinypack==1.0 --hash=sha256:{'0' * 64}\n"
    assert found["tools/uv"].stat().st_mode & 0o777 == 0o755
    assert found["work/data/a.csv"].stat().st_mode & 0o777 == 0o666  # whoever the container runs as
    assert found["work/data/a.csv"].parent.stat().st_mode & 0o777 == 0o777
    manifest = json.loads(found["frozen.json"].read_text())
    assert manifest["environments"]["env"][0]["name"] == "tinypack"
    assert manifest["not_frozen"][-1] == "a note"
    assert manifest["secrets"] == ["API_TOKEN"]
    assert str(made.root) not in found["frozen.json"].read_text()


def test_the_same_is_the_same_byte_for_byte(made):
    one, two = made("one"), made("two")
    assert {name: path.read_bytes() for name, path in files(one).items()} == {
        name: path.read_bytes() for name, path in files(two).items()
    }


@pytest.fixture
def token(monkeypatch):
    """A secret that is set, and that this process alone gets to know."""
    seen: dict[str, str] = {}
    for module in ("secrecy", "masking", "patterns"):
        monkeypatch.setattr(f"ml_experiment_nb.{module}.secrets_seen", seen)
    monkeypatch.setattr("ml_experiment_nb.patterns._made", None)
    monkeypatch.setenv("API_TOKEN", "s3cr3t-value-of-it")


@pytest.mark.parametrize("place", ["data/a.csv", "helper_module.py"])
def test_a_file_that_holds_a_secret_is_refused_and_nothing_is_left(made, token, tmp_path, place):
    (made.root / place).write_text("x = 's3cr3t-value-of-it'")
    with pytest.raises(ImageError, match=f"the value of the secret API_TOKEN stands in {place}") as error:
        made("one")
    assert "s3cr3t" not in str(error.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["project", "wheels"]
    assert "s3cr3t" in (made.root / place).read_text()  # the project's own file is left alone


def test_a_file_that_is_not_wholly_looked_through_is_noted(made, token, monkeypatch):
    monkeypatch.setattr("ml_experiment_nb.masking._LARGEST", 100)
    (made.root / "data/a.csv").write_text("1" * 101)
    notes = json.loads(files(made("one"))["frozen.json"].read_text())["not_frozen"]
    assert "data/a.csv was not looked through for secrets: it is larger than 4 GiB" in notes


def test_a_picture_whose_metadata_holds_a_secret_is_refused(made, token, tmp_path):
    from PIL import Image, PngImagePlugin

    told = PngImagePlugin.PngInfo()
    told.add_text("comment", "s3cr3t-value-of-it", zip=True)
    Image.new("L", (1, 1)).save(made.root / "data/a.csv", "png", pnginfo=told)
    with pytest.raises(ImageError, match=r"metadata of data/a\.csv"):
        made("one")
    assert not (tmp_path / "one").exists()


def test_a_folder_that_is_in_use_is_not_written_to(made, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/mine.txt").write_text("")
    with pytest.raises(ImageError, match="is there already"):
        made("one")
    with pytest.raises(ImageError, match="there is no folder"):
        made("absent/one")


def test_an_empty_folder_is_taken(made, tmp_path):
    (tmp_path / "one").mkdir()
    assert "Dockerfile" in os.listdir(made("one"))
    assert Path(tmp_path / "one").stat()
