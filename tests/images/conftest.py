"""Notebooks that images are made of, and what they are built by."""

import nbformat
import pytest


@pytest.fixture
def book(tmp_path, monkeypatch, image_cache):
    """Make notebooks in an empty project."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(image_cache))
    root = tmp_path / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text("")

    def make(*cells, name="train.ipynb", kernel="python3"):
        nb = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": kernel, "display_name": "", "language": "python"}}
        )
        nb.cells = [nbformat.v4.new_code_cell(cell, id=f"c{k}") for k, cell in enumerate(cells)]
        path = root / name
        path.parent.mkdir(exist_ok=True)
        nbformat.write(nb, path)
        return path

    return make


@pytest.fixture
def engine(docker):
    """The engine, reached."""
    from ml_experiment_nb.images.engine import reach

    with reach() as found:
        yield found


@pytest.fixture
def context(tmp_path):
    """Write a build context."""

    def write(dockerfile, **files):
        (tmp_path / "Dockerfile").write_text(dockerfile)
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return tmp_path

    return write
