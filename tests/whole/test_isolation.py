"""Trials of a group that do what they should not: the others are unharmed, and nothing of them is left."""

import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb import make_plan, run
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Function

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's")

NASTY = """
import concurrent.futures, ctypes, json, math, multiprocessing, os, signal, subprocess, sys, threading, time

def nasty(what, array):
    with open("pids", "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("doing", what, flush=True)
    if "ipykernel" in sys.modules:
        time.sleep(0.2)  # a thread of ZeroMQ's sends it, which ends with the process
    globals()[what.rstrip("0123456789")](array)
    return {"score": 1.0}

def good(array):
    assert array[:3].sum() == 0
    assert os.getcwd() == os.environ["ML_EXPERIMENT_ROOT"], os.getcwd()
    assert "SPOILED" not in os.environ
    assert not hasattr(json, "spoiled")
    time.sleep(0.3)

def spoil(array):
    array[:1000] = 7
    os.environ["SPOILED"] = "1"
    json.spoiled = True
    os.chdir("/")

def exit_with(array): sys.exit(3)
def exit_at_once(array): os._exit(1)
def segfault(array): ctypes.string_at(0)
def abort(array): os.abort()

def daemon(array):
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with open("pids", "a") as file:
                file.write(f"{os.getpid()}\\n")
            os.write(write, b"x")
            time.sleep(600)
        os._exit(0)
    os.wait()
    os.read(read, 1)

def thread(array):
    def say():
        time.sleep(0.5)
        print("the thread is done", flush=True)
    threading.Thread(target=say).start()

def memory(array):
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)) * 20)
        time.sleep(0.001)

def memory_of_children(array):
    kept = bytearray(os.urandom(1 << 20)) * 300
    for k in range(2):
        if os.fork() == 0:
            more = bytearray(os.urandom(1 << 20)) * 200
            time.sleep(600)
    time.sleep(600)

def memory_shared_with_children(array):
    kept = bytearray(os.urandom(1 << 20)) * 300
    for k in range(3):
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
    time.sleep(3)

def hang(array): time.sleep(600)

def hang_on(array):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(600)

def close_all(array): os.closerange(0, 4096)
def print_much(array):
    for k in range(50): sys.stdout.write(("x" * 99 + "\\n") * 10_000)

def pools(array):
    import joblib
    with multiprocessing.Pool(2) as pool:
        assert pool.map(math.sqrt, [4, 9]) == [2, 3]
    assert joblib.Parallel(n_jobs=2)(joblib.delayed(math.sqrt)(k) for k in (4, 9)) == [2, 3]
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(math.sqrt, [4, 9])) == [2, 3]

def kill_parent(array):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(0.5)
"""

ENDS = {  # how a trial ends: when it is the process itself that does it, and when it is a notebook's kernel
    "good1": (None, None),
    "good2": (None, None),
    "good3": (None, None),
    "spoil": (None, None),
    "exit_with": ("SystemExit: 3", "SystemExit: 3"),
    "exit_at_once": ("TaskDiedError: the process ended with exit code 1", "TaskDiedError: the notebook's kernel died"),
    "segfault": ("TaskDiedError: the process was ended by SIGSEGV", "TaskDiedError: the notebook's kernel died"),
    "abort": ("TaskDiedError: the process was ended by SIGABRT", "TaskDiedError: the notebook's kernel died"),
    "daemon": (None, None),
    "thread": (None, None),
    "memory": ("TaskMemoryError: stopped at its memory limit of 500 MB (it used", "TaskMemoryError"),
    "memory_of_children": ("TaskMemoryError: stopped at its memory limit of 500 MB (it used", "TaskMemoryError"),
    "memory_shared_with_children": (None, None),
    "hang": ("TaskTimeoutError", "TaskTimeoutError"),
    "hang_on": ("TaskTimeoutError", "TaskTimeoutError"),
    "close_all": ("TaskDiedError: the process ended with exit code 1", None),
    "print_much": (None, None),
    "pools": (None, None),
    "kill_parent1": (None, None),
    "kill_parent2": (None, None),
}
IN_A_KERNEL = ("good1", "good2", "spoil", "exit_with", "exit_at_once", "segfault", "daemon", "memory", "hang",
               "pools", "kill_parent1")  # fmt: skip


def trials(target, what, values=None, executor="inline", timeout=20):
    """Run a group over `what` in two slots and return its trials by what they did, and its own record."""
    asked = {
        "name": "nasty",
        "run": target,
        "param_space": {"what": f"choice({list(what)!r})"},
        "sampler": "grid",
        "metric": {"name": "score", "direction": "maximize"},
        "executor": executor,
        "slots": 2,
        "timeout_per_trial": timeout,
        "memory": "500MB",
    }
    *found, group = run(make_plan(spec_from_mapping(asked), values=values))
    assert len(found) == len(what)
    return {str(record.params["what"]): record for record in found}, group


def kept(record, name):
    return Path(urllib.parse.urlparse(record.artifact_uri).path, name)


