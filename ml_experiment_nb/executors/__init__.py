"""Where tasks go: slots that run one task each, all answering to one Protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.events import Answer, Event
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.plans import Plan, Task
from ml_experiment_nb.records import Outcome


class Executor(Protocol):
    """Slots for tasks. Every submitted task sends events, the last of them `Done`, whatever happens to it.

    A task that lost its slot by no fault of its own ends with the failure `SlotLostError`.
    """

    @property
    def slots(self) -> int:
        """How many tasks run at once; slots may come and go, and the first may come while it is polled."""

    def submit(self, task: Task) -> None:
        """Start a task. There is a free slot: the caller counts."""

    def poll(self, timeout: float) -> list[tuple[str, Event]]:
        """Return what has arrived, as (task's key, event); wait at most `timeout` seconds for something.

        Raises:
            ExecutorError: There is no slot, and has been none for too long.
        """

    def answer(self, key: str, answer: Answer) -> None:
        """Answer a task that waits for it."""

    def kill(self, key: str, outcome: Outcome) -> None:
        """Stop a task with all that it started; its `Done` carries `outcome`."""

    def close(self, interrupted: bool = False) -> None:
        """Stop what still runs and give the slots back."""


def open_executor(plan: Plan, note: Callable[[str], None]) -> Executor:
    """Return the executor that a plan names.

    Where nobody asked for Ray and it can't be started here, as on a machine that is too busy, slots of this machine do.

    Args:
        plan: The plan.
        note: Takes what the record should say of it.

    Raises:
        ExecutorError: Its slots can't be had.
    """
    if plan.distributed is not None:
        from ml_experiment_nb.executors.distributed import DistributedExecutor

        return DistributedExecutor(plan)
    if plan.executor == "ray":
        with held_back():
            from ml_experiment_nb.executors.ray import RayExecutor
        try:
            return RayExecutor(plan)
        except ExecutorError as error:
            if not plan.may_do_without_ray:
                raise
            note(f"its slots are plain processes: {str(error).partition(' (`--executor')[0]}")
    from ml_experiment_nb.executors.inline import InlineExecutor

    return InlineExecutor(plan.slots or 1)
