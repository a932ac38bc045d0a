"""What a page's form asks for, as the words of ``ml-experiment run``; and what is wrong with it, told before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb import notebooks, secrecy, spaces
from ml_experiment_nb.backend.asks import JobAsked
from ml_experiment_nb.cells import DYNAMIC
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.literals import read_value
from ml_experiment_nb.notebooks import Described

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan

_NUMBERS = ("int", "float")
_FIELDS = {"num_trials": "trials", "metric.name": "metric", "metric.direction": "direction"}  # a spec's key, the form's


def words_of(asked: JobAsked, notebook: Path) -> list[str]:
    """Return the words behind ``ml-experiment`` that do what is asked.

    Args:
        asked: What is asked.
        notebook: The notebook's whole path.

    Raises:
        SpecError: A value is not of its parameter's kind, or a group has nothing to search; has the field as its key.
    """
    known = {one.name: one for one in notebooks.described_params(notebooks.read_notebook(notebook))}
    drawn = [name for name, value in asked.params.items() if spaces.is_text(value)]
    _check_kind(asked, drawn)
    words = ["run", str(notebook), f"--cwd={notebook.parent}"]
    for name, value in asked.params.items():
        words += _assigned(name, value, known.get(name))
    options: dict[str, Any] = {
        "--name": asked.name, "--sampler": asked.sampler, "--pruner": asked.pruner, "--trials": asked.trials,
        "--slots": asked.slots, "--timeout": asked.timeout, "--seed": asked.seed,
    }  # fmt: skip
    if asked.metric is not None:
        options[f"--{asked.direction}"] = asked.metric
    return words + [f"{option}={value}" for option, value in options.items() if value is not None]


def planned(words: list[str]) -> Plan:
    """Return the plan of some words, without doing it; a field of the form stands as the key of what is wrong.

    Raises:
        SpecError: They make none.
    """
    from ml_experiment_nb.command_requests import read_command

    try:
        return read_command(words[1:])
    except click.ClickException as error:
        raise SpecError(error.format_message()) from None


def field_of(error: SpecError, asked: JobAsked) -> str | None:
    """Return the field of the form that an error is about, such as ``params.C``."""
    key = error.key or ""
    if key in _FIELDS:
        return _FIELDS[key]
    name = key.removeprefix("params.").removeprefix("param_space.")
    if name in asked.params or (isinstance(error, ParameterError) and name):
        return f"params.{name}"
    return key or None


def described(one: Described) -> dict[str, Any]:
    """Return what a form is made from: a parameter, its type, default and comment."""
    value = None if one.value is DYNAMIC else one.value
    is_plain = value is None or _is_plain(value)
    return {
        "name": one.name,
        "type": one.annotation or ("unknown" if one.value is DYNAMIC else "None" if value is None else _kind(value)),
        "default": one.default,
        "value": value if is_plain else None,
        "comment": one.comment,
    }


def _check_kind(asked: JobAsked, drawn: list[str]) -> None:
    if asked.kind == "group" and not drawn:
        raise SpecError(
            "a group has something to search: give a parameter a distribution, such as uniform(0, 1)", key="params"
        )
    if asked.kind == "experiment" and drawn:
        problem = f"{asked.params[drawn[0]]} is a distribution: give one value, or run it as a group"
        raise SpecError(problem, key=f"params.{drawn[0]}")
    for name in ("sampler", "pruner", "trials", "metric"):
        if asked.kind == "experiment" and getattr(asked, name) is not None:
            raise SpecError("is for a group: leave it out", key=name)


def _assigned(name: str, value: Any, known: Described | None) -> list[str]:
    """Return the words that give a parameter a value."""
    if not isinstance(value, str):
        return ["-p", f"{name}={value!r}"]
    if spaces.is_text(value) or secrecy.read(value) is not value:
        return ["-p", f"{name}={value}"]
    read = read_value(value)
    if known is None or known.value is DYNAMIC or known.value is None:
        return ["-p", f"{name}={value}"]
    wanted = _kind(known.value)
    if wanted == "str":
        return ["-r", name, read if isinstance(read, str) else value]
    is_number = isinstance(read, int | float) and not isinstance(read, bool)
    fits = is_number if wanted in _NUMBERS else isinstance(read, type(known.value)) or read is None
    if wanted == "int" and is_number and not isinstance(read, int):
        fits = False
    if not fits:
        a = "a whole number" if wanted == "int" else "a number" if wanted == "float" else f"a {wanted}"
        raise ParameterError(f"{value!r} is not {a}, as its default {known.default} is", key=f"params.{name}")
    return ["-p", f"{name}={value}"]


def _kind(value: Any) -> str:
    return type(value).__name__


def _is_plain(value: Any) -> bool:
    """Return whether JSON has a form for a value that is read back as the same."""
    match value:
        case None | bool() | int() | str():
            return True
        case float():
            return value == value and abs(value) != float("inf")
        case list():
            return all(map(_is_plain, value))
        case dict():
            return all(isinstance(name, str) and _is_plain(one) for name, one in value.items())
    return False
