import pytest

from ml_experiment_nb.datasets import Data, asked_for, listed


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data/deep").mkdir(parents=True)
    for name in ("data/a.csv", "data/b.csv", "data/deep/c.txt", "train.py"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "names", "files"),
    [
        ("data", ["data"], [["a.csv", "b.csv", "c.txt"]]),
        ("data/a.csv", ["data/a.csv"], [["a.csv"]]),
        (["data/*.csv", "data/deep"], ["data/*.csv", "data/deep"], [["a.csv", "b.csv"], ["c.txt"]]),
        ({"folder": "data", "files": "**/*.txt"}, ["**/*.txt"], [["c.txt"]]),
        ({"values": "X"}, [], []),
    ],
)
def test_names_and_patterns(folder, asked, names, files):
    found = listed(Data.model_validate(asked), folder)
    assert [one.name for one in found] == names
    assert [[path.name for path in one.files] for one in found] == files


def test_our_own_folder_is_no_data(folder):
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("")
    [found] = listed(Data(folder="."), folder)
    assert [path.name for path in found.files] == ["a.csv", "b.csv", "c.txt", "train.py"]


def test_words_are_names_or_files():
    assert asked_for(["X", "X.csv"], {"X"}) == {"files": ["X.csv"], "values": ["X"]}
    assert asked_for("X", {"X": 1}) == {"files": [], "values": ["X"]}
