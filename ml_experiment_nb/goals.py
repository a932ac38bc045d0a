"""What a group optimises: a metric and which way, or several of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.fields import Frozen, translated

_DIRECTIONS = {"min": "minimize", "minimise": "minimize", "max": "maximize", "maximise": "maximize"}
_DIRECTIONS |= {way: way for way in _DIRECTIONS.values()}


class Metric(Frozen):
    """What a group optimises."""

    name: str = Field(min_length=1)
    direction: Literal["minimize", "maximize"] = "minimize"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("direction", mode="before")
    @classmethod
    def _read_direction(cls, value: Any) -> Any:
        return _DIRECTIONS.get(value.lower(), value.lower()) if isinstance(value, str) else value


def read_metric(value: Any) -> Metric | tuple[Metric, ...] | None:
    """Return one metric, or several: a list of them, or a mapping from their names to their directions.

    Raises:
        SpecError: It is neither, or a name stands there twice.
    """
    if value is None or isinstance(value, Metric):
        return value
    if _is_directions(value):
        value = [{"name": name, "direction": direction} for name, direction in value.items()]
    if not isinstance(value, list | tuple):
        return _one_metric(value, "metric")
    found = tuple(_one_metric(item, f"metric[{k}]") for k, item in enumerate(value))
    names = [metric.name for metric in found]
    if not found or len(set(names)) < len(names):
        twice = next((name for name in names if names.count(name) > 1), None)
        raise SpecError(f"{twice!r} stands there twice: keep one" if twice else "is empty: name one", key="metric")
    return found[0] if len(found) == 1 else found


def _is_directions(value: Any) -> bool:
    """Whether it is a mapping from names to directions, and not a metric's own keys."""
    if not isinstance(value, Mapping) or not value or value.keys() & Metric.model_fields.keys():
        return False
    return all(isinstance(way, str) and way.lower() in _DIRECTIONS for way in value.values())


def metric_json(metric: Metric | tuple[Metric, ...] | None) -> Any:
    """Return metrics in the JSON form that `read_metric` reads."""
    if isinstance(metric, tuple):
        return [one.model_dump(exclude_defaults=True) for one in metric]
    return None if metric is None else metric.model_dump(exclude_defaults=True)


def _one_metric(value: Any, key: str) -> Metric:
    try:
        return Metric.model_validate(value)
    except ValidationError as error:
        raise translated(error, Metric, prefix=key) from None
