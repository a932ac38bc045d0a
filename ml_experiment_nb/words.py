"""What is typed in the line of a magic as in a command: parameters, and options of a search as keys of its spec."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ml_experiment_nb import secrecy
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.literals import read_value

HELP = {
    "trials": "How many points to try (10; a grid tries all of its points).",
    "sampler": "tpe (the default), cma-es, grid, random, gp, qmc, nsga-ii, nsga-iii, brute-force; with options as in "
    "tpe(n_startup_trials=5).",
    "pruner": "median, percentile, hyperband, sha, patient, threshold(lower=0.5), wilcoxon; none by default.",
    "maximize": "A metric that should be high; may be repeated, also beside --minimize.",
    "minimize": "A metric that should be low; may be repeated.",
    "enqueue": "A point to begin with, such as 'C=1 gamma=scale'; the rest of it is drawn. May be repeated.",
    "seed": "Seed of the sampler, and of each trial's random numbers; of an experiment's, where nothing is searched.",
    "timeout_per_trial": "Stop a trial that takes longer.",
    "retries": "How often a trial whose slot on Ray was lost is tried again (3).",
    "max_failures": "Stop the group when so many trials have failed.",
    "stop_when": "Stop the group when a trial meets this, such as 'val_accuracy >= 0.99'.",
    "define_by_run": "The code itself draws, with Trial.get_current(): there need be no distribution.",
    "storage": "An Optuna storage URL; by default a file in the project's .ml-experiment folder.",
}
"""What each option is for; the magic and the command show the same."""

NOTIFY = "Tell of its end: a webhook's address, ${env:NAME} of a variable that has it, or desktop; may be repeated."
AUTOLOG = "Record what these libraries train, and no others: sklearn,xgboost. By default, all that are known."
NO_AUTOLOG = "Record nothing of what libraries train by themselves."

NEEDED = "Run only what has no successful record with the same code, parameters, data and packages."
FOR_A_TABLE = ("maximize", "minimize", "seed", "timeout_per_trial", "retries", "max_failures", "stop_when")
"""The options that a group with a table takes too."""

_KEYS = {"trials": "num_trials"} | {
    name: name
    for name in ("sampler", "pruner", "seed", "timeout_per_trial", "retries", "max_failures", "stop_when", "storage")
}


def given(options: Mapping[str, Any]) -> list[str]:
    """Return which of the options were given."""
    typed = {name: options.get(name) for name in HELP}
    return [name for name, value in typed.items() if value is not None and value is not False and value not in ((), [])]


def search_keys(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a group's spec that the options ask for.

    Args:
        options: What was typed, by the options' names; what is None or empty was not.

    Raises:
        SpecError: A point can't be read.
    """
    keys = {key: options[name] for name, key in _KEYS.items() if options.get(name) is not None}
    wanted = [(name, way) for way in ("maximize", "minimize") for name in options.get(way) or ()]
    if wanted:
        keys["metric"] = [{"name": name, "direction": way} for name, way in wanted]
    if options.get("enqueue"):
        keys["enqueue"] = list(_points(options["enqueue"]))
    return keys


def autolog_keys(libraries: str | None, off: bool) -> dict[str, Any]:
    """Return the key of a spec that ``--autolog`` and ``--no-autolog`` ask for.

    Raises:
        SpecError: Both were given.
    """
    if libraries is not None and off:
        raise SpecError("--autolog names libraries and --no-autolog turns all of them off: give one of them")
    if off:
        return {"autolog": False}
    return {} if libraries is None else {"autolog": [one for one in libraries.replace(",", " ").split() if one]}


def _points(texts: Iterable[str]) -> Iterable[dict[str, Any]]:

    for text in texts:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise SpecError(f"--enqueue {text!r} can't be read: {error}") from None
        yield read_assignments(words)


def read_assignments(words: Iterable[str]) -> dict[str, Any]:
    """Read ``C=0.5`` words; ``max-depth=3`` is ``max_depth``, as a script's own command line has it.

    Raises:
        ParameterError: One has no ``=``, or its name is no Python name.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise ParameterError(f"{word!r} is not NAME=VALUE, such as C=0.5")
        asked = secrecy.read(value.strip())
        value = read_value(asked) if isinstance(asked, str) else asked
        found[name] = value if isinstance(value, str) else secrecy.read(value)
    return found
