import json
from pathlib import Path

import nbformat
import pytest

from ml_experiment_nb.errors import ImageError, SpecError
from ml_experiment_nb.images.program import read_program


def test_a_kernel_that_is_not_there_or_not_pythons_is_refused(book, tmp_path, monkeypatch):
    with pytest.raises(SpecError, match="no kernel is called 'absent'"):
        read_program(book("1", kernel="absent"))
    spec = tmp_path / "share/jupyter/kernels/other/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["R"], "language": "R", "display_name": "R"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    with pytest.raises(ImageError, match="the kernel 'other' is for R"):
        read_program(book("1", kernel="other"))


def test_a_spec_is_written_anew_without_what_is_not_in_an_image(book):
    path = book("C = 1")
    spec = path.parent / "svm.yaml"
    spec.write_text(
        "name: SVM\nrun: [train.ipynb]\nparams: {C: 2, token: secret(API_TOKEN)}\ndata: [a.csv]\n"
        "docker_config: {image: 'x:1'}\n"
    )
    (path.parent / "a.csv").write_text("1")
    program = read_program(spec)
    text = program.contents[Path("svm.yaml")].decode()
    assert "docker" not in text
    assert str(path.parent) not in text
    assert program.file == "svm.yaml"
    assert program.secrets == ("API_TOKEN",)
    assert program.data == (path.parent / "a.csv",)
    assert program.notes == ("docker_config is left out: the image itself is what it runs in",)


def test_outputs_are_no_part_of_a_program(book):
    path = book("1")
    before = read_program(path).contents
    nb = nbformat.read(path, 4)
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text="a secret")]
    nb.cells[0].execution_count = 7
    nbformat.write(nb, path)
    assert read_program(path).contents == before
