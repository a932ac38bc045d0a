"""What is told of a plan while it runs: that a task began, what it sent, and the record that it ends with."""

from __future__ import annotations

from dataclasses import dataclass

from ml_experiment_nb.events import Event
from ml_experiment_nb.records import Record


@dataclass(frozen=True)
class Started:
    """A task has been given a slot. `parent`: this is the run that the tasks will belong to; `record`: as it begins."""

    key: str
    name: str
    run_id: str | None
    parent: bool = False
    record: Record | None = None


@dataclass(frozen=True)
class Happened:
    """A running task sent an event."""

    key: str
    event: Event


@dataclass(frozen=True)
class Readied:
    """A line of what is said while the tasks' container is made ready, before anything runs."""

    text: str


Update = Started | Happened | Readied | Record