def failures(found, place):
    """Return what did not end as `ENDS` says."""
    wrong = {}
    for what, record in found.items():
        wanted = ENDS[what][place]
        said = str(record.failure) if record.failure else None
        right = said is None if wanted is None else (said or "").startswith(wanted)
        if not right or record.status is not (Status.FAILED if wanted else Status.FINISHED):
            wrong[what] = (record.status, said, record.notes)
    return wrong


def assert_nothing_is_left(project, has_ended):
    pids = [int(line) for line in (project / "pids").read_text().split()]
    assert all(has_ended(pid) for pid in pids)
    left = []
    for one in psutil.process_iter():
        try:
            if one.pid != os.getpid() and one.cwd() == str(project) and one.status() != psutil.STATUS_ZOMBIE:
                left.append(one.cmdline())
        except psutil.Error:
            continue
    assert not [words for words in left if "sleep" in words]


def group_of_functions(project, executor):
    (project / "nasty.py").write_text(NASTY)

    def trial(what):
        from nasty import nasty  # the project's, in the trial alone

        return nasty(what, array)

    array = np.zeros(100_000_000)  # 800 MB: more than a trial may use, were it its own
    trial.__module__ = "__main__"
    return trials([Function(function=trial)], ENDS, values={"function": trial}, executor=executor)


def check_functions(found, group, project, has_ended):
    assert failures(found, 0) == {}
    assert group.ok
    assert group.tags["mlexp.trials.finished"] == str(sum(end is None for end, _ in ENDS.values()))
    for what, record in found.items():
        assert kept(record, "record/log.txt").read_text().startswith(f"doing {what}\n")
    assert kept(found["thread"], "record/log.txt").read_text().endswith("the thread is done\n")
    assert kept(found["print_much"], "record/log.txt").stat().st_size > 50_000_000
    assert_nothing_is_left(project, has_ended)


@pytest.mark.slow
def test_functions_in_two_slots(stored, has_ended):
    found, group = group_of_functions(stored, "inline")
    check_functions(found, group, stored, has_ended)


@pytest.mark.ray
@pytest.mark.slow
def test_functions_in_two_slots_on_ray(stored, has_ended):
    from ml_experiment_nb.executors import ray as on_ray

    try:
        found, group = group_of_functions(stored, "ray")
        check_functions(found, group, stored, has_ended)
    finally:
        on_ray.shutdown()


@pytest.mark.kernel
@pytest.mark.slow
def test_notebooks_in_two_slots(stored, has_ended):
    (stored / "nasty.py").write_text(NASTY)
    cells = [
        new_code_cell("import numpy as np\narray = np.zeros(100_000_000)\narray += 0\nprint('the setup')"),
        new_code_cell("what = 'good'", metadata={"tags": ["parameters"]}),
        new_code_cell("print('before')"),
        new_code_cell("from nasty import nasty\nnasty(what, array)"),
    ]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), stored / "nb.ipynb")
    found, group = trials("nb.ipynb", IN_A_KERNEL, timeout=30)
    assert failures(found, 1) == {}
    assert group.ok
    for what, record in found.items():
        texts = [output.get("text") for cell in nbformat.read(kept(record, "nb.ipynb"), 4).cells
                 for output in cell.get("outputs", [])]  # fmt: skip
        assert texts[:2] == ["the setup\n", "before\n"], what
        assert "doing" in kept(record, "record/log.txt").read_text()
    assert_nothing_is_left(stored, has_ended)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [None, "100MB"])
def test_an_experiment_of_a_fresh_process_has_its_limit_too(stored, memory):
    (stored / "fill.py").write_text(
        "import time\nkept = bytearray(b'x' * 1000) * 400_000\ntime.sleep(2)\nprint('done')"
    )
    (record,) = run(make_plan(spec_from_mapping({"run": "fill.py", "memory": memory})))
    if memory is None:
        assert record.ok
    else:
        assert str(record.failure).startswith("TaskMemoryError: stopped at its memory limit of 100 MB (it used ")
        assert "done" not in kept(record, "record/log.txt").read_text()


@pytest.mark.slow
def test_the_commands_option_and_exit_code(stored):
    (stored / "fill.py").write_text("import time\nkept = bytearray(b'x' * 1000) * 400_000\ntime.sleep(60)")
    words = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "fill.py", "--memory"]
    done = subprocess.run([*words, "100MB"], capture_output=True, text=True)
    assert (done.returncode, "TaskMemoryError" in done.stdout) == (6, True), done.stderr
    wrong = subprocess.run([*words, "lots"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "memory: 'lots' is no amount of memory" in wrong.stderr


def test_a_limit_that_is_no_amount_of_memory_is_refused():
    from ml_experiment_nb.errors import SpecError

    for wrong in ("much", "2 PB", "0MB", "-1GB"):
        with pytest.raises(SpecError, match=r"memory: .*no amount of memory: write it as 500MB"):
            spec_from_mapping({"run": "x.py", "memory": wrong})
    read = {text: spec_from_mapping({"run": "x.py", "memory": text}).memory for text in ("2GB", "1.5 GiB", "500mb", 7)}
    assert read == {"2GB": 2 * 10**9, "1.5 GiB": 3 * 2**29, "500mb": 5 * 10**8, 7: 7}
