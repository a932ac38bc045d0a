import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from ml_experiment_nb.work import memory
from ml_experiment_nb.work.memory import MemoryWatch, Tree, descendants, parent, used

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch):
    """Processes by their number: bytes in memory, their share, what of it is their own alone, where their stack is."""
    processes = {}
    monkeypatch.setattr(memory, "_resident", lambda pid: processes[pid][0])
    monkeypatch.setattr(memory, "_anonymous", lambda pid: processes[pid][1:3])
    monkeypatch.setattr(memory, "_stack", lambda pid: processes[pid][3])
    return processes


def test_what_a_fork_shares_with_its_template_is_not_its_own(machine):
    machine[1] = (4 * GIB, 2 * GIB, 0, "here")  # the template: its pages are shared by two
    machine[2] = (5 * GIB, 3 * GIB, 1 * GIB, "here")  # the fork has them and one more
    assert used([Tree((2,), template=1)]) == 1 * GIB
    machine[3] = (GIB, GIB, GIB, "elsewhere")  # a program that the fork has started
    assert used([Tree((2, 3), template=1)]) == 2 * GIB
    assert used([Tree((2, 3))]) == 4 * GIB


def test_a_bound_that_is_low_enough_is_not_looked_into(machine):
    machine[2] = (100, None, None, None)
    assert used([Tree((2,))], enough=100) == 100
    with pytest.raises(TypeError):
        used([Tree((2,))], enough=99)


def test_a_template_that_is_gone_leaves_what_it_had_to_its_forks(machine):
    machine[1], machine[7] = (2 * GIB, GIB, 0, "here"), (0, 0, 0, "other")
    machine[2] = (3 * GIB, 2 * GIB, GIB, "here")
    watch = MemoryWatch(GIB // 2)
    assert watch.look([Tree((2,), template=1)]) == GIB
    machine[2] = (3 * GIB, 3 * GIB, 3 * GIB, "here")  # nobody shares with it any more
    assert watch.look([Tree((2,), template=7)]) == GIB  # a new template was started, of which it has nothing


def test_the_nearer_the_limit_the_sooner_the_next_look(machine, monkeypatch):
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: 100.0))
    machine[2] = (GIB, GIB, GIB, "here")
    far, near = MemoryWatch(100 * GIB), MemoryWatch(GIB)
    assert (far.due_in, near.due_in) == (0, 0)
    assert far.look([Tree((2,))]) is None
    assert near.look([Tree((2,))]) is None  # it is reached, and not passed
    assert far.due_in == pytest.approx(memory.LONGEST)
    assert near.due_in == pytest.approx(memory.SHORTEST)
    machine[2] = (GIB + 1, GIB + 1, GIB, "here")
    assert near.look([Tree((2,))]) == GIB + 1


def test_a_process_that_has_ended_uses_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert used([Tree((ended.pid,))]) == 0
    assert parent(ended.pid) is None
    assert memory._stack(ended.pid) is None


def test_a_process_and_what_it_has_started():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"1\n"
        found = descendants(first.pid)
        assert (found[0], len(found)) == (first.pid, 2)
        assert parent(found[1]) == first.pid
        assert found[0] in descendants(os.getpid())
        assert used([Tree(found)]) > 1 << 20
        first.stdin.close()


def test_memory_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert used([Tree((os.getpid(),))]) == pytest.approx(psutil.Process().memory_full_info().uss, rel=0.2)
    assert used([Tree((2**22 + 1,))]) == 0
