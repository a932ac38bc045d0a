import pickle
import sys
import threading

import numpy as np
import pytest

from ml_experiment_nb.errors import CaptureError
from ml_experiment_nb.work.payload import DEFINED, read_payload, write_payload


class Pair:
    def __init__(self, first, second):
        self.first, self.second = first, second


def there_and_back(tmp_path, **values):
    return read_payload(write_payload(values, tmp_path))


def test_values_of_all_kinds_come_back(tmp_path):
    threshold = 3
    values = there_and_back(
        tmp_path,
        number=0.5,
        text="é",
        nested={"a": [1, (2, None)]},
        data=b"\x00" * 10,
        function=lambda x: x > threshold,
        kind=type("Local", (), {"value": 7}),
    )
    assert values["number"] == 0.5
    assert values["text"] == "é"
    assert values["nested"] == {"a": [1, (2, None)]}
    assert values["data"] == b"\x00" * 10
    assert values["function"](4)
    assert values["kind"]().value == 7


def test_nothing_comes_back_as_nothing(tmp_path):
    assert there_and_back(tmp_path) == {}


def test_what_a_value_was_made_with_in_the_notebook_comes_along(tmp_path, monkeypatch):
    main = sys.modules["__main__"]
    made = {"__module__": "__main__"}
    base = type("Base", (), {**made, "__qualname__": "Base"})
    kind = type("Kind", (base,), {**made, "__qualname__": "Kind"})
    gone = type("Gone", (), {**made, "__qualname__": "Gone"})  # defined anew since, or deleted
    for one in (base, kind):
        monkeypatch.setattr(main, one.__name__, one, raising=False)
    values = there_and_back(tmp_path, pair=Pair(kind(), gone()))
    assert set(values) == {"pair", DEFINED}
    assert set(values[DEFINED]) == {"Base", "Kind"}
    assert type(values["pair"].first) is values[DEFINED]["Kind"]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(1000.0),
        np.arange(12).reshape(3, 4).T,
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(100)[::3],
        np.zeros((0, 3)),
        np.array(5),
        np.array(["a", "bc"]),
        np.array([object, None], dtype=object),
        np.array([True, False]),
        np.arange(3, dtype=">i4"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back(tmp_path, array):
    found = there_and_back(tmp_path, before=b"x", x=array, after="y")
    np.testing.assert_array_equal(found["x"], array)
    assert found["x"].dtype == array.dtype
    assert (found["before"], found["after"]) == (b"x", "y")


def test_writing_to_an_array_changes_neither_the_file_nor_another_readers(tmp_path):
    path = write_payload({"x": np.zeros(10_000)}, tmp_path)
    before = path.read_bytes()
    first, second = read_payload(path)["x"], read_payload(path)["x"]
    first[:] = 1
    assert second.sum() == 0
    assert path.read_bytes() == before
    assert read_payload(path)["x"].sum() == 0
    assert first.sum() == 10_000


def test_an_array_is_mapped_and_not_copied(tmp_path):
    found = there_and_back(tmp_path, x=np.zeros(10_000))["x"]
    assert found.base is not None
    assert not found.flags.owndata
    assert found.ctypes.data % 16 == 0


def test_arrays_outlive_the_file(tmp_path):
    path = write_payload({"x": np.arange(10_000)}, tmp_path)
    found = read_payload(path)["x"]
    path.unlink()
    assert found.sum() == 49_995_000


def test_what_two_values_share_they_still_share(tmp_path):
    array, held = np.zeros(1000), [1, 2]
    found = there_and_back(tmp_path, x=array, view={"of": array}, a=held, b=Pair(held, array))
    found["x"][0] = 7
    found["a"].append(3)
    assert found["view"]["of"][0] == 7
    assert found["b"].first == [1, 2, 3]
    assert found["b"].second is found["x"]


def test_the_file_is_named_by_its_content_and_no_partial_one_is_left(tmp_path):
    first = write_payload({"x": np.arange(100)}, tmp_path)
    assert write_payload({"x": np.arange(100)}, tmp_path) == first
    assert write_payload({"x": np.arange(101)}, tmp_path) != first
    assert len(list(tmp_path.iterdir())) == 2


def test_a_value_that_can_not_be_sent_is_named_with_its_type_and_size(tmp_path):
    lock = threading.Lock()
    with pytest.raises(CaptureError) as caught:
        write_payload({"good": 1, "bad": Pair(lock, None), "also": lock}, tmp_path)
    text = str(caught.value)
    assert "'bad' (Pair, " in text
    assert "'also' (lock, " in text
    assert "bytes): " in text
    assert "good" not in text
    assert list(tmp_path.iterdir()) == []


def test_the_error_can_travel():
    with pytest.raises(CaptureError, match="can't be sent"):
        raise pickle.loads(pickle.dumps(CaptureError("can't be sent")))


def test_a_value_whose_pickling_fails_in_its_own_way_is_named(tmp_path):
    class Proud:
        nbytes = 12_345

        def __reduce__(self):
            raise RuntimeError("I stay here")

    with pytest.raises(CaptureError, match=r"'x' \(Proud, 12,345 bytes\): I stay here"):
        write_payload({"x": Proud()}, tmp_path)
