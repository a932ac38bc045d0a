import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ml_experiment_nb.capture.artifacts import as_artifacts, save_artifact
from ml_experiment_nb.errors import CaptureError


class Model:
    def __init__(self):
        self.weights = [1, 2]


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("holds a connection")


def load(path: Path):
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize(
    ("value", "name", "file", "content"),
    [
        ("some text", "notes", "notes.txt", b"some text"),
        ("# title", "report.md", "report.md", b"# title"),
        ("a\r\nb", "raw", "raw.txt", b"a\r\nb"),
        ("", "empty", "empty.txt", b""),
        (b"\x00\x01", "blob", "blob.bin", b"\x00\x01"),
        (bytearray(b"PK"), "x.zip", "x.zip", b"PK"),
        (
            {"a": [1, None, "é"]},
            "config",
            "config.json",
            b'{\n  "a": [\n    1,\n    null,\n    "\\u00e9"\n  ]\n}',
        ),
        ([1, 2], "sub/folder/ids.json", "sub/folder/ids.json", b"[\n  1,\n  2\n]"),
        (0.5, "score", "score.json", b"0.5"),
        ("x", "a b:c*?.txt", "a b_c__.txt", b"x"),
        ("x", "./plots//ä.TXT", "plots/ä.TXT", b"x"),
    ],
)
def test_plain_values(tmp_path, value, name, file, content):
    saved = save_artifact(value, name, tmp_path / "out")
    assert saved == tmp_path / "out" / file
    assert saved.read_bytes() == content


@pytest.mark.parametrize(
    ("value", "name", "file"),
    [
        ({1, 2}, "ids", "ids.pkl"),
        ({("a", "b"): 1}, "pairs", "pairs.pkl"),
        ({"a": {1}}, "nested", "nested.pkl"),
        ([1, 2], "ids.pkl", "ids.pkl"),
        ((1, 2), "pair.pickle", "pair.pickle"),
        ({1, 2}, "v1.2", "v1.2.pkl"),
        (None, "nothing", "nothing.pkl"),
    ],
)
def test_what_json_cannot_hold_is_pickled(tmp_path, value, name, file):
    saved = save_artifact(value, name, tmp_path)
    assert saved.name == file
    assert load(saved) == value


def test_a_class_instance_and_a_lambda_are_pickled(tmp_path):
    assert load(save_artifact(Model(), "model", tmp_path)).weights == [1, 2]
    assert load(save_artifact(lambda x: x + 1, "step", tmp_path))(1) == 2


def test_a_list_that_holds_itself_is_pickled(tmp_path):
    ring = []
    ring.append(ring)
    assert save_artifact(ring, "ring", tmp_path).suffix == ".pkl"


@pytest.mark.parametrize(
    ("source", "name", "file"),
    [
        ("m.pt", "model", "model.pt"),
        ("m.pt", "model.pt", "model.pt"),
        ("m.pt", "model.v2", "model.v2.pt"),
        ("d.tar.gz", "data", "data.tar.gz"),
        ("LICENSE", "licence", "licence"),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_copied_with_its_suffix(tmp_path, kind, source, name, file):
    (tmp_path / source).write_text("content")
    saved = save_artifact(kind(tmp_path / source), name, tmp_path / "out")
    assert saved == tmp_path / "out" / file
    assert saved.read_text() == "content"
    assert (tmp_path / source).exists()


def test_a_folder_is_copied_whole_without_its_loops(tmp_path):
    source = tmp_path / "model.d"
    (source / "layers").mkdir(parents=True)
    (source / "layers" / "1.bin").write_text("1")
    (source / "layers" / "up").symlink_to(source)
    (source / "gone").symlink_to(tmp_path / "nowhere")
    saved = save_artifact(source, "model", tmp_path / "out")
    assert saved == tmp_path / "out" / "model"
    assert [str(path.relative_to(saved)) for path in sorted(saved.rglob("*"))] == ["layers", "layers/1.bin"]


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    saved = [save_artifact(text, "log", tmp_path).name for text in "abc"]
    assert saved == ["log.txt", "log-1.txt", "log-2.txt"]
    assert [(tmp_path / name).read_text() for name in saved] == ["a", "b", "c"]
    (tmp_path / "source").mkdir()
    folders = [save_artifact(tmp_path / "source", "model", tmp_path / "out").name for _ in range(2)]
    assert folders == ["model", "model-1"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "/"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(CaptureError, match="relative path without"):
        save_artifact("x", name, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_error_names_the_artifact_and_its_type_and_leaves_nothing(tmp_path):
    with pytest.raises(CaptureError) as caught:
        save_artifact(Unpicklable(), "net", tmp_path)
    expected = f"artifact 'net' ({__name__}.Unpicklable) can't be saved: holds a connection"
    assert str(caught.value) == expected
    assert str(pickle.loads(pickle.dumps(caught.value))) == expected
    assert list(tmp_path.iterdir()) == []


def test_paths_that_cannot_be_copied(tmp_path):
    with pytest.raises(CaptureError, match="is not there"):
        save_artifact(tmp_path / "gone.csv", "data", tmp_path / "out")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaptureError, match="not a plain file"):
        save_artifact(tmp_path / "pipe", "data", tmp_path / "out")
    with pytest.raises(CaptureError, match="holds the folder"):
        save_artifact(tmp_path, "all", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CaptureError, match="'x'"):
        save_artifact("text", "x", tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "file", "start"),
    [
        ("curve", "curve.png", b"\x89PNG"),
        ("curve.v2", "curve.v2.png", b"\x89PNG"),
        ("curve.svg", "curve.svg", b"<?xml"),
        ("curve.PDF", "curve.PDF", b"%PDF"),
    ],
)
def test_matplotlib(tmp_path, name, file, start):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    for value in (figure, axes):
        saved = save_artifact(value, name, tmp_path / type(value).__name__)
        assert saved.name == file
        assert saved.read_bytes().startswith(start)


def test_plotly(tmp_path):
    figure = pytest.importorskip("plotly.graph_objects").Figure(layout={"title": "loss"})
    page = save_artifact(figure, "loss", tmp_path)
    assert page.name == "loss.html"
    assert len(page.read_text(encoding="utf-8")) > 1_000_000  # plotly.js is inside: it opens offline
    assert json.loads(save_artifact(figure, "loss.json", tmp_path).read_text())["layout"]["title"] == {"text": "loss"}


def test_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"c": [1, 2]})
    assert save_artifact(frame, "table", tmp_path).read_text() == "c\n1\n2\n"
    indexed = frame.set_index(pandas.Index(["a", "b"], name="key"))
    assert save_artifact(indexed, "indexed.csv", tmp_path).read_text() == "key,c\na,1\nb,2\n"
    assert save_artifact(frame["c"], "column", tmp_path).read_text() == "c\n1\n2\n"
    assert save_artifact(pandas.Series([3]), "series", tmp_path).read_text() == "value\n3\n"


