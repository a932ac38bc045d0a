"""Slots on Ray: an actor each, which performs its tasks in processes of their own and streams their events back."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psutil
import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.plans import Plan, Task
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.reports import Answer, Done, Event
from ml_experiment_nb.specs import RayConfig
from ml_experiment_nb.work.process import Running
from ml_experiment_nb.work.setups import Warm

START_TIMEOUT = 60.0  # seconds that slots may take to come up
CLOSE_TIMEOUT = 5.0  # seconds that tasks may take to end
_ours: str | None = None  # the node of the Ray that this process started


class Node:
    """The slots of one node: an actor, which performs several tasks at once and forks them from one set of servers."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._kills: dict[str, Outcome] = {}
        self._warm: Warm | None = None
        self._lock = threading.Lock()

    def ready(self) -> bool:
        """Answer, once the actor is up."""
        return True

    def perform(self, task: Task) -> Iterator[list[Event]]:
        """Perform a task and yield its events."""
        with self._lock:
            if task.warm and self._warm is None:
                self._warm = Warm(task)
            running = self._running[task.key] = Running(task, self._warm if task.warm else None)
            if task.key in self._kills:
                running.kill(self._kills.pop(task.key))
        try:
            yield from running.batches()
        finally:
            del self._running[task.key]

    def answer(self, key: str, answer: Answer) -> None:
        """Answer a task, which waits for it."""
        if (running := self._running.get(key)) is not None:
            running.answer(answer)

    def kill(self, key: str, outcome: Outcome) -> None:
        """Stop a task; it may have been submitted and not have begun."""
        with self._lock:
            if (running := self._running.get(key)) is not None:
                running.kill(outcome)
            else:
                self._kills[key] = outcome


class RayExecutor:
    """An `Executor` on Ray: a Ray that is connected already, the one at the plan's address, or a new local one.

    Raises:
        ExecutorError: Ray can't be reached or started, or has not the resources.
    """

    def __init__(self, plan: Plan) -> None:
        _connect(plan)
        self.slots = _fitting_slots(plan)
        needs = plan.spec.resources_per_worker
        # Ray tells the actor of as many threads as all slots together have CPUs.
        self._env = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, int(needs.cpu)))}
        self._options: dict[str, Any] = {
            "num_cpus": _whole(needs.cpu * self.slots),
            "num_gpus": _whole(needs.gpu * self.slots),
            "max_concurrency": 2 * self.slots + 2,
            # Tasks read this machine's files, so their slots stay on it.
            "scheduling_strategy": NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False),
        }
        self._node = self._new_node()
        self._busy: dict[str, tuple[Any, Any]] = {}
        try:
            ray.get(self._node.ready.remote(), timeout=START_TIMEOUT)
        except RayError as error:
            self.close(interrupted=True)
            raise ExecutorError(f"Ray did not bring up {self.slots} slots: {error}") from error
        except KeyboardInterrupt:
            self.close(interrupted=True)
            raise

    def submit(self, task: Task) -> None:
        """Start a task."""
        task = replace(task, env={**task.env, **self._env})
        self._busy[task.key] = (self._node, self._node.perform.options(num_returns="streaming").remote(task))

    def poll(self, timeout: float) -> list[tuple[str, Event]]:
        """Return what has arrived."""
        streams = {stream: key for key, (_, stream) in self._busy.items()}
        if not streams:
            return []
        ready, _ = ray.wait(list(streams), num_returns=1, timeout=timeout, fetch_local=True)
        if ready and len(streams) > 1:
            ready, _ = ray.wait(list(streams), num_returns=len(streams), timeout=0, fetch_local=True)
        return [(streams[stream], event) for stream in ready for event in self._next(streams[stream], stream)]

    def answer(self, key: str, answer: Answer) -> None:
        """Answer a task that waits for it."""
        if key in self._busy:
            self._busy[key][0].answer.remote(key, answer)

    def kill(self, key: str, outcome: Outcome) -> None:
        """Stop a task."""
        if key in self._busy:
            self._busy[key][0].kill.remote(key, outcome)

    def close(self, interrupted: bool = False) -> None:
        """End the slots, which ends their tasks' processes. Ray itself is ended only if this process started it.

        A Ray of our own stays up for the next group of this process; an interrupt ends it too.
        """
        if ray.is_initialized():
            for key in self._busy:
                self.kill(key, Outcome(Status.KILLED))
            until = time.monotonic() + CLOSE_TIMEOUT
            while self._busy and time.monotonic() < until:
                self.poll(timeout=0.2)
            ray.kill(self._node)
        self._busy = {}
        if interrupted:
            shutdown()

    def _new_node(self) -> Any:
        return ray.remote(Node).options(**self._options).remote()

    def _next(self, key: str, stream: Any) -> list[Event]:
        try:
            events: list[Event] = ray.get(next(stream))
        except (RayActorError, StopIteration):
            if self._busy.pop(key)[0] is self._node:  # the first of those that were lost with it
                self._node = self._new_node()
            return [Done(Outcome(Status.FAILED, Failure("TaskDiedError", "its slot on Ray was lost")))]
        except RayError as error:
            del self._busy[key]
            return [Done(Outcome(Status.FAILED, Failure("ExecutorError", str(error))))]
        if any(isinstance(event, Done) for event in events):
            del self._busy[key]
        return events


