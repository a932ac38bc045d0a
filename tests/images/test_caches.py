"""What is kept from one image to the next, and what isn't."""

import subprocess
import sys

from ml_experiment_nb.images.caches import filled, remembered, working

KILLED = """
import os, pathlib, signal, sys
from ml_experiment_nb.images.caches import working
with working(pathlib.Path(sys.argv[1])) as folder:
    (folder / "a").write_text("1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_that_is_worked_in_is_gone_afterwards(tmp_path):
    with working(tmp_path) as folder:
        (folder / "a").write_text("1")
        with working(tmp_path) as other:
            assert (folder / "a").exists()
            assert list(other.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "mlexp-image-of-somebody").mkdir()  # it has no lock: whose it is can't be told
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path])
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2
    with working(tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
    assert [one.name for one in tmp_path.iterdir()] == ["mlexp-image-of-somebody"]


def test_what_was_found_is_found_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []

    def find():
        found.append(1)
        return {"a": "b"}

    assert remembered("kind", "key", find) == remembered("kind", "key", find) == {"a": "b"}
    remembered("kind", "other", find)
    assert len(found) == 2


def test_a_wheel_that_another_process_has_put_there_stays(tmp_path):
    """Two images that are made at the same time need the same ones; who reads the first one isn't disturbed."""
    place, name = tmp_path / "wheels", "a-1.0-py3-none-any.whl"
    with filled(place) as one, filled(place) as other:
        (one / name).write_text("one")
        (other / name).write_text("other")
    assert (place / name).read_text() == "other"
    assert [path.name for path in place.iterdir()] == [name]
