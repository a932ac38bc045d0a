"""Slots for tasks whose functions run on workers: processes of this machine, whose workers are Ray's to place.

A slot takes nothing of Ray: the task's process only starts its workers and listens to them. There are as many slots
as there is room for whole sets of workers, so that no task waits for what another one has half of.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import ray

from ml_experiment_nb.distribution import ASKED, RAY, Distributed
from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.executors import ray as on_ray
from ml_experiment_nb.executors.inline import InlineExecutor
from ml_experiment_nb.plans import Plan, Task
from ml_experiment_nb.records import number
from ml_experiment_nb.reports import Sink
from ml_experiment_nb.specs import Experiment, Group
from ml_experiment_nb.targets import Function
from ml_experiment_nb.work import distributed


class DistributedExecutor(InlineExecutor):
    """An `Executor` whose tasks' workers run on Ray, on any of its nodes.

    Raises:
        ExecutorError: Ray can't be reached or started, or will never have room for a task's workers.
    """

    def __init__(self, plan: Plan) -> None:
        self._stack = ExitStack()
        super().__init__(self._stack.enter_context(connected(plan)))
        asked, given = plan.spec.distributed, plan.spec.ray_config
        runtime_env = ((given and given.model_extra) or {}).get("runtime_env") or {}
        self._env = {
            RAY: json.dumps({"address": ray.get_runtime_context().gcs_address, "runtime_env": runtime_env}),
            ASKED: "" if asked is None else asked.model_dump_json(),
        }

    def submit(self, task: Task) -> None:
        """Start a task in a process of its own, which starts the workers."""
        super().submit(replace(task, env={**task.env, **self._env}))

    def close(self, interrupted: bool = False) -> None:
        """Stop what still runs, which ends its workers."""
        super().close(interrupted)
        self._stack.close()
        if interrupted:
            on_ray.shutdown()


def call_on_workers(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    sink: Sink,
    asked: Distributed,
    *,
    name: str,
    record: bool,
) -> Any:
    """Call a job's function on its workers: on the Ray of the task that this is, else on one of this very process.

    Args:
        function: The job's function.
        arguments: Its arguments.
        sink: Where its events go.
        asked: Which workers.
        name: The job's name.
        record: Whether what it returns are the run's metrics.

    Returns:
        Rank 0's value.

    Raises:
        ExecutorError: Ray can't be reached or started, or will never have room for the workers.
        TaskError: See `ml_experiment_nb.work.distributed.call`, as for what else it raises.
    """
    target = Function(function=function)
    spec = Experiment(name=name, run=(target,), distributed=asked)
    plan = Plan(spec, (target,), os.getcwd(), 1, "ray", distributed=asked)
    with nullcontext() if RAY in os.environ else connected(plan):
        return distributed.call(function, arguments, sink, asked, record=record)


@contextmanager
def connected(plan: Plan) -> Iterator[int]:
    """Be connected to a Ray that suits a plan with workers, and yield how many of its tasks fit at once.

    A Ray of our own that a group started stays for the next one; one that was started for a single run ends with it.

    Raises:
        ExecutorError: Ray can't be reached or started, or will never have room for a task's workers.
    """
    asked = plan.distributed
    assert asked is not None
    _check_installed(asked)
    address = (plan.spec.ray_config and plan.spec.ray_config.address) or os.environ.get("RAY_ADDRESS") or ""
    if address.startswith("ray://"):
        raise ExecutorError(f"workers can't be placed through {address}: run this on a node of that Ray, or its head")
    was_there = ray.is_initialized()
    on_ray._connect(plan)
    try:
        yield min(_room(asked), plan.slots or _room(asked))
    finally:
        if not was_there and not isinstance(plan.spec, Group):
            on_ray.shutdown()


def _room(asked: Distributed) -> int:
    """Return for how many tasks at once Ray has room."""
    nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers = sum(min(int(has.get(n, 0) / much) for n, much in asked.resources.items()) for has in nodes)
    if workers < asked.num_workers:
        found = " and ".join(f"{number(sum(has.get(name, 0.0) for has in nodes))} {name}" for name in asked.resources)
        raise ExecutorError(
            f"distributed asks for {asked}; Ray has {found}, which is room for {workers}: lower num_workers or what "
            "each takes, or set ray_config"
        )
    return workers // asked.num_workers


def _check_installed(asked: Distributed) -> None:
    missing = [name for name in (asked.framework, "pandas", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        extras = f"distributed,{asked.framework}"
        raise ExecutorError(f"{missing[0]} is not installed: `pip install 'ml-experiment-nb[{extras}]'`")
