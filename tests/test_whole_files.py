import os

import pytest

from ml_experiment_nb.whole_files import write_whole


def test_what_stood_there_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "é")
    write_whole(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    write_whole(path, "a\ud800\r\n", errors="backslashreplace")
    assert path.read_bytes() == b"a\\ud800\r\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_fails_leaves_what_stood_there_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "after")
    assert (path.read_text(), os.listdir(tmp_path)) == ("before", ["a.txt"])


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "a.txt", "x")
