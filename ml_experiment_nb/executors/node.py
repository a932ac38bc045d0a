"""A node's slots: a Ray actor, which performs several tasks at once and forks them from one set of servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from ml_experiment_nb.events import Answer, Done, Event
from ml_experiment_nb.executors.capacity import Need
from ml_experiment_nb.executors.copies import Beacon, Copies, Piece
from ml_experiment_nb.plans import Task
from ml_experiment_nb.records import Outcome
from ml_experiment_nb.work.process import Running
from ml_experiment_nb.work.setups import Warm

GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Hello:
    """What a node says of itself.

    Attributes:
        host: Its machine's name.
        boot: What tells its machine from others that have the same name.
        sees_project: Whether it sees the driver's project.
        sees_temporary: Whether it sees the driver's temporary files.
    """

    host: str
    boot: str
    sees_project: bool
    sees_temporary: bool


@dataclass(frozen=True)
class Payload:
    """Where the values that travel lie: a file of the driver's, and, for a node that doesn't see it, its content."""

    path: str
    chunks: Sequence[Any]


class Node:
    """Slots of one node.

    Args:
        need: What each of them takes.
        slots: How many there are.
    """

    def __init__(self, need: Need, slots: int) -> None:
        ids = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
        self._devices = need.devices(ids, slots)
        self._free = list(range(slots))
        self._taken: dict[Running, int] = {}
        self._running: dict[str, Running] = {}
        self._kills: dict[str, Outcome] = {}
        self._warm: Warm | None = None
        self._copies: Copies | None = None
        self._lock = threading.Lock()

    def hello(self, beacon: Beacon) -> Hello:
        """Say who this is, once the actor is up."""
        return Hello(socket.gethostname(), boot_id(), *beacon.seen())

    def receive(self, archive: Sequence[Any], working_dir: str | None) -> None:
        """Take copies of the driver's files, which this node doesn't see."""
        self._copies = Copies()
        self._copies.unpack(_fetched(archive), working_dir)

    def perform(self, task: Task, payload: Payload | None = None) -> Iterator[Sequence[Event | Piece]]:
        """Perform a task and yield its events, and, before its last, the files that it left where nobody sees them."""
        with self._lock:
            ours = self._here(task, payload)
            if task.warm and self._warm is None:
                self._warm = Warm(ours)
            place = self._free.pop(0)
            if (devices := self._devices[place]) is not None:
                ours = replace(ours, env={**ours.env, GPUS: devices})
            running = self._running[task.key] = Running(ours, self._warm if task.warm else None)
            self._taken[running] = place
            if task.key in self._kills:
                running.kill(self._kills.pop(task.key))
        try:
            for batch in running.batches():
                if isinstance(batch[-1], Done):
                    if self._copies is not None:
                        yield from self._copies.pieces(task)
                    self._release(running)  # before the driver hears of it, and gives the slot away again
                yield batch
        finally:
            self._release(running)

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

    def leave(self) -> None:
        """Remove what lies here for the group's sake; nothing runs any more."""
        if self._warm is not None and self._copies is not None:
            self._warm.close()
        if self._copies is not None:
            self._copies.remove()

    def _here(self, task: Task, payload: Payload | None) -> Task:
        if payload is not None:
            self._copies = self._copies or Copies()
            self._copies.take_payload(payload.path, lambda: _fetched(payload.chunks))
        return task if self._copies is None else self._copies.of(task)

    def _release(self, running: Running) -> None:
        with self._lock:
            if (place := self._taken.pop(running, None)) is not None:
                del self._running[running.task.key]
                self._free = sorted([*self._free, place])


def boot_id() -> str:
    """Return what is this machine's alone, as long as it is up."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _fetched(chunks: Iterable[Any]) -> Iterator[bytes]:
    for chunk in chunks:
        yield ray.get(chunk)
