import fcntl
import os
import subprocess
import sys
import time

import pytest

from ml_experiment_nb import drivers
from ml_experiment_nb.drivers import Hold, is_alive, read_driver, take_up, this_driver
from ml_experiment_nb.errors import StillRunningError


@pytest.fixture
def driver():
    return this_driver(store="sqlite:///x", name="run", kind="trial", parent="p", number=3, params={"C": "1"})


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs" / "one"
    made.mkdir(parents=True)
    return made


def test_a_hold_says_who_holds_and_that_it_lives(folder, driver):
    hold = Hold(folder, driver)
    assert read_driver(folder) == driver
    assert driver.pid == os.getpid()
    assert is_alive(folder)
    assert list(drivers.driven(folder.parents[1])) == [folder]
    hold.release()
    assert not is_alive(folder)
    assert list(folder.iterdir()) == []
    assert list(drivers.driven(folder.parents[1])) == []


def test_a_hold_that_is_dropped_leaves_its_file_for_a_sweep(folder, driver):
    hold = Hold(folder, driver)
    hold.drop()
    assert not is_alive(folder)
    assert read_driver(folder) == driver
    other = os.open(folder / "other", os.O_CREAT)  # likely the same number: a second drop must leave it alone
    hold.drop()
    os.fstat(other)
    os.close(other)


def test_a_hold_moves_with_its_folder(folder, driver):
    hold = Hold(folder, driver)
    hold.move(folder.with_name("two"))
    assert is_alive(folder.with_name("two"))
    hold.release()


def test_a_driver_that_is_killed_holds_nothing(folder):
    code = f"""
import time
from pathlib import Path
from ml_experiment_nb.drivers import Hold, this_driver
Hold(Path({str(folder)!r}), this_driver(store="", name="run", kind="trial"))
print("held", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert is_alive(folder)
        assert read_driver(folder).pid == process.pid
        process.kill()
        process.wait()
    assert not is_alive(folder)
    assert read_driver(folder) is not None


def test_a_fork_of_the_driver_keeps_no_lock(folder, driver):
    hold = Hold(folder, driver)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"x")
        time.sleep(600)
        os._exit(0)
    os.read(read, 1)
    hold.drop()
    try:
        assert not is_alive(folder)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_run_that_is_held_can_not_be_taken_up(folder, driver):
    hold = take_up(folder.parents[1], "one", driver)
    with pytest.raises(StillRunningError, match=f"one is being run by process {os.getpid()} on .*ml-experiment attach"):
        take_up(folder.parents[1], "one", driver)
    hold.release()
    take_up(folder.parents[1], "one", driver).release()


def test_the_lock_is_taken_before_the_file_is_seen(folder, driver, monkeypatch):
    seen = []

    def rename(path, target):
        with open(path) as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        seen.append(target)
        os.rename(path, target)

    monkeypatch.setattr("pathlib.Path.rename", rename)
    Hold(folder, driver).release()
    assert seen == [folder / "driver"]


def test_a_plea_to_stop_says_who_asks(folder, driver):
    hold = Hold(folder, driver)
    assert drivers.stop_asked(folder) is None
    drivers.ask_to_stop(folder)
    assert drivers.stop_asked(folder).startswith("stopped by ")
    hold.release()
    assert drivers.stop_asked(folder) is None


def test_a_file_that_is_no_driver_s_is_none(folder):
    (folder / "driver").write_text("{")
    assert read_driver(folder) is None
