import os
import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import ray
from contract import FINISHED, ExecutorContract, Listener, square, wait_for_good
from ray.util import placement_group, remove_placement_group

from ml_experiment_nb import drivers, groups, loop
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.executors import connection, fleet
from ml_experiment_nb.executors.ray import RayExecutor
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store

pytestmark = pytest.mark.ray


def plan(script, **keys):
    """Return the plan of a group on Ray."""
    asked = {"run": script("").path, "param_space": {"x": "range(0, 9)"}, "allow_unknown_params": True, **keys}
    return make_plan(spec_from_mapping(asked))


@pytest.fixture(scope="module")
def local_ray():
    """A Ray that our own code starts, once for this module."""
    before = os.environ.pop("RAY_ADDRESS", None)
    ray.shutdown()
    yield
    connection.shutdown()
    assert not ray.is_initialized()
    if before is not None:
        os.environ["RAY_ADDRESS"] = before


@pytest.fixture(scope="module")
def shared():
    """The executor of the test before: starting one takes seconds."""
    return []


def up(executor):
    """Wait for an executor's first slots."""
    while not executor.slots:
        assert executor.poll(1.0) == []
    return executor


@pytest.fixture
def executor(local_ray, shared, project, script):
    if not shared:
        before = random.getstate()
        shared.append(up(RayExecutor(plan(script, slots=2, ray_config={"num_cpus": 2}))))
        assert random.getstate() == before  # Ray draws from it, but not the user's numbers
    yield shared[0]
    if shared[0]._busy:
        shared[0].close()
    if _is_closed(shared[0]):
        shared.clear()


def _is_closed(executor):
    return not (ray.is_initialized() and executor.slots)


class TestRay(ExecutorContract):
    warm = True  # as every group's tasks are, where the system allows it

    @pytest.fixture
    def executor(self, executor):
        return executor

    @pytest.mark.parametrize("warm", [False, True])
    def test_a_slot_that_is_lost_fails_its_task_and_is_replaced(self, listener, executor, task, has_ended, warm):
        executor.submit(replace(task(wait_for_good, "0"), warm=warm))
        pids = listener.pids("0")
        ray.kill(executor._fleet.places[0].actor)
        listener.until(lambda: listener.ended("0"))
        outcome = listener.outcome("0")
        assert (outcome.status, outcome.failure.type) == (Status.FAILED, "SlotLostError")
        listener.until(lambda: executor.slots == 2)
        assert [has_ended(pid) for pid in pids] == [True, True]
        for key in ("1", "2"):
            executor.submit(task(square, key))
        listener.until(lambda: listener.ended("1", "2"))
        assert listener.outcome("1") == listener.outcome("2") == FINISHED

    def test_resources_that_can_not_be_met(self, executor, script):
        with pytest.raises(ExecutorError, match=r"cpu 1000.*Ray has CPU 2"):
            RayExecutor(plan(script, slots=1, ray_config={"num_cpus": 2}, resources_per_worker={"cpu": 1000}))
        with pytest.raises(ExecutorError, match="gpu 1, Ray has CPU 2 and GPU 0"):
            RayExecutor(plan(script, slots=1, ray_config={"num_cpus": 2}, resources_per_worker={"gpu": 1}))

    def test_as_many_slots_as_there_is_room_for(self, executor, script):
        executor.close()
        other = up(RayExecutor(plan(script, slots=8, ray_config={"num_cpus": 2}, resources_per_worker={"cpu": 1})))
        assert other.slots == 2
        other.close()

    def test_the_ray_that_it_started_stays_for_the_next_group_and_ends_with_an_interrupt(self, executor):
        executor.close()
        assert ray.is_initialized()
        hearing = [one for one in threading.enumerate() if one.name == "ray_listen_error_messages"]
        assert [one for one in hearing if one.is_alive()] == []  # it prints pages when a node is lost
        executor.close(interrupted=True)
        assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_an_address_where_nobody_answers_fails_soon(local_ray, project, script, address):
    ray.shutdown()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ExecutorError, match=r"no Ray answers.*ray start --head"):
        RayExecutor(plan(script, slots=1, ray_config={"address": address.format(port=port)}))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["another's", "none"])
def test_an_address_where_something_else_listens_fails_soon(local_ray, project, script, answer, capfd):
    ray.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply():
            found = server.accept()[0]
            with found:
                found.recv(1000)
                found.sendall(answer)

        other = threading.Thread(target=reply)
        other.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ExecutorError, match=rf"what listens at {address} doesn't answer as a Ray does; start one"):
            RayExecutor(plan(script, slots=1, ray_config={"address": address}))
        other.join()
    assert capfd.readouterr().err == ""


def test_an_option_that_ray_does_not_know(local_ray, project, script):
    ray.shutdown()
    with pytest.raises(ExecutorError, match="num_cpu"):
        RayExecutor(plan(script, slots=1, ray_config={"num_cpu": 2}))


