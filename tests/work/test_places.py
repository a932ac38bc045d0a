import json
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from papermill.iorw import papermill_io

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.work.places import Places, file_name, read_text, write_text


class Memory:
    """A handler as another package may register it with papermill."""

    def __init__(self):
        self.found = {}
        self.broken = False

    def read(self, path):
        return self.found[path].encode()

    def write(self, text, path):
        if self.broken:
            raise OSError("the line is cut")
        self.found[path] = text


@pytest.fixture
def memory():
    handler = Memory()
    entry = ("memory://", handler)
    papermill_io.register(*entry)
    yield handler
    papermill_io._handlers.remove(entry)


def test_registered_schemes_and_files(memory, tmp_path):
    write_text("é", "memory://a.ipynb")
    assert memory.found == {"memory://a.ipynb": "é"}
    assert read_text("memory://a.ipynb") == "é"
    write_text("é", str(tmp_path / "a.ipynb"))
    assert read_text(str(tmp_path / "a.ipynb")) == "é"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("memory://none.ipynb", "memory://none.ipynb: can't be read: 'memory://none.ipynb'"),
        ("ftp://host/x.ipynb", "papermill knows no such place; it knows abs://, adl://"),
    ],
)
def test_what_can_not_be_read(memory, path, why):
    with pytest.raises(SpecError) as caught:
        read_text(path)
    assert why in str(caught.value)


def test_a_missing_driver_says_what_to_install(monkeypatch):
    from papermill import iorw
    from papermill.exceptions import missing_dependency_generator

    monkeypatch.setattr(iorw, "S3", missing_dependency_generator("boto3", "s3"))  # as where boto3 isn't installed
    for call in (lambda: read_text("s3://b/x.ipynb"), lambda: write_text("", "s3://b/x.ipynb")):
        with pytest.raises(SpecError, match=r"s3://b/x.ipynb: can't be .*pip install papermill\[s3\]"):
            call()


def test_names_of_copies():
    names = ("-", "a/b.ipynb", "s3://b/x.ipynb", "https://h/d/x.ipynb?k=a/b", "https://h/", "https://h/x.json")
    assert [file_name(name) for name in names] == [
        "stdin.ipynb", "b.ipynb", "x.ipynb", "x.ipynb", "notebook.ipynb", "x.ipynb"
    ]  # fmt: skip


def place(tmp_path, **options):
    options = {"input_path": "in", "output_path": "memory://o", "kept": tmp_path / "k", "copied": True} | options
    return Places("the notebook", **options)


def test_what_stands_behind_papermills_paths(memory, tmp_path):
    before = list(papermill_io._handlers)
    behind = place(tmp_path)
    with behind.registered():
        assert papermill_io.get_handler("in").read("in") == "the notebook"
        papermill_io.get_handler("memory://o").write("state 1", "memory://o")
        assert (tmp_path / "k").read_text() == memory.found["memory://o"] == "state 1"
    assert papermill_io._handlers == before


def test_a_path_that_can_not_be_written_at_first_stops_the_work(memory, tmp_path):
    behind = place(tmp_path)
    memory.broken = True
    with pytest.raises(SpecError, match="the line is cut"):
        behind.write("state 1", "memory://o")
    memory.broken = False
    behind.finish()
    assert memory.found == {}


def test_a_path_that_fails_later_gets_the_last_state_in_the_end(memory, tmp_path):
    behind = place(tmp_path)
    behind.write("state 1", "memory://o")
    memory.broken = True
    behind.write("state 2", "memory://o")
    assert "the line is cut" in behind.problem
    memory.broken = False
    behind.write("state 3", "memory://o")
    assert memory.found == {"memory://o": "state 1"}
    behind.finish()
    assert memory.found == {"memory://o": "state 3"}


def test_without_a_save_after_each_cell_the_path_is_written_in_the_end(memory, tmp_path):
    behind = place(tmp_path, copied=False)
    behind.write("state 1", "memory://o")
    assert (memory.found, (tmp_path / "k").read_text()) == ({}, "state 1")
    behind.finish()
    assert memory.found == {"memory://o": "state 1"}


def test_old_outputs_are_put_back(tmp_path):
    cell = new_code_cell("1", id="a")
    text = nbformat.writes(new_notebook(cells=[cell, new_code_cell("2", id="b")]))
    old = {"outputs": [dict(new_output("stream", text="old"))], "execution_count": 7}
    place(tmp_path, output_path=str(tmp_path / "k"), old_outputs={"a": old}).write(text, "")
    first, second = json.loads((tmp_path / "k").read_text())["cells"]
    assert (first["outputs"], first["execution_count"]) == (old["outputs"], 7)
    assert second["outputs"] == []


def test_standard_input_that_is_no_text(monkeypatch):
    class Stdin:
        class buffer:
            read = staticmethod(lambda: b"\xff")

    monkeypatch.setattr(sys, "stdin", Stdin)
    with pytest.raises(SpecError, match="standard input: is not UTF-8 text: byte 0"):
        read_text("-")