def test_pandas_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"c": [1, 2]}, index=["a", "b"])
    assert pandas.read_parquet(save_artifact(frame, "table.parquet", tmp_path)).equals(frame)
    series = pandas.Series([3.0, 4.0])
    assert list(pandas.read_parquet(save_artifact(series, "s.parquet", tmp_path))["value"]) == [3.0, 4.0]


def test_numpy(tmp_path):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6).reshape(2, 3)
    saved = save_artifact(array, "weights", tmp_path)
    assert saved.name == "weights.npy"
    assert (numpy.load(saved) == array).all()
    numbers = {"f": numpy.float32(0.5), "i": numpy.int64(2), "b": numpy.bool_(True)}
    assert json.loads(save_artifact(numbers, "numbers", tmp_path).read_text()) == {
        "f": 0.5,
        "i": 2,
        "b": True,
    }
    assert save_artifact({"w": array}, "nested", tmp_path).suffix == ".pkl"


def test_pillow(tmp_path):
    image = pytest.importorskip("PIL.Image").new("RGB", (2, 2))
    assert save_artifact(image, "picture", tmp_path).read_bytes().startswith(b"\x89PNG")
    assert save_artifact(image, "picture.jpg", tmp_path).read_bytes().startswith(b"\xff\xd8")


def test_a_users_class_of_the_same_name_is_not_a_figure(tmp_path):
    assert save_artifact(type("Figure", (), {"__module__": __name__})(), "x", tmp_path).suffix == ".pkl"


def test_no_library_is_imported_for_a_plain_value(tmp_path):
    script = (
        "import sys; from pathlib import Path; from ml_experiment_nb.capture.artifacts import save_artifact;"
        f"save_artifact({{'a': 1}}, 'a', Path({str(tmp_path)!r}));"
        "print(*{'numpy', 'pandas', 'matplotlib', 'plotly', 'PIL', 'cloudpickle'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == ""


def test_as_artifacts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("a.csv", "sub/a.csv", "b.png"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).touch()
    missing = Path("gone.txt")
    cases = [
        (None, {}),
        ({}, {}),
        ([], {}),
        ({"x": 1, 2: "y"}, {"x": 1, "2": "y"}),
        (["a.csv", Path("b.png")], {"a.csv": "a.csv", "b.png": Path("b.png")}),
        (("a.csv", "sub/a.csv"), {"a.csv": "a.csv", "a-1.csv": "sub/a.csv"}),
        ([missing], {"gone.txt": missing}),
        (["a.csv", "gone.txt"], {"artifact": ["a.csv", "gone.txt"]}),
        ("a.csv", {"artifact": "a.csv"}),
        ([1, 2], {"artifact": [1, 2]}),
        (0.5, {"artifact": 0.5}),
    ]
    for value, expected in cases:
        assert as_artifacts(value) == expected


def test_a_list_of_arrays_is_one_artifact_each():
    numpy = pytest.importorskip("numpy")
    assert list(as_artifacts([numpy.zeros(1), numpy.ones(1)])) == ["artifact", "artifact-1"]
