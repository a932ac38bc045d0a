"""What every executor does: inherited by the tests of each."""

import os
import signal
import sys
from dataclasses import replace

import cloudpickle
import psutil
import pytest

from ml_experiment_nb.events import Answer, Ask, Done, Log, Metrics, Params
from ml_experiment_nb.records import SYSTEM, Failure, Outcome, Status
from ml_experiment_nb.targets import Function
from ml_experiment_nb.work.payload import write_payload

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # tasks do not find the tests' folder
FINISHED = Outcome(Status.FINISHED)
KILLED = Outcome(Status.KILLED, Failure("Test", "enough"))


def square(x):
    print("squaring", x)
    return {"y": x * x}


def wait_for_good(x=0):
    import os
    import subprocess
    import time

    print("pids", os.getpid(), subprocess.Popen(["sleep", "600"]).pid, flush=True)
    time.sleep(600)


def count_up(x=0):
    for k in range(50):
        yield {"loss": k}


def ask(x):
    from ml_experiment_nb import Trial

    trial = Trial.get_current()
    return {"number": trial.number, "low": trial.suggest_float("a", x, 10), "high": trial.suggest_float("b", x, 10)}


def fail(x):
    raise ValueError(f"no {x}")


class Listener:
    """Keeps what comes of each task."""

    def __init__(self, executor):
        self.executor = executor
        self.events = {}

    def until(self, condition):
        """Poll until the condition holds."""
        while not condition():
            for key, event in self.executor.poll(timeout=5):
                if isinstance(event, Metrics) and all(name.startswith(SYSTEM) for name in event.values):
                    continue  # what a task uses is sampled where it takes long
                self.events.setdefault(key, []).append(event)
                if isinstance(event, Metrics) and event.ask:
                    self.executor.answer(key, Answer(event.step == 2))
                elif isinstance(event, Ask):
                    told = {"number": int(key) + 10, "params": {}, "metric": None}
                    drawn = {"a": "low", "b": "high"}.get(event.given.get("name"), "")
                    self.executor.answer(key, Answer(event.given.get(drawn, told)))

    def ended(self, *keys):
        return all(any(isinstance(event, Done) for event in self.events.get(key, ())) for key in keys)

    def printed(self, key):
        return "".join(event.text for event in self.events.get(key, ()) if isinstance(event, Log))

    def outcome(self, key):
        """Return how a task ended; `Done` came once, and last."""
        dones = [event for event in self.events[key] if isinstance(event, Done)]
        assert len(dones) == 1
        assert self.events[key][-1] is dones[0]
        return dones[0].outcome

    def pids(self, key):
        """Wait until a task of `wait_for_good` says its processes."""
        self.until(lambda: self.printed(key).endswith("\n"))
        return [int(word) for word in self.printed(key).split()[1:]]


