"""Optuna's samplers and pruners, made from what a group asks, and tried out before anything runs.

Optuna checks few of its options when an object is made, and the rest when a trial needs them. So a plan makes them and
lets them draw and judge on a small study in memory.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning

from ml_experiment_nb import optuna_spaces
from ml_experiment_nb.algorithms import NUMBERS_ALONE, Pruner
from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.specs import Group

_PACKAGES = {"CmaEs": "cmaes", "GP": "torch", "Wilcoxon": "scipy"}
_TOLD = 3  # trials that a rehearsal has seen before it draws


def rehearse(group: Group) -> None:
    """Try a group's sampler and pruner out.

    Raises:
        SpecError: One of them doesn't take an option, can't draw from the group's space, needs a package that isn't
            here, or is not made for several metrics.
    """
    several = len(group.metrics) > 1
    if several and group.sampler.name == "CmaEs":
        raise SpecError("CmaEs can't optimise several metrics: use TPE, NSGA-II, NSGA-III or GP", key="sampler")
    if several and group.pruner is not None and group.pruner.prunes:
        raise SpecError("a trial can't be judged by several metrics on its way: leave the pruner out", key="pruner")
    with _quiet():
        directions = [metric.direction for metric in group.metrics] or ["minimize"]
        study = optuna.create_study(
            sampler=make_sampler(group, small=True), pruner=make_pruner(group), directions=directions
        )
        space = optuna_spaces.to_optuna(group.param_space) or {"x": IntDistribution(0, 9)}
        for _ in range(1 if group.sampler.name == "Grid" else _TOLD):  # no grid is asked beyond its points
            _rehearse_one(study, group, space)


def make_sampler(group: Group, *, small: bool = False) -> optuna.samplers.BaseSampler:
    """Return the sampler that a group asks for.

    Args:
        group: The group's spec.
        small: Give a grid the first values of each axis alone: Optuna lists all of its points at once.

    Raises:
        SpecError: It doesn't take an option, or can't search the group's space.
    """
    asked = group.sampler
    options = dict(asked.options)
    if asked.name == "Grid":
        if "search_space" in options:
            raise SpecError("is what param_space says: leave it out", key="sampler.search_space")
        axes = optuna_spaces.grid(group.param_space).items()
        options["search_space"] = {name: values[:_TOLD] if small else values for name, values in axes}
    if asked.name == "BruteForce":
        optuna_spaces.grid(group.param_space)  # says which parameter is not finite
    if asked.name == "TPE":
        options.setdefault("constant_liar", True)  # else trials that run at once would draw alike
    if asked.name in NUMBERS_ALONE and group.param_space:
        options.setdefault("warn_independent_sampling", False)  # the plan says it, once for all trials
    if group.sampler_seed is not None:
        options["seed"] = group.sampler_seed
    sampler: optuna.samplers.BaseSampler = _make(f"{asked.name}Sampler", optuna.samplers, options, "sampler")
    return sampler


def make_pruner(group: Group) -> optuna.pruners.BasePruner:
    """Return the pruner that a group asks for: one that prunes nothing where it asks for none.

    Raises:
        SpecError: It doesn't take an option.
    """
    return _pruner(group.pruner) if group.pruner is not None else optuna.pruners.NopPruner()


def _pruner(asked: Pruner) -> optuna.pruners.BasePruner:
    options = dict(asked.options)
    if asked.name == "Percentile":
        options.setdefault("percentile", 25.0)
    if asked.name == "Patient":
        wrapped = options.get("wrapped_pruner")
        options = {"patience": 3} | options
        options["wrapped_pruner"] = None if wrapped is None else _pruner(Pruner.model_validate(wrapped))
    pruner: optuna.pruners.BasePruner = _make(f"{asked.name}Pruner", optuna.pruners, options, "pruner")
    return pruner


def _make(name: str, module: Any, options: Mapping[str, Any], what: str) -> Any:
    cls = getattr(module, name)
    package = _PACKAGES.get(name.removesuffix(what.title()))
    if package is not None and importlib.util.find_spec(package) is None:
        raise SpecError(f"{name} needs the package {package}, which isn't here: install it", key=what)
    known = [one for one in inspect.signature(cls).parameters if one != "self"]
    for option in options:
        if option not in known:
            hint = nearest(option, known) or f"; it takes {', '.join(known)}"
            raise SpecError(f"{name} has no such option{hint}", key=f"{what}.{option}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return cls(**options)
    except Exception as error:  # an option may be of any type, and is met anywhere
        raise SpecError(f"{name} doesn't take that: {error}", key=what) from error


def _rehearse_one(study: optuna.Study, group: Group, space: Mapping[str, BaseDistribution]) -> None:
    try:
        trial = study.ask(fixed_distributions=dict(space))
    except Exception as error:  # a sampler may raise what it likes
        raise SpecError(f"{group.sampler} can't draw: {error}", key="sampler") from error
    if len(study.directions) == 1:
        try:
            for step in range(2):
                trial.report(0.5, step)
                trial.should_prune()
        except Exception as error:  # a pruner may raise what it likes
            raise SpecError(f"{group.pruner} can't judge: {error}", key="pruner") from error
    with suppress(RuntimeError):  # a sampler that has tried all points would stop an optimize() that isn't there
        study.tell(trial, [0.5] * len(study.directions))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Optuna says of a study that isn't the user's from being shown."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
