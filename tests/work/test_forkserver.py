"""Tasks in forks: what a fork server gives, what it keeps apart, and what it refuses."""

import dataclasses
import os
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from ml_experiment_nb.events import Done, Log, Metrics, Note
from ml_experiment_nb.plans import Step, Task, travels_in_payload
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.targets import Function, Script
from ml_experiment_nb.work.forkserver import ForkServer
from ml_experiment_nb.work.forkwire import Setup
from ml_experiment_nb.work.payload import write_payload
from ml_experiment_nb.work.process import Running
from ml_experiment_nb.work.setups import Warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's")


@pytest.fixture
def perform(tmp_path):
    """Perform a function in forks of one server, and return each call's events."""
    servers = []

    def call(function, *params, timeout=None, **captured):
        payload = str(write_payload({"function": function, **captured}, tmp_path))
        tasks = [
            Task(
                key=str(k),
                name="t",
                steps=(Step(Function(function=travels_in_payload), one),),
                params=one,
                cwd=str(tmp_path),
                payload=payload,
                folder=str(tmp_path / f"run-{k}"),
                timeout=timeout,
                warm=True,
            )
            for k, one in enumerate(params or [{}])
        ]
        servers.append(Warm(tasks[0]))
        return [[event for batch in Running(task, servers[-1]).batches() for event in batch] for task in tasks]

    yield call
    for server in servers:
        server.close()


def metrics(events):
    return {name: value for e in events if isinstance(e, Metrics) for name, value in e.values.items()}


def printed(events):
    return "".join(e.text for e in events if isinstance(e, Log))


def outcome(events):
    assert isinstance(events[-1], Done)
    return events[-1].outcome


def test_forks_of_one_server_have_one_parent_and_processes_of_their_own(perform):
    def who():
        return {"pid": os.getpid(), "parent": os.getppid()}

    first, second = (metrics(events) for events in perform(who, {}, {}))
    assert first["parent"] == second["parent"]
    assert len({first["pid"], second["pid"], os.getpid()}) == 3


@pytest.mark.slow
def test_a_captured_array_is_neither_copied_nor_read_only_nor_changed_for_the_next(perform):
    array = np.zeros(30_000_000)  # 240 MB

    def mutate():
        from ml_experiment_nb.work import perform

        (held,) = perform.held.values()
        before = held["array"][:3].sum()
        held["array"][0] = 7
        private = sum(
            int(line.split()[1])
            for line in open("/proc/self/smaps_rollup")
            if line.startswith(("Private_Dirty", "Private_Clean"))
        )
        return {"before": before, "after": held["array"][0], "private_mb": private / 1024}

    results = [metrics(events) for events in perform(mutate, {}, {}, array=array)]
    assert [(r["before"], r["after"]) for r in results] == [(0, 7), (0, 7)]
    assert all(r["private_mb"] < 60 for r in results)


def test_what_a_task_does_to_its_process_stays_there(perform):
    def spoil(first):
        import json

        state = {"cwd": os.getcwd() == "/", "env": "SPOILED" in os.environ}
        if first:
            os.chdir("/")
            os.environ["SPOILED"] = "1"
            json.spoiled = True
        return {**state, "patched": hasattr(json, "spoiled") and not first}

    _, second = perform(spoil, {"first": True}, {"first": False})
    assert metrics(second) == {"cwd": 0, "env": 0, "patched": 0}


@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        ("sys.exit(0)", Status.FINISHED, None),
        ("sys.exit(3)", Status.FAILED, "SystemExit: 3"),
        ("1 / 0", Status.FAILED, "ZeroDivisionError: division by zero"),
        ("os._exit(7)", Status.FAILED, "TaskDiedError: the process ended with exit code 7 before its work was done"),
        ("os.kill(os.getpid(), 11)", Status.FAILED, "TaskDiedError: the process was ended by SIGSEGV"),
    ],
)
def test_ends(perform, end, status, says):
    namespace = {"os": os, "sys": sys}
    exec(f"def job():\n    import os, sys\n    {end}", namespace)
    died, survivor = perform(namespace["job"], {}, {})
    for events in (died, survivor):  # the server survives what its child did
        assert outcome(events).status is status
        assert (str(outcome(events).failure) if outcome(events).failure else None) == says


