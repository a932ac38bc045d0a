"""Each test is in a process of its own, whose children these are."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")

BEGIN = """
import os, select, signal, sys, time
from ml_experiment_nb.work.reaping import adopt_orphans, children, die_with, kill_but, wait_for_any, wake_on_child

def sleeper():
    if not (pid := os.fork()):
        time.sleep(600)
        os._exit(0)
    return pid

def wait_until(holds):
    while not holds():
        time.sleep(0.01)
"""


def printed(code):
    text = BEGIN + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_all_children_but_those_that_are_known_are_killed():
    code = """
        kept, other = sleeper(), sleeper()
        print(sorted(children()) == sorted([kept, other]))
        kill_but([kept])
        print(children() == [kept], wait_for_any() is None)
        kill_but([])
        print(children(), wait_for_any())
    """
    assert printed(code) == ["True", "True", "True", "[]", "None"]


def test_those_that_have_lost_their_parent_are_adopted_and_killed_too():
    code = """
        adopt_orphans()
        read, write = os.pipe()
        if not (pid := os.fork()):
            os.write(write, str(sleeper()).encode())
            os._exit(0)
        orphan = int(os.read(read, 20))
        os.waitpid(pid, 0)
        wait_until(lambda: orphan in children())
        kill_but([])
        print(children())
    """
    assert printed(code) == ["[]"]


def test_the_end_of_a_child_wakes_who_waits():
    code = """
        wake, _ = wake_on_child()
        if not (pid := os.fork()):
            os._exit(7)
        print(bool(select.select([wake], [], [], 60)[0]))
        wait_until(lambda: (found := wait_for_any()) is not None and print(found == (pid, 7 << 8)) is None)
    """
    assert printed(code) == ["True", "True"]


def test_a_process_ends_with_its_parent_and_at_once_where_that_has_ended():
    code = """
        read, write = os.pipe()
        me = os.getpid()
        if not os.fork():
            middle = os.getpid()
            if not os.fork():
                os.close(read)
                die_with(middle)
                time.sleep(600)
            time.sleep(0.05)
            os._exit(0)
        os.close(write)
        print(os.read(read, 1))
        if not (pid := os.fork()):
            die_with(1 if me != 1 else 2)
            os._exit(0)
        print(os.waitpid(pid, 0)[1] >> 8)
    """
    assert printed(code) == ["b''", "1"]
