"""What a container of an image begins with."""

import sys

import pytest

from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.entry import command_of

RUN = [sys.executable, "-P", "-m", "ml_experiment_nb.cli", "run", "train.ipynb"]


def test_words_are_those_of_a_run(capsys):
    env = {"MLFLOW_TRACKING_URI": "http://store"}
    assert command_of("train.ipynb", ["-p", "C", "0.5"], env) == [*RUN, "-p", "C", "0.5"]
    assert capsys.readouterr().err == ""


def test_a_record_that_stays_in_the_container_is_said(capsys):
    assert command_of("train.ipynb", [], {}) == RUN
    assert "the record stays in this container" in capsys.readouterr().err
    command_of("train.ipynb", ["--plan"], {})
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_not_there_is_said_with_the_way_to_mount_it(tmp_path):
    with pytest.raises(ImageError, match=r"is no folder that user \d+ may write to: docker run -v"):
        command_of("train.ipynb", [], {"ML_EXPERIMENT_ROOT": str(tmp_path / "absent")})
    assert command_of("train.ipynb", [], {"ML_EXPERIMENT_ROOT": str(tmp_path)}) == RUN


def test_lab_is_jupyterlab_and_takes_its_options():
    pytest.importorskip("jupyterlab")
    command = command_of("my work/train.ipynb", ["lab", "--debug"], {})
    assert command[:4] == [sys.executable, "-P", "-m", "jupyterlab"]
    assert command[-2:] == ["--LabApp.default_url=/lab/tree/my%20work/train.ipynb", "--debug"]
    assert "default_url" not in " ".join(command_of("../train.ipynb", ["lab"], {}))
    with pytest.raises(ImageError, match="is no folder that"):
        command_of("train.ipynb", ["lab"], {"ML_EXPERIMENT_ROOT": "/absent"})


def test_a_word_that_is_none_of_a_run_is_no_notebook_to_write():
    with pytest.raises(ImageError, match=r"'bash' is no option of a run.*--entrypoint sh"):
        command_of("train.ipynb", ["bash"], {})
    assert command_of("train.ipynb", ["out.ipynb"], {"ML_EXPERIMENT_ROOT": "/tmp"}) == [*RUN, "out.ipynb"]
    assert command_of("train.ipynb", ["-"], {"ML_EXPERIMENT_ROOT": "/tmp"}) == [*RUN, "-"]


def test_an_image_without_jupyterlab_says_so(monkeypatch):
    monkeypatch.setattr("ml_experiment_nb.images.entry.find_spec", lambda name: None)
    with pytest.raises(ImageError, match="make it with --lab"):
        command_of("train.ipynb", ["lab"], {})
