"""A parameter space and its points as Optuna has them: flat names, and values that its storage can hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ml_experiment_nb.errors import SpaceError, nearest
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.spaces import Choice, Distribution, LogUniform, RandInt, Range, Uniform, Value, contains

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_LARGEST_GRID_AXIS = 100_000


def to_optuna(space: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Give `space` as Optuna's distributions; the positions of a list become ``name[0]``, ``name[1]``, ….

    Options that Optuna can't store or tell apart (lists, dicts, ``1`` beside ``True``) become their text;
    `from_optuna` turns them back.
    """
    return {name: _to_optuna(distribution) for name, distribution in _flat(space)}


def from_optuna(space: Mapping[str, Value], flat_params: Mapping[str, Any]) -> dict[str, object]:
    """Give a trial's parameters as the user's code expects them, from Optuna's flat ones.

    Raises:
        SpaceError: A parameter is missing, or isn't an option, as when a study of another space is resumed.
    """
    return {
        name: [_draw(f"{name}[{i}]", position, flat_params) for i, position in enumerate(value)]
        if isinstance(value, tuple)
        else _draw(name, value, flat_params)
        for name, value in space.items()
    }


def flat_point(space: Mapping[str, Value], point: Mapping[str, Any]) -> dict[str, Any]:
    """Give a point, or a part of one, as Optuna stores it: what `from_optuna` gives back.

    Args:
        space: The space; in an empty one a point may have any names, and its values stay as they are.
        point: Values by name, as the user's code expects them.

    Raises:
        SpaceError: The space has no such name, or can't give the value.
    """
    if not space:
        return dict(point)
    found: dict[str, Any] = {}
    for name, value in point.items():
        if name not in space:
            raise SpaceError(f"isn't in param_space{nearest(name, space) or ': it has ' + ', '.join(space)}", key=name)
        distribution = space[name]
        if not isinstance(distribution, tuple):
            found[name] = _stored_value(name, distribution, value)
        elif not isinstance(value, list | tuple) or len(value) != len(distribution):
            raise SpaceError(f"{value!r} is no list of {len(distribution)} values", key=name)
        else:
            for i, (position, one) in enumerate(zip(distribution, value, strict=True)):
                found[f"{name}[{i}]"] = _stored_value(name, position, one)
    return found


def grid(space: Mapping[str, Value]) -> dict[str, list[Any]]:
    """List each axis's values, flat and as Optuna stores them: the search space of Optuna's grid sampler.

    Raises:
        SpaceError: An axis is continuous, or too long.
    """
    return {name: _axis(name, distribution) for name, distribution in _flat(space)}


def _flat(space: Mapping[str, Value]) -> Iterator[tuple[str, Distribution]]:
    for name, value in space.items():
        if isinstance(value, tuple):
            yield from ((f"{name}[{i}]", position) for i, position in enumerate(value))
        else:
            yield name, value


def _to_optuna(distribution: Distribution) -> BaseDistribution:
    with held_back():
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match distribution:
        case Range(low, high, step):
            return IntDistribution(low, range(low, high, step)[-1], step=step)
        case RandInt(low, high):
            return IntDistribution(low, high)
        case Uniform(low, high, None):
            return FloatDistribution(low, high)
        case Uniform(low, _, step):
            last = _step_value(distribution, _step_count(distribution) - 1)
            return FloatDistribution(low, last, step=step)
        case LogUniform(low, high):
            return FloatDistribution(low, high, log=True)
        case Choice():
            return CategoricalDistribution(list(_stored(distribution)))


def _draw(name: str, distribution: Distribution, flat_params: Mapping[str, Any]) -> Any:
    key = f"param_space.{name}"
    if name not in flat_params:
        raise SpaceError("the trial has no value for it: was its study made for another space?", key=key)
    value = flat_params[name]
    if not isinstance(distribution, Choice):
        return value
    for stored, option in zip(_stored(distribution), distribution.options, strict=True):
        if stored == value:
            return copy.deepcopy(option)  # a trial may change its list
    raise SpaceError(f"{value!r} is no option of {distribution}: was its study made for another space?", key=key)


def _stored_value(name: str, distribution: Distribution, value: Any) -> Any:
    if not contains(distribution, value):
        raise SpaceError(f"{value!r} is outside of {distribution}", key=name)
    match distribution:
        case Choice(options):
            is_bool = isinstance(value, bool)
            same = [isinstance(option, bool) == is_bool and option == value for option in options]
            return _stored(distribution)[same.index(True)]
        case Uniform() | LogUniform():
            return float(value)
        case _:
            return int(value)


def _axis(name: str, distribution: Distribution) -> list[Any]:
    match distribution:
        case Range(low, high, step):
            values: range | tuple[Any, ...] = range(low, high, step)
        case RandInt(low, high):
            values = range(low, high + 1)
        case Choice():
            values = _stored(distribution)
        case Uniform(step=float()):
            values = range(_step_count(distribution))
        case Uniform() | LogUniform():
            how = "give it a step" if isinstance(distribution, Uniform) else "write choice([...])"
            raise SpaceError(
                f"{distribution} is continuous, and a grid lists every value: {how}, or use another sampler",
                key=f"param_space.{name}",
            )
    if len(values) > _LARGEST_GRID_AXIS:
        raise SpaceError(
            f"{distribution} has {len(values):,} values, too many for a grid: use another sampler",
            key=f"param_space.{name}",
        )
    return [_step_value(distribution, k) if isinstance(distribution, Uniform) else k for k in values]


def _stored(distribution: Choice) -> tuple[Any, ...]:
    """Give the options as Optuna can store them: themselves, or all of them as their text."""
    options = distribution.options
    scalars = all(option is None or isinstance(option, str | bool | int | float) for option in options)
    if scalars and len(set(options)) == len(options):
        return options
    return tuple(repr(option) for option in options)


def _step_count(distribution: Uniform) -> int:
    low, high, step = (Decimal(str(x)) for x in (distribution.low, distribution.high, distribution.step))
    return int((high - low) // step) + 1


def _step_value(distribution: Uniform, k: int) -> float:
    return float(Decimal(str(distribution.low)) + k * Decimal(str(distribution.step)))