class ExecutorContract:
    """An executor of two slots comes from the fixture `executor`. `warm`: its tasks are forked where that is safe."""

    warm = False

    @pytest.fixture
    def listener(self, executor):
        return Listener(executor)

    @pytest.fixture
    def task(self, make_task, project):
        def make(function, key="0", **options):
            payload = str(write_payload({"function": function}, project))
            params = {"x": int(key)}
            return make_task(
                Function(function=print), key=key, params=params, payload=payload, warm=self.warm, **options
            )

        return make

    def test_it_has_the_slots_that_were_asked_for(self, executor):
        assert executor.slots == 2

    def test_with_nothing_to_do_nothing_comes(self, executor):
        assert executor.poll(timeout=0) == []

    def test_more_tasks_than_slots(self, listener, executor, task):
        waiting = [task(square, str(k)) for k in range(5)]
        busy = set()
        while waiting or busy:
            while waiting and len(busy) < executor.slots:
                busy.add(waiting[0].key)
                executor.submit(waiting.pop(0))
            listener.until(lambda keys=busy: any(listener.ended(key) for key in keys))
            busy = {key for key in busy if not listener.ended(key)}
        for k in range(5):
            assert listener.outcome(str(k)) == FINISHED
            assert listener.printed(str(k)) == f"squaring {k}\n"
            told = [event for event in listener.events[str(k)] if not isinstance(event, Log | Done)]
            assert told[0] == Params({"x": k})
            assert told[1].values == {"y": float(k * k)}
        assert executor.poll(timeout=0) == []

    def test_a_task_that_fails(self, listener, executor, task):
        executor.submit(task(fail, "7"))
        listener.until(lambda: listener.ended("7"))
        outcome = listener.outcome("7")
        assert (outcome.status, outcome.failure.type, outcome.failure.message) == (Status.FAILED, "ValueError", "no 7")

    def test_each_task_gets_its_own_verdict(self, listener, executor, task):
        for key in ("0", "1"):
            executor.submit(task(count_up, key, pruning=True))
        listener.until(lambda: listener.ended("0", "1"))
        for key in ("0", "1"):
            assert listener.outcome(key) == Outcome(Status.PRUNED)
            assert [event.step for event in listener.events[key] if isinstance(event, Metrics)] == [0, 1, 2]

    def test_each_task_gets_the_answers_to_its_own_questions(self, listener, executor, task):
        for key in ("1", "2"):
            executor.submit(task(ask, key))
        listener.until(lambda: listener.ended("1", "2"))
        for key in ("1", "2"):
            assert listener.outcome(key) == FINISHED
            asked = [event for event in listener.events[key] if isinstance(event, Ask)]
            assert [(one.what, one.given.get("name")) for one in asked] == [
                ("trial", None),
                ("suggest", "a"),
                ("suggest", "b"),
            ]
            values = next(event.values for event in listener.events[key] if isinstance(event, Metrics))
            assert values == {"number": int(key) + 10, "low": float(key), "high": 10.0}

    def test_an_answer_that_is_an_error_is_raised_where_it_was_asked(self, executor, task):
        executor.submit(task(ask, "1"))
        done = None
        while done is None:
            for key, event in executor.poll(timeout=5):
                if isinstance(event, Ask):
                    executor.answer(key, Answer(error="no: 'x'"))
                done = event if isinstance(event, Done) else done
        assert (done.outcome.failure.type, done.outcome.failure.message) == ("SpecError", "no: 'x'")

    def test_a_task_is_killed_with_all_that_it_started(self, listener, executor, task, has_ended):
        executor.submit(task(wait_for_good, "0"))
        executor.submit(task(square, "1"))
        pids = listener.pids("0")
        executor.kill("0", KILLED)
        listener.until(lambda: listener.ended("0", "1"))
        assert listener.outcome("0") == KILLED
        assert listener.outcome("1") == FINISHED
        assert [has_ended(pid, timeout=0) for pid in pids] == [True, True]

    def test_a_task_is_killed_before_it_has_begun(self, listener, executor, task):
        executor.submit(task(square, "0"))
        executor.submit(task(square, "1"))
        listener.until(lambda: listener.ended("0", "1"))
        executor.submit(task(wait_for_good, "2"))
        executor.kill("2", KILLED)
        listener.until(lambda: listener.ended("2"))
        assert listener.outcome("2") == KILLED

    def test_killing_or_answering_what_does_not_run_is_no_error(self, executor):
        executor.kill("no such key", KILLED)
        executor.answer("no such key", Answer(True))

    def test_a_task_whose_process_is_killed_by_another(self, listener, executor, task, has_ended):
        executor.submit(task(wait_for_good, "0"))
        first, second = listener.pids("0")
        os.kill(first, signal.SIGKILL)
        listener.until(lambda: listener.ended("0"))
        assert listener.outcome("0").failure.type == "TaskDiedError"
        assert "SIGKILL" in listener.outcome("0").failure.message
        assert has_ended(second, timeout=0)
        executor.submit(task(square, "1"))
        listener.until(lambda: listener.ended("1"))
        assert listener.outcome("1") == FINISHED

    def test_a_task_ends_at_its_limit(self, listener, executor, task):
        executor.submit(task(wait_for_good, "0", timeout=0.5))
        listener.until(lambda: listener.ended("0"))
        assert listener.outcome("0").failure.type == "TaskTimeoutError"

    def test_a_task_that_can_not_be_started_is_a_failure_of_that_task(self, listener, executor, task):
        executor.submit(task(square, "1"))
        executor.submit(replace(task(square, "0"), cwd="/no/such/folder"))
        listener.until(lambda: listener.ended("0", "1"))
        assert listener.outcome("0").status is Status.FAILED
        assert "/no/such/folder" in listener.printed("0") + listener.outcome("0").failure.message
        assert listener.outcome("1") == FINISHED

    def test_closing_ends_what_runs(self, listener, executor, task, has_ended):
        executor.submit(task(wait_for_good, "0"))
        executor.submit(task(wait_for_good, "1"))
        pids = listener.pids("0") + listener.pids("1")
        executor.close()
        assert [has_ended(pid, timeout=0) for pid in pids] == [True] * 4
        executor.close()

    def test_a_closed_executor_leaves_no_process_of_this_one(self, listener, executor, task):
        before = {one.pid for one in psutil.Process().children()}
        executor.submit(task(square, "0"))
        listener.until(lambda: listener.ended("0"))
        executor.close()
        left = {one.pid for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE} - before
        assert left == set()
