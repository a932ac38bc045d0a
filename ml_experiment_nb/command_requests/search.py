"""The options of ``ml-experiment run`` that say how a group is searched, and make a group of what was none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.words import FOR_A_TABLE, HELP, given, search_keys

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Spec

_TYPES: dict[str, dict[str, Any]] = {
    "trials": {"type": click.IntRange(1), "metavar": "N"},
    "maximize": {"multiple": True, "metavar": "METRIC"},
    "minimize": {"multiple": True, "metavar": "METRIC"},
    "enqueue": {"multiple": True, "metavar": "POINT"},
    "seed": {"type": click.IntRange(0), "metavar": "N"},
    "timeout_per_trial": {"type": click.FloatRange(0, min_open=True), "metavar": "SECONDS"},
    "retries": {"type": click.IntRange(0), "metavar": "N"},
    "max_failures": {"type": click.IntRange(1), "metavar": "N"},
    "stop_when": {"metavar": "CONDITION"},
    "define_by_run": {"is_flag": True},
    "storage": {"metavar": "URL"},
}


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a search."""
    for name, text in reversed(HELP.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, help=text, **_TYPES.get(name, {}))(command)
    return command


def with_search(spec: Spec, options: Mapping[str, Any], params: Mapping[str, Any]) -> Spec:
    """Return a spec that is searched as the options say; a distribution among `params` makes a group of an experiment.

    Args:
        spec: What is run.
        options: The command's options.
        params: The parameters that were given; they are not set yet.

    Raises:
        SpecError: An option is wrong, or has no place here.
    """
    from ml_experiment_nb.spaces import is_text
    from ml_experiment_nb.specs import Group, given_fields, spec_from_mapping

    asked = given(options)
    keys = search_keys(options)
    if isinstance(spec, Group):
        wrong = [name for name in asked if spec.each is not None and name not in FOR_A_TABLE]
        if wrong:
            raise SpecError(f"{_option(wrong[0])} is for a search, and a table has its points already")
        return spec_from_mapping({**given_fields(spec), "kind": "group", **keys}) if keys else spec
    texts = dict(options["parameters_raw"])
    drawn = {name: value for name, value in params.items() if name not in texts and is_text(value)}
    if set(asked) <= {"seed"} and not drawn:
        return spec_from_mapping({**given_fields(spec), "kind": spec.kind, **keys}) if keys else spec
    if spec.kind == "job":
        what = _option(asked[0]) if asked else f"{next(iter(drawn.values()))}: a search"
        raise SpecError(f"{what} is for a group, and this is kind: job, which isn't recorded")
    if not drawn and not options["define_by_run"]:
        raise SpecError(
            f"{_option(asked[0])} is for a group, and this is kind: {spec.kind}; say what to search, as in "
            "-p 'C=uniform(0, 1)', or --define-by-run where the code itself draws"
        )
    fields = given_fields(spec)
    fields["params"] = {name: value for name, value in spec.params.items() if name not in drawn}
    return spec_from_mapping({**fields, "kind": "group", "param_space": drawn, **keys})


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
