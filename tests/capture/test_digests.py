import os
import subprocess
import sys
import time
from datetime import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from ml_experiment_nb.capture import digests
from ml_experiment_nb.capture.digests import file_digests, joined, known_digests, value_digest
from ml_experiment_nb.errors import CaptureError


def old(path, seconds=10):
    """Have a file be older than the time for which it may change unseen."""
    stamp = time.time() - seconds
    os.utime(path, (stamp, stamp))
    return path


@pytest.fixture
def settled(monkeypatch):
    """A file's change of a moment ago counts as settled: nobody can set its ctime back."""
    monkeypatch.setattr(digests, "_FRESH", -1)


def test_a_files_digest_is_its_sha256(tmp_path):
    (tmp_path / "a.csv").write_text("C\n1\n")
    [found] = file_digests([tmp_path / "a.csv"], None)
    assert found.digest == subprocess.check_output(["sha256sum", tmp_path / "a.csv"]).split()[0].decode()
    assert found.size == 4


def test_a_file_is_read_once_for_as_long_as_it_stays(tmp_path, settled, monkeypatch):
    file, cache = tmp_path / "a.csv", tmp_path / "digests.db"
    file.write_text("1")
    assert known_digests([file], cache) is None
    first = file_digests([file], cache)
    read = []
    monkeypatch.setattr(digests, "_hash", lambda path, hashed=digests._hash: read.append(path) or hashed(path))
    assert file_digests([file], cache) == first == known_digests([file], cache)
    assert read == []
    file.write_text("2")
    assert known_digests([file], cache) is None
    assert file_digests([file], cache) != first
    assert read == [file]


def test_a_file_that_gets_another_name_while_it_is_read_has_not_changed(tmp_path, monkeypatch):
    file = tmp_path / "a.whl"
    file.write_text("1")

    def hashed(path, really=digests._hash):
        os.link(path, tmp_path / f"{len(os.listdir(tmp_path))}.whl")
        return really(path)

    monkeypatch.setattr(digests, "_hash", hashed)
    assert file_digests([file], None, linked=True)[0].size == 1
    with pytest.raises(CaptureError, match="changed while it was read"):
        file_digests([file], None)


def test_a_file_that_keeps_its_time_and_size_is_seen_to_change(tmp_path, settled):
    file, cache = tmp_path / "a.csv", tmp_path / "digests.db"
    file.write_text("1")
    old(file)
    stat = file.stat()
    first = file_digests([file], cache)
    file.write_text("2")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_mtime_ns, file.stat().st_size) == (stat.st_mtime_ns, stat.st_size)
    assert file_digests([file], cache) != first


def test_what_has_just_been_written_is_not_kept(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    file_digests([tmp_path / "a.csv"], tmp_path / "digests.db")
    assert known_digests([tmp_path / "a.csv"], tmp_path / "digests.db") is None


def test_a_cache_that_is_no_database_does_no_harm(tmp_path, settled):
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "digests.db").write_text("this is none " * 100)
    assert file_digests([tmp_path / "a.csv"], tmp_path / "digests.db")
    assert known_digests([tmp_path / "a.csv"], tmp_path / "digests.db") is None


def test_a_file_that_can_not_be_read_is_said(tmp_path):
    with pytest.raises(CaptureError, match=r"gone\.csv: can't be read: No such file"):
        file_digests([tmp_path / "gone.csv"], None)


def test_files_are_told_apart_by_name_and_content():
    assert joined({"a": "1", "b": "2"}) == joined({"b": "2", "a": "1"})
    assert len({joined({"a": "1", "b": "2"}), joined({"a": "2", "b": "1"}), joined({"ab": "12"}), joined({})}) == 4


FRAME = pd.DataFrame(
    {
        "n": np.arange(20_000.0),
        "s": [f"row {k}" for k in range(20_000)],
        "o": [k if k % 2 else str(k) for k in range(20_000)],
        "c": pd.Categorical(["a", "b"] * 10_000),
        "t": pd.date_range("2020-01-01", periods=20_000, freq="min"),
        "z": pd.date_range("2020-01-01", periods=20_000, freq="min", tz="UTC"),
        "i": pd.array([1, None] * 10_000, dtype="Int64"),
        "l": [[k] for k in range(20_000)],
    }
)
LAST = 19_999


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n", -1.0), ("s", "another"), ("o", 19_998), ("c", "a"), ("t", pd.Timestamp("1999-01-01")),
        ("z", pd.Timestamp("1999-01-01", tz="UTC")), ("i", 7), ("l", [1]),
    ],
)  # fmt: skip
def test_one_element_of_a_frame_counts(column, value):
    changed = FRAME.copy(deep=True)
    changed.at[LAST, column] = value
    assert value_digest(changed) != value_digest(FRAME)


