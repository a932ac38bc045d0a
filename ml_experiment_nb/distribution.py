"""What is asked of distributed training, and how a process learns that its job's function is run on workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.fields import Amount, Count, Frozen, translated
from ml_experiment_nb.records import number

ASKED = "ML_EXPERIMENT_DISTRIBUTED"
"""In a task's environment: what its spec asks, as JSON. It goes before what a function's own ``@job`` asks."""

RAY = "ML_EXPERIMENT_RAY"
"""In a task's environment: the Ray that has room for the task's workers, as JSON: its address, and a runtime_env."""

RANK = "ML_EXPERIMENT_RANK"
"""In a worker's environment: which one it is. What is distributed already is not distributed again."""

Framework = Literal["torch", "tensorflow", "xgboost", "lightgbm"]


class Distributed(Frozen):
    """A function that runs on several workers at once, which train one model together.

    Attributes:
        framework: Whose process group the workers are put into.
        num_workers: How many there are.
        gpus_per_worker: GPUs of each.
        cpus_per_worker: CPUs of each.
    """

    framework: Framework
    num_workers: Count = 2
    gpus_per_worker: Amount = 0.0
    cpus_per_worker: Annotated[Amount, Field(gt=0)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {"framework": value} if isinstance(value, str) else value

    @property
    def resources(self) -> dict[str, float]:
        """What one worker takes, as Ray names it."""
        return {"CPU": self.cpus_per_worker} | ({"GPU": self.gpus_per_worker} if self.gpus_per_worker else {})

    def __str__(self) -> str:
        each = " and ".join(f"{number(float(amount))} {name}" for name, amount in self.resources.items())
        return f"{self.num_workers} of {self.framework}, with {each} each"


def read_distributed(value: Any) -> Distributed | None:
    """Return what a value such as ``"torch"`` or ``{"framework": "torch", "num_workers": 4}`` asks.

    Raises:
        SpecError: It is something else.
    """
    if value is None or isinstance(value, Distributed):
        return value
    if not isinstance(value, str | Mapping):
        raise SpecError(f"must be a framework's name or a mapping, not {value!r}", key="distributed")
    try:
        return Distributed.model_validate(value)
    except ValidationError as error:
        raise translated(error, Distributed, prefix="distributed") from None


def asked_here() -> Distributed | None:
    """Return what the spec of the task that this process performs asks; None in a worker, and outside of a task."""
    text = os.environ.get(ASKED)
    return Distributed.model_validate_json(text) if text and RANK not in os.environ else None
