"""Tasks in containers, as whoever submits them sees them: what every executor does, done by an engine's containers."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import cloudpickle
import engine
import pytest
from contract import KILLED, ExecutorContract, Listener, square, wait_for_good

from ml_experiment_nb.executors.inline import InlineExecutor
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.engine import reach
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.work.container import sweep
from ml_experiment_nb.work.readying import readying

pytestmark = pytest.mark.docker
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # tasks do not find the tests' folder


def exhausted(work):
    """Return what a generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


class Outside(Listener):
    """Says processes by the numbers that they have outside of their containers."""

    def pids(self, key):
        inside = super().pids(key)
        found = {}
        for status in Path("/proc").glob("[0-9]*/status"):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            numbers = [int(word) for word in lines["NSpid"].split()]
            if len(numbers) == 2 and numbers[1] in inside and self._is_of(key, status.parent):
                found[numbers[1]] = numbers[0]
        return [found[one] for one in inside]

    def _is_of(self, key, process):
        environment = (process / "environ").read_bytes()
        mark = self.executor._running[key][0]._mark
        return mark.encode() in environment


@pytest.fixture(scope="module")
def container(docker_engine, tmp_path_factory):
    """What is known of a container of the base image; it is looked into once."""
    folder = tmp_path_factory.mktemp("looked")
    (folder / "script.py").touch()
    keys = {"run": str(folder / "script.py"), "docker_config": {"image": engine.BASE}}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in docker_engine.environment.items():
            patch.setenv(name, value)
        return exhausted(readying(make_plan(spec_from_mapping(keys)))).container


class TestInContainers(ExecutorContract):
    @pytest.fixture
    def executor(self, project, docker):
        found = InlineExecutor(2)
        yield found
        found.close()
        with reach() as asked:
            assert containers.labelled(asked, {}) == []

    @pytest.fixture
    def listener(self, executor):
        return Outside(executor)

    @pytest.fixture
    def make_task(self, make_task, container):
        return partial(make_task, container=container)

    def test_a_process_that_hangs_when_its_slot_is_gone_is_swept(self, listener, executor, task):
        executor.submit(task(wait_for_good, "0"))
        first, _ = listener.pids("0")
        with reach() as asked:
            assert sweep(asked) == 0
            os.kill(first, signal.SIGSTOP)
            executor._running["0"][0]._inbox.close()  # as it is when its slot was killed
            assert sweep(asked) == 1
        listener.until(lambda: listener.ended("0"))

    def test_a_task_over_its_memory(self, listener, executor, task):
        executor.submit(task(too_much, "0", memory=100_000_000))
        listener.until(lambda: listener.ended("0"))
        assert listener.outcome("0").failure.type == "TaskMemoryError"
        assert "stopped at its memory limit of 100 MB" in listener.outcome("0").failure.message

    def test_a_task_s_secrets_are_no_part_of_what_the_engine_shows(self, listener, executor, task):
        executor.submit(task(show_secret, "0", env={"TOKEN": "hush-1234"}))
        listener.until(lambda: "hush-1234" in listener.printed("0"))
        with reach() as asked:
            [(id, _)] = containers.labelled(asked, {})
            assert "hush-1234" not in str(asked.client.api.inspect_container(id))
        executor.kill("0", KILLED)
        listener.until(lambda: listener.ended("0"))

    def test_a_process_that_ends_without_a_word(self, listener, executor, task):
        executor.submit(task(leave, "0"))
        listener.until(lambda: listener.ended("0"))
        assert listener.outcome("0").failure.type == "TaskDiedError"
        assert "exit code 3" in listener.outcome("0").failure.message
        assert listener.printed("0") == "leaving\n"

    def test_a_container_that_somebody_kills_is_that_task_s_failure(self, listener, executor, task):
        executor.submit(task(wait_for_good, "0"))
        executor.submit(task(wait_for_good, "1"))
        listener.pids("0"), listener.pids("1")
        subprocess.run(
            ["docker", "kill", executor._running["0"][0]._child._container.id], check=True, capture_output=True
        )
        listener.until(lambda: listener.ended("0"))
        assert listener.outcome("0").failure.type == "TaskDiedError"
        assert "its container was killed from outside" in listener.outcome("0").failure.message
        assert not listener.ended("1")
        executor.kill("1", KILLED)
        listener.until(lambda: listener.ended("1"))

    def test_an_image_that_is_gone_is_that_task_s_failure(self, listener, executor, task, container):
        gone = replace(container, image="sha256:" + "0" * 64, name="team/gone:1")
        executor.submit(replace(task(square, "0"), container=gone))
        listener.until(lambda: listener.ended("0"))
        assert "hasn't got image 'team/gone:1'" in listener.outcome("0").failure.message


def too_much(x):
    import time

    kept = [bytearray(b"x") * (10 << 20) for _ in range(100)]
    time.sleep(600)
    return kept


def show_secret(x):
    import os
    import time

    print(os.environ["TOKEN"], flush=True)
    time.sleep(600)


def leave(x):
    import os

    print("leaving", flush=True)
    os._exit(3)
