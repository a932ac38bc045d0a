"""Slots on Ray, on every node of it: actors that perform their tasks in processes of their own and stream events."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray
from ray import exceptions
from ray.exceptions import RayError

from ml_experiment_nb.errors import SlotLostError, SlotMemoryError
from ml_experiment_nb.events import Answer, Done, Event, Note
from ml_experiment_nb.executors.connection import connect, is_ours, shutdown
from ml_experiment_nb.executors.copies import Piece
from ml_experiment_nb.executors.fleet import Fleet, Place
from ml_experiment_nb.executors.node import Hello, boot_id
from ml_experiment_nb.executors.packing import runtime_env_of
from ml_experiment_nb.plans import Plan, Task
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.work.faraway import reachable

CLOSE_TIMEOUT = 5.0  # seconds that tasks may take to end
PIECES = 16  # batches that a node which sends files may be ahead of the driver, so that neither holds many
_LOST = (
    exceptions.RayActorError,
    exceptions.ActorUnschedulableError,
    exceptions.NodeDiedError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
    exceptions.WorkerCrashedError,
)
_WHY = {
    "node has died": "the node is gone",
    "worker process has died": "the slot's process ended",
    "is unavailable": "it can't be reached",
    "ray.kill": "it was ended",
}  # what of Ray's many lines is said


class RayExecutor:
    """An `Executor` on Ray: a Ray that is connected already, the one at the plan's address, or a new local one.

    Its slots come up while it is polled, which raises `ExecutorError` where none does for too long.

    Raises:
        ExecutorError: Ray can't be reached or started, or has not the resources.
    """

    def __init__(self, plan: Plan) -> None:
        runtime_env = connect(plan)
        given = runtime_env_of(plan).get("env_vars") or {}
        threads = given.get("OMP_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
        # Ray tells the actor of as many threads as all slots together have CPUs.
        self._env = {"OMP_NUM_THREADS": threads or str(max(1, int(plan.spec.resources_per_worker.cpu)))}
        self._fleet = Fleet(plan, alone=is_ours(), runtime_env=runtime_env)
        self._busy: dict[str, tuple[Place, Any]] = {}

    @property
    def slots(self) -> int:
        """How many tasks run at once: nodes come and go."""
        return self._fleet.slots

    def submit(self, task: Task) -> None:
        """Start a task."""
        place = self._fleet.choose()
        assert place.hello is not None
        task = replace(task, env={**task.env, **self._env, **_store_there(task.env, place.hello)})
        sees = place.hello.sees_project
        perform = place.actor.perform.options(
            num_returns="streaming", **({} if sees else {"_generator_backpressure_num_objects": PIECES})
        )
        self._busy[task.key] = place, perform.remote(task, self._fleet.payload(place, task.payload))
        place.busy.add(task.key)

    def poll(self, timeout: float) -> list[tuple[str, Event]]:
        """Return what has arrived."""
        return self._wait(timeout)

    def answer(self, key: str, answer: Answer) -> None:
        """Answer a task that waits for it."""
        if key in self._busy:
            self._busy[key][0].actor.answer.remote(key, answer)

    def kill(self, key: str, outcome: Outcome) -> None:
        """Stop a task."""
        if key in self._busy:
            self._busy[key][0].actor.kill.remote(key, outcome)

    def close(self, interrupted: bool = False) -> None:
        """End the slots, which ends their tasks' processes. Ray itself is ended only if this process started it.

        A Ray of our own stays up for the next group of this process; an interrupt ends it too.
        """
        if ray.is_initialized():
            for key in self._busy:
                self.kill(key, Outcome(Status.KILLED))
            until = time.monotonic() + CLOSE_TIMEOUT
            while self._busy and time.monotonic() < until:
                self._take(0.2)
            self._fleet.close(CLOSE_TIMEOUT)
        self._busy = {}
        if interrupted:
            shutdown()

    def _wait(self, timeout: float) -> list[tuple[str, Event]]:
        self._fleet.look()
        events = self._take(timeout)
        if events and self._fleet.problems:
            events[:0] = [(events[0][0], Note(text)) for text in self._fleet.problems]
            self._fleet.problems.clear()
        return events

    def _take(self, timeout: float) -> list[tuple[str, Event]]:
        streams = {stream: key for key, (_, stream) in self._busy.items()}
        coming = self._fleet.waiting()
        if not streams and not coming:
            if not self._fleet.slots:
                time.sleep(timeout)
            return []
        everything = [*streams, *coming]
        ready, _ = ray.wait(everything, num_returns=1, timeout=timeout, fetch_local=True)
        if ready and len(everything) > 1:
            ready, _ = ray.wait(everything, num_returns=len(everything), timeout=0, fetch_local=True)
        events: list[tuple[str, Event]] = []
        for one in ready:
            if one in streams:
                events += [(streams[one], event) for event in self._next(streams[one], one)]
            else:
                self._fleet.welcome(one)
        return events

    def _next(self, key: str, stream: Any) -> list[Event]:
        place = self._busy[key][0]
        try:
            events = [event for one in ray.get(next(stream)) if (event := _put(one)) is not None]
        except (*_LOST, StopIteration) as error:
            self._fleet.lose(place)
            events = [Done(Outcome(Status.FAILED, _lost(error, place)))]
        except RayError as error:
            events = [Done(Outcome(Status.FAILED, Failure("ExecutorError", str(error))))]
        if any(isinstance(event, Done) for event in events):
            place.busy.discard(key)
            del self._busy[key]
        return events


def _put(one: Event | Piece) -> Event | None:
    """Put a piece of a file where it belongs; an event is handed on."""
    if not isinstance(one, Piece):
        return one
    try:
        one.put()
    except OSError as error:
        return Note(f"{os.path.basename(one.path)} could not be brought back whole: {error}")
    return None


def _lost(error: BaseException, place: Place) -> Failure:
    where = f" on {place.hello.host}" if place.hello is not None else ""
    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError) or "low on memory" in text:
        return Failure(SlotMemoryError.__name__, f"Ray ended its slot{where}, as the node was low on memory")
    why = next((words for found, words in _WHY.items() if found in text), text.strip().partition("\n")[0][:200])
    return Failure(SlotLostError.__name__, f"its slot{where} was lost{why and ': '}{why}")


def _store_there(env: Mapping[str, str], hello: Hello) -> dict[str, str]:
    """Return the store's address as a node's own processes should have it."""
    uri = env.get("MLFLOW_TRACKING_URI")
    if uri is None:
        return {}
    return {"MLFLOW_TRACKING_URI": reachable(uri, same_files=hello.sees_project, same_machine=hello.boot == boot_id())}


__all__ = ["RayExecutor", "shutdown"]
