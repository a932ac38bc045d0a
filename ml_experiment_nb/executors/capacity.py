"""How many slots a node has room for, and which of its GPUs each of them sees: arithmetic, without Ray."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.records import size
from ml_experiment_nb.specs import Resources

_TINY = 1e-6  # Ray counts in ten-thousandths


@dataclass(frozen=True)
class Need:
    """What one slot takes of a node.

    Attributes:
        cpu: CPUs, or a fraction of one.
        gpu: GPUs, or the fraction of one that it shares with others.
        memory: Bytes that a task may use; None where that has no limit.
    """

    cpu: float
    gpu: float
    memory: int | None = None

    @classmethod
    def of(cls, resources: Resources, memory: int | None = None) -> Need:
        """Return what a spec asks for.

        Raises:
            ExecutorError: It asks for a GPU and a half.
        """
        if resources.gpu > 1 and resources.gpu != int(resources.gpu):
            raise ExecutorError(
                f"resources_per_worker asks for gpu {resources.gpu:g}: above one they are whole, "
                f"so set {math.floor(resources.gpu)} or {math.ceil(resources.gpu)}"
            )
        return cls(resources.cpu, resources.gpu, memory)

    def room(self, free: Mapping[str, float], otherwise: int) -> int:
        """Return how many slots fit into free resources; `otherwise`, where a slot takes nothing."""
        rooms = []
        if self.cpu:
            rooms.append(int(free.get("CPU", 0) / self.cpu + _TINY))
        if self.gpu:
            gpus = free.get("GPU", 0)
            rooms.append(
                int(gpus + _TINY) * self._per_gpu if self.gpu < 1 and gpus >= 1 else int(gpus / self.gpu + _TINY)
            )
        if self.memory and "memory" in free:  # a limit above what the node has is no reason to leave it out
            rooms.append(max(1, int(free["memory"] / self.memory)))
        return min(rooms, default=otherwise)

    def request(self, slots: int) -> dict[str, float]:
        """Return what an actor with so many slots asks Ray for."""
        gpus = math.ceil(slots / self._per_gpu) if 0 < self.gpu < 1 else self.gpu * slots
        if gpus == 1 and self.gpu < 1:
            gpus = min(1.0, round(self.gpu * slots, 4))
        return {"num_cpus": _whole(self.cpu * slots), "num_gpus": gpus}

    def devices(self, ids: Sequence[str], slots: int) -> list[str | None]:
        """Return each slot's ``CUDA_VISIBLE_DEVICES``: devices of its own, or the one that it shares; None without."""
        if not self.gpu or not ids:
            return [None] * slots
        if self.gpu < 1:
            return [ids[min(k // self._per_gpu, len(ids) - 1)] for k in range(slots)]
        each = int(self.gpu)
        return [",".join(ids[k * each : (k + 1) * each]) for k in range(slots)]

    def check(self, nodes: Sequence[Mapping[str, float]]) -> None:
        """Check that one of the nodes, by all that it has, could ever hold a slot.

        Raises:
            ExecutorError: None could; it says the numbers.
        """
        if any(self.room(node, 1) >= 1 for node in nodes):
            return
        have = Counter(f"CPU {node.get('CPU', 0):g} and GPU {node.get('GPU', 0):g}" for node in nodes)
        texts = [text + (f" ({count} nodes)" if count > 1 else "") for text, count in sorted(have.items())]
        where = "Ray has" if len(nodes) == 1 else f"no one of Ray's {len(nodes)} nodes has that: they have"
        raise ExecutorError(
            f"resources_per_worker asks for cpu {self.cpu:g} and gpu {self.gpu:g}, "
            f"{where} {', '.join(texts) or 'no node at all'}; lower it, or set ray_config"
        )

    @property
    def _per_gpu(self) -> int:
        return int(1 / self.gpu + _TINY)

    def __str__(self) -> str:
        memory = f", memory {size(self.memory)}" if self.memory else ""
        return f"cpu {self.cpu:g}, gpu {self.gpu:g}{memory}"


def _whole(amount: float) -> float:
    """Return a sum of resources as Ray takes it: above one, a whole number."""
    return math.ceil(amount - 1e-9) if amount > 1 else amount


def totals(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    """Return all that each living node of Ray has."""
    return [node["Resources"] for node in nodes if node["Alive"]]