def shutdown() -> None:
    """End the Ray that this process started; one that it only connected to is left alone."""
    global _ours
    if _is_ours():
        ray.shutdown()
    _ours = None


def _is_ours() -> bool:
    return ray.is_initialized() and _ours == ray.get_runtime_context().get_node_id()


def _connect(plan: Plan) -> None:
    """Make sure that this process is connected to a Ray that suits the plan."""
    global _ours
    config = plan.spec.ray_config or RayConfig()
    options = dict(config.model_extra or {})
    address = config.address or os.environ.get("RAY_ADDRESS")
    cpus = config.num_cpus or (plan.slots or 1) * plan.cpus_per_slot
    if _is_ours() and ray.cluster_resources().get("CPU", 0) < cpus:
        shutdown()
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False} | options
    if address:
        options.pop("include_dashboard")
        _probe(address)
    else:
        options |= {"num_cpus": max(1, round(cpus)), "num_gpus": config.num_gpus}
        # Ray would kill a lost slot's own children alone: left to themselves they end with all that they started.
        options = {"_system_config": {"kill_child_processes_on_worker_exit": False}} | options
    try:
        _init(address or "local", options)
    except Exception as error:  # Ray raises its own, Python's and bare ones
        what = f"reached at {address}" if address else "started"
        raise ExecutorError(f"Ray can't be {what}: {error} (`--executor inline` needs no Ray)") from error
    _ours = None if address else ray.get_runtime_context().get_node_id()


def _init(address: str, options: dict[str, Any]) -> None:
    """Start or reach Ray; twice, for it allows itself 30 s to start, which a busy machine may not keep to."""
    try:
        _init_once(address, options)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        _init_once(address, options)


def _init_once(address: str, options: dict[str, Any]) -> None:
    before = psutil.Process().children()
    try:
        ray.init(address=address, **options)
    except Exception:
        ray.shutdown()
        for one in psutil.Process().children():  # a start that fails leaves what it had started
            with suppress(psutil.Error):
                if one not in before and "ray" in " ".join(one.cmdline()):
                    one.kill()
                    one.wait(5)
        raise


def _probe(address: str) -> None:
    """Fail at once where Ray would try for minutes: nobody listens at the address."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise ExecutorError(
            f"no Ray answers at {address} ({error}); start one with `ray start --head`, or leave the address out"
        ) from error


def _fitting_slots(plan: Plan) -> int:
    """Return how many slots this node has room for, at most as many as the plan wants."""
    needs, here = plan.spec.resources_per_worker, ray.get_runtime_context().get_node_id()
    has: dict[str, float] = next((node["Resources"] for node in ray.nodes() if node["NodeID"] == here), {})
    asked = {"CPU": needs.cpu, "GPU": needs.gpu}
    room = min((int(has.get(name, 0) / amount) for name, amount in asked.items() if amount), default=plan.slots or 1)
    if room < 1:
        raise ExecutorError(
            f"resources_per_worker asks for cpu {needs.cpu:g} and gpu {needs.gpu:g}, "
            f"Ray has CPU {has.get('CPU', 0):g} and GPU {has.get('GPU', 0):g}; lower it, or set ray_config"
        )
    return min(room, plan.slots or room)


def _whole(amount: float) -> float:
    """Return a sum of resources as Ray takes it: above one, a whole number."""
    return math.ceil(amount - 1e-9) if amount > 1 else amount