def test_a_start_that_takes_too_long_is_tried_again_and_leaves_nothing(local_ray, monkeypatch, has_ended):
    pids = []

    def start_half(**_):
        pids.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "ray"]).pid)
        raise Exception("The current node timed out during startup.")

    other = subprocess.Popen(["sleep", "600"])
    monkeypatch.setattr(ray, "init", start_half)
    with pytest.raises(Exception, match="timed out"):
        connection._init("local", {})
    assert [has_ended(pid, timeout=0) for pid in pids] == [True, True]
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_ray_that_was_there_is_never_ended(local_ray, project, script, make_task):
    ray.shutdown()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found = up(RayExecutor(plan(script, slots=1, ray_config={"num_cpus": 2})))
        listener = Listener(found)
        found.submit(make_task(script("print('here')")))
        listener.until(lambda: listener.ended("0"))
        assert listener.outcome("0") == FINISHED
        found.close(interrupted=True)
        assert ray.is_initialized()
        assert ray.get(ray.remote(lambda: 7).remote()) == 7
    finally:
        ray.shutdown()


@pytest.fixture
def taken(local_ray):
    """A Ray whose only CPU somebody else has."""
    ray.shutdown()
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        held = placement_group([{"CPU": 1}])
        ray.get(held.ready())
        yield held
    finally:
        ray.shutdown()


def test_a_group_that_waits_for_its_first_slot(taken, stored, script, monkeypatch):
    """It hears its limit and who stops it, says after a while that none comes, and goes on when one does."""
    asked = {"slots": 1, "sampler": "Grid", "num_trials": 2, "executor": "ray"}
    [record] = loop.run(plan(script, timeout=1.0, **asked))
    assert (record.status, record.failure.type) == (Status.FAILED, "TaskTimeoutError")

    updates = loop.follow(plan(script, **asked))
    started = next(updates)
    drivers.ask_to_stop(drivers.folders(home(stored)) / started.run_id)
    [record] = updates
    assert (record.status, record.failure.type) == (Status.KILLED, "KeyboardInterrupt")

    monkeypatch.setattr(fleet, "START_TIMEOUT", 1.0)
    updates = loop.follow(plan(script, **asked))
    run_id = next(updates).run_id
    with pytest.raises(
        ExecutorError, match=r"did not bring up a slot of cpu 1, gpu 0 within 1.00 s: all that Ray has is taken"
    ):
        list(updates)
    assert Store(stored).record(run_id).status is Status.KILLED

    remove_placement_group(taken)
    monkeypatch.setattr(fleet, "START_TIMEOUT", 60.0)
    *trials, group = loop.run(groups.resumed(run_id))
    assert (len(trials), group.ok) == (2, True)


def test_the_tasks_see_the_environment_of_their_own_plan(executor, make_task, script):
    listener = Listener(executor)
    executor.submit(make_task(script("import os; print(os.environ['OF_THE_PLAN'])"), env={"OF_THE_PLAN": "yes"}))
    listener.until(lambda: listener.ended("0"))
    assert listener.printed("0") == "yes\n"


@pytest.mark.slow
def test_tasks_end_when_their_driver_is_killed(project, script, has_ended):
    """A driver killed with -9 takes its own Ray and its tasks along."""
    source = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from contract import Listener, wait_for_good
from ml_experiment_nb.executors.ray import RayExecutor
from ml_experiment_nb.plans import Step, Task
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Function
from ml_experiment_nb.work.payload import write_payload
from pathlib import Path
asked = {{"run": {{"command": "true"}}, "param_space": {{"x": "range(0, 9)"}}, "slots": 1}}
executor = RayExecutor(make_plan(spec_from_mapping(asked)))
while not executor.slots:
    executor.poll(1.0)
payload = str(write_payload({{"function": wait_for_good}}, Path(".")).absolute())
step = Step(Function(function=print), {{}})
executor.submit(Task("0", "t", (step,), {{}}, ".", payload=payload, folder=str(Path("folder").absolute())))
print(*Listener(executor).pids("0"), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        pids = [int(word) for word in one.stdout.readline().split()]
        assert len(pids) == 2
        one.kill()
    assert [has_ended(pid, timeout=30) for pid in pids] == [True, True]


def test_where_ray_can_not_be_started_and_nobody_asked_for_it_slots_are_plain_processes(project, script, monkeypatch):
    connection.shutdown()
    ray.shutdown()
    monkeypatch.setenv("RAY_TMPDIR", "/proc/none")  # where nothing can be written
    keys = {"num_trials": 2, "slots": 2, "allow_unknown_params": True, "param_space": {"x": "range(0, 9)"}}
    spec = {"run": script("print('here')").path, **keys}
    asked = make_plan(spec_from_mapping(spec))
    assert asked.executor == "ray"
    records = loop.collect(asked, loop.run(asked))
    assert [one.status for one in records] == [Status.FINISHED] * 2
    assert any(
        note.startswith("its slots are plain processes: Ray can't be started: ") for note in records.parent.notes
    )
    with pytest.raises(ExecutorError, match=r"Ray can't be started: .* \(`--executor inline` needs no Ray\)"):
        list(loop.run(make_plan(spec_from_mapping({**spec, "executor": "ray"}))))
