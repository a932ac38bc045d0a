import os
import signal
import sys
import time
from contextlib import suppress

import psutil

from ml_experiment_nb.images.commands import begun, kill, lines

TREE = """
import subprocess, time
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
time.sleep(600)
"""
POLITE = """
import signal, sys, time
def leave(*_):
    open(sys.argv[1], "w").write("told")
    sys.exit(0)
signal.signal(signal.SIGINT, leave)
print("ready", flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def command(code, *words):
    return [sys.executable, "-c", code, *map(str, words)]


def is_gone(pid):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_what_a_command_says_is_read_to_its_end():
    code = "import sys; print('one', flush=True); print('two\\rthree  ', file=sys.stderr); sys.exit(3)"
    with begun(command(code), os.environ) as process:
        assert list(lines(process)) == ["one", "two\rthree"]
        assert process.wait() == 3


def test_it_ends_with_its_reader_and_with_all_that_it_has_started():
    with suppress(KeyboardInterrupt), begun(command(TREE), os.environ) as process:
        child = int(next(lines(process)))
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGKILL
    assert is_gone(child)


def test_it_may_be_given_time_to_say_goodbye(tmp_path):
    with begun(command(POLITE, tmp_path / "said"), os.environ, patience=60) as process:
        assert next(lines(process)) == "ready"
    assert (process.returncode, (tmp_path / "said").read_text()) == (0, "told")


def test_what_does_not_end_when_it_is_asked_is_killed():
    with begun(command(STUBBORN), os.environ, patience=0.2) as process:
        assert next(lines(process)) == "ready"
    assert process.returncode == -signal.SIGKILL


def test_another_thread_may_end_it():
    with begun(command(TREE), os.environ) as process:
        said = lines(process)
        child = int(next(said))
        kill(process)
        assert list(said) == []
        assert process.wait() == -signal.SIGKILL
    assert is_gone(child)