def test_a_frames_copy_has_its_digest():
    assert value_digest(FRAME.copy(deep=True)) == value_digest(FRAME)
    assert value_digest(FRAME[["n"]].copy()) == value_digest(pd.DataFrame({"n": np.arange(20_000.0)}))


@pytest.mark.parametrize(
    "other",
    [
        FRAME.rename(columns={"n": "m"}), FRAME[list(FRAME)[::-1]], FRAME.iloc[::-1], FRAME.iloc[:-1],
        FRAME.set_index("n", drop=False), FRAME.astype({"n": "float32"}), FRAME.set_index(FRAME.index.rename("x")),
    ],
)  # fmt: skip
def test_names_order_and_types_of_a_frame_count(other):
    assert value_digest(other) != value_digest(FRAME)


def test_values_that_differ_in_anything_have_digests_of_their_own():
    array = np.arange(30_000.0).reshape(100, 300)
    last = array.copy()
    last[-1, -1] += 1e-9 * last[-1, -1]
    values = [
        array, last, array.T, array.ravel(), array.astype("float32"), array.astype(">f8"), [1, 2], (1, 2), [1, [2]],
        [[1], 2], ["1", 2], [12], {"a": 1}, {"a": 1.0}, {"a": True}, {"a": None}, {1, 2}, "12", b"12", 12, None, [], {},
        "", np.array(["a", 1], dtype=object), np.array(["a", "1"], dtype=object), np.array([]), np.zeros((0, 2)),
        np.float64(1), pd.Series([1, 2]), pd.Series([1, 2], name="x"), pd.Series(["a", "b"]), pd.Index([1, 2]),
    ]  # fmt: skip
    assert len({value_digest(value) for value in values}) == len(values)


def test_how_an_array_lies_in_memory_does_not_count():
    array = np.arange(300_000.0).reshape(300, 1000)
    assert value_digest(np.asfortranarray(array)) == value_digest(array)
    assert value_digest(np.repeat(array, 2, axis=0)[::2]) == value_digest(array)
    assert value_digest({3, 1, 2}) == value_digest({1, 2, 3})


def _polars_column(polars, values, **kind):
    return polars.DataFrame({"a": polars.Series(values, **kind)})


def test_every_value_of_a_polars_frame_counts():
    polars = pytest.importorskip("polars")
    day, time = datetime(2020, 1, 1), datetime(2020, 1, 1, 1)
    columns = [
        [1, 2], [2, 1], [1, None], [None, 1], [0, 1], [1.0, 2.0], [True, False], [True, None], [None, None],
        ["a", "bc"], ["ab", "c"], ["ab", None], ["ab", ""], [None, "ab"], ["", "ab"], [day, time],
        [day, day], [day, None], [day.date(), None], [[1], [2]], [[1, 2], []], [{"x": 1}, {"x": 2}], [b"a", b"b"],
        [time - day, None], [Decimal("1.5"), Decimal("2.5")], [],
    ]  # fmt: skip
    frames = [_polars_column(polars, one) for one in columns]
    frames += [frames[0].rename({"a": "b"}), frames[0].cast(polars.Int32), frames[9].cast(polars.Categorical)]
    digests = [value_digest(one) for one in frames]
    assert len(set(digests)) == len(frames)
    assert value_digest(frames[0]["a"]) != value_digest(frames[1]["a"])


def test_how_a_polars_frame_lies_in_memory_does_not_count():
    polars = pytest.importorskip("polars")
    whole = polars.DataFrame({"a": [1, None, 3, 4], "b": ["x", None, "z", "ä"], "c": [0.5, 1.5, None, 2.5]})
    parts = polars.concat([whole[:1], whole[1:]], rechunk=False)
    within = polars.concat([whole, whole])[4:]
    computed = whole.with_columns(polars.when(polars.col("a") > 0).then(polars.col("a")))
    assert {value_digest(one) for one in (parts, within, computed)} == {value_digest(whole)}


def test_a_polars_frame_is_digested_quickly():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": np.arange(2_000_000.0), "b": np.arange(2_000_000)})
    before = sys.getallocatedblocks()
    value_digest(frame)
    assert sys.getallocatedblocks() - before < 100_000  # no object for each value


def test_a_sparse_matrix_has_a_digest():
    sparse = pytest.importorskip("scipy.sparse")
    one, other = sparse.csr_matrix(np.eye(3)), sparse.csr_matrix(np.eye(3) * 2)
    assert value_digest(one) == value_digest(sparse.csr_matrix(np.eye(3))) != value_digest(other)


def test_what_can_not_be_read_is_said():
    endless = []
    endless.append(endless)
    with pytest.raises(CaptureError, match="a list that holds itself has no digest"):
        value_digest(endless)
    with pytest.raises(CaptureError, match="a generator can't be read for its digest"):
        value_digest(k for k in range(3))