def test_a_task_takes_all_that_it_started_with_it(perform, tmp_path):
    pids = tmp_path / "pids"

    def leave(where):
        import subprocess
        import time

        subprocess.Popen(["sleep", "600"])
        subprocess.Popen(["setsid", "sleep", "600"], start_new_session=True)
        if os.fork() == 0:  # a daemon, as the book has it: no exec, no environment to be known by
            os.setsid()
            if os.fork() == 0:
                with open(where, "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(600)
            os._exit(0)
        while not os.path.exists(where) or not open(where).read():
            time.sleep(0.01)
        return {"children": 1}

    before = {p.pid for p in psutil.process_iter() if p.name() == "sleep"}
    (events,) = perform(leave, {"where": str(pids)})
    assert outcome(events).status is Status.FINISHED
    assert not psutil.pid_exists(int(pids.read_text()))
    assert {p.pid for p in psutil.process_iter() if p.name() == "sleep"} <= before


@pytest.mark.slow
def test_a_task_that_hangs_is_stopped_at_its_limit(perform):
    def hang():
        import signal
        import time

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("hanging", flush=True)
        time.sleep(600)

    (events,) = perform(hang, {}, timeout=5)
    assert printed(events) == "hanging\n"
    assert str(outcome(events).failure) == "TaskTimeoutError: stopped at its limit of 5.00 s"


@pytest.fixture
def make_warm(tmp_path):
    """Make a task of a function or a script, and what it is forked from."""
    made = []

    def make(target, **captured):
        payload = None
        if callable(target):
            payload = str(write_payload({"function": target, **captured}, tmp_path))
            target = Function(function=travels_in_payload)
        folder = str(tmp_path / "run")
        task = Task("0", "t", (Step(target, {}),), {}, str(tmp_path), payload=payload, folder=folder, warm=True)
        made.append(Warm(task))
        return task, made[-1]

    yield make
    for one in made:
        one.close()


def notes(events):
    return [e.text for e in events if isinstance(e, Note)]


def perform_once(task, warm):
    return [event for batch in Running(task, warm).batches() for event in batch]


@pytest.mark.parametrize("which", ["the server", "its template"])
def test_a_server_that_was_killed_is_started_anew(make_warm, which, has_ended):
    task, warm = make_warm(lambda: {"parent": os.getppid()})
    first = metrics(perform_once(task, warm))["parent"]
    server, _ = warm.server()
    victim = psutil.Process(server._process.pid if which == "the server" else int(first))
    assert psutil.Process(int(first)).ppid() == server._process.pid
    victim.kill()
    while not server.lost:
        time.sleep(0.01)
    events = perform_once(task, warm)
    assert notes(events) == ["the fork server was killed by something: a new one was started"]
    second = metrics(events)["parent"]
    assert second not in (first, os.getpid())
    assert metrics(perform_once(task, warm))["parent"] == second  # and it stays
    assert has_ended(int(first))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ("import sys; sys.exit(3)", "importing ends raised SystemExit: 3"),
        ("import os, sys; print('last words', file=sys.stderr); os._exit(3)", "setup: exit code 3 (last words)"),
        ("import ctypes; ctypes.string_at(0)", "setup: SIGSEGV (Fatal Python error: Segmentation fault"),
    ],
)
def test_a_module_that_ends_the_server_in_its_setup_ends_the_trial_as_it_would_cold(make_warm, tmp_path, ends, says):
    (tmp_path / "ends.py").write_text(ends)
    (tmp_path / "main.py").write_text("import ends\n")
    task, warm = make_warm(Script(path=str(tmp_path / "main.py")))
    warm.close()
    setup = dataclasses.replace(warm._setups[None](), modules=("ends",))  # as if it were installed
    warm._setups[None] = lambda: setup
    warm._servers[None] = ForkServer(setup)
    events = perform_once(task, warm)
    assert len(notes(events)) == 1
    assert says in notes(events)[0]
    assert notes(events)[0].startswith("it was run in a fresh process, not in a fork: ")
    cold = perform_once(dataclasses.replace(task, warm=False), None)
    assert outcome(events) == outcome(cold)
    assert outcome(events).status is Status.FAILED
    assert not warm.server()[1]  # it would only end again


def test_the_server_ends_with_its_owner_and_takes_its_children_along(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys
            from ml_experiment_nb.work.forkserver import ForkServer
            from ml_experiment_nb.work.forkwire import Setup
            server = ForkServer(Setup(cwd=os.getcwd(), listen=sys.argv[1]))
            server.wait()
            print(server._process.pid, flush=True)
            sys.stdin.readline()
            """
        )
    )
    import subprocess

    listen = tmp_path / "listen" / "forks"
    listen.parent.mkdir()
    words = [sys.executable, script, listen]
    owner = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    server = psutil.Process(int(owner.stdout.readline()))
    assert listen.exists()
    owner.kill()
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    server.wait(timeout=10)
    assert not listen.parent.exists()


def test_unseeded_forks_draw_apart_and_seeded_ones_alike(perform):
    def draw(seed):
        import random

        if seed:
            random.seed(1)
            np.random.seed(1)
        return {"python": random.random(), "numpy": float(np.random.rand())}

    a, b, c, d = (metrics(e) for e in perform(draw, {"seed": 0}, {"seed": 0}, {"seed": 1}, {"seed": 1}))
    assert a["python"] != b["python"]
    assert a["numpy"] != b["numpy"]
    assert c == d


def test_kill_from_another_thread(tmp_path):
    script = tmp_path / "wait.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    task = Task(
        "0", "t", (Step(Script(path=str(script)), {}),), {}, str(tmp_path), folder=str(tmp_path / "r"), warm=True
    )
    warm = Warm(task)
    running, server = Running(task, warm), warm.server()[0]
    stopped = Outcome(Status.KILLED)
    try:
        events = []
        for batch in running.batches():
            events += batch
            if printed(events) == "up\n":
                threading.Thread(target=running.kill, args=(stopped,)).start()
    finally:
        warm.close()
    assert outcome(events) == stopped
    assert not Path(f"/proc/{server._process.pid}").exists()


@pytest.mark.parametrize("warm", [True, False])
def test_a_process_with_many_open_files_has_trials_too(make_warm, warm):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = max(2048, limits[0])  # the other tests of this process have files open too
    if limits[1] != resource.RLIM_INFINITY and limits[1] < many:
        pytest.skip("so many can't be opened here")
    files = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (many, limits[1]))
        while not files or files[-1] < 1100:
            files.append(os.open(os.devnull, os.O_RDONLY))
        task, server = make_warm(lambda: {"a": 1})
        events = perform_once(dataclasses.replace(task, warm=warm), server if warm else None)
    finally:
        for one in files:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (metrics(events), notes(events)) == ({"a": 1}, [])


def test_the_end_of_a_fork_is_heard_by_every_thread_that_looks(tmp_path):
    server = ForkServer(Setup(cwd=str(tmp_path)))
    try:
        for _ in range(5):
            fork = server.fork(["task"], env={}, cwd=str(tmp_path))  # it ends at once: it has nothing to do
            with ThreadPoolExecutor(8) as threads:
                heard = list(threads.map(fork.wait, [20] * 8))
            fork.close()
            assert heard == [1] * 8
    finally:
        server.close()
