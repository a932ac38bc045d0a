"""A job's function, by its signature: its parameters have names, and a call binds them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.tracebacks import show_short


def check_function(function: Any) -> None:
    """Check that something can be a job: a plain function or a generator, of parameters with names.

    Raises:
        SpecError: It can't.
    """
    if not callable(function) or inspect.isclass(function):
        given = f"the class {function.__name__}" if inspect.isclass(function) else repr(function)
        name_of = f"; to name it, write @job(name={function!r})" if isinstance(function, str) else ""
        raise SpecError(f"a job is a function, not {given}{name_of}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SpecError(f"{_name(function)} is async: a job is a plain function or a generator")
    _check_named(function)


def bound_arguments(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by name, defaults included.

    Raises:
        TypeError: They don't fit; Python's own, with the nearest name where one is unknown.
    """
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        problem = _unknown_argument(signature, kwargs) or str(error)
        raise show_short(TypeError(f"{_name(function)}() {problem}")) from None
    bound.apply_defaults()
    return flat(signature.parameters, bound.arguments)


def flat(parameters: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return bound arguments with those of ``**kwargs`` beside the named ones."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        found |= value if parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return found


def _check_named(function: Callable[..., Any]) -> None:
    """Refuse parameters without names: a job's parameters are recorded, drawn and given by name."""
    name = _name(function)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise SpecError(f"{name}(*{parameter.name}): a job's parameters have names; take a list in its place")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise SpecError(f"{name}({parameter.name}, /): a job's parameters are given by name; leave the / out")


def _unknown_argument(signature: inspect.Signature, given: Mapping[str, Any]) -> str | None:
    """Say which argument a function doesn't take, as Python does, and which one may be meant."""
    known = signature.parameters
    if any(one.kind is one.VAR_KEYWORD for one in known.values()):
        return None
    unknown = next((name for name in given if name not in known), None)
    return None if unknown is None else f"got an unexpected keyword argument {unknown!r}{nearest(unknown, known)}"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))
