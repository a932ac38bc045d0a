"""Records as an Optuna study in memory, for what Optuna knows to say and draw of one: pure."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from ml_experiment_nb.errors import MetricError, nearest
from ml_experiment_nb.literals import read_value
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.records import Record, Records, Status

LOG_FROM = 100.0  # how many times the least value the largest is, of numbers that are looked at by their logarithm
_STATES = {Status.FINISHED: TrialState.COMPLETE, Status.PRUNED: TrialState.PRUNED}


def study_of(records: Sequence[Record], metrics: Sequence[str], maximize: Sequence[bool]) -> optuna.Study:
    """Return a study whose trials are the records that have all of the metrics, and at least one parameter.

    The study's trials are numbered as the records are, or by their place where they are of no group or of several.

    Args:
        records: The records, each with its parameters as they are or as text.
        metrics: The study's objectives.
        maximize: Of each, whether more of it is better.
    """
    params = [{name: _plain(value) for name, value in record.params.items()} for record in records]
    space = distributions(params)
    with _quiet():
        study = optuna.create_study(directions=["maximize" if more else "minimize" for more in maximize])
        for record, given in zip(records, params, strict=True):
            values = [record.metrics.get(name, math.nan) for name in metrics]
            if record.status not in _STATES or any(map(math.isnan, values)) or not given:
                continue
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    values=values,
                    params=given,
                    distributions={name: space[name] for name in given},
                    user_attrs={"name": record.name, "run_id": record.run_id},
                )
            )
    return study


def scored_study(records: Records, metric: str) -> optuna.Study:
    """Return a study of the records that have a metric.

    Raises:
        MetricError: No record that finished has it.
    """
    check_metrics(records, [metric])
    study = study_of(records, [metric], [dict(records.goals).get(metric, False)])
    if not study.get_trials(deepcopy=False):
        raise MetricError(f"no run with parameters has finished with a metric {metric!r}")
    return study


def check_metrics(records: Records, names: Sequence[str]) -> None:
    """See that some of the records have metrics of these names.

    Raises:
        MetricError: None has.
    """
    known = {name for record in records for name in record.metrics}
    for name in names:
        if name not in known:
            raise MetricError(f"none of the runs has a metric {name!r}{nearest(name, known)}")


def importances(study: optuna.Study) -> dict[str, float]:
    """Return how much of a study's objective each parameter explains; see `view.Comparison.importances`."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    trials = study.get_trials(deepcopy=False)
    values = {trial.value for trial in trials}
    shared = set.intersection(*(set(trial.params) for trial in trials))
    varied = [name for name in shared if len({trial.params[name] for trial in trials}) > 1]
    if len(values) < 2 or not varied:
        return {}
    try:
        found = get_param_importances(study, params=sorted(varied))
    except ImportError:  # Optuna's usual way takes scikit-learn
        found = get_param_importances(study, params=sorted(varied), evaluator=PedAnovaImportanceEvaluator())
    return {name: value for name, value in found.items() if not math.isnan(value)}


def distributions(params: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Return for each parameter a distribution that all of its values are in."""
    columns: dict[str, list[Any]] = {}
    for given in params:
        for name, value in given.items():
            columns.setdefault(name, []).append(value)
    return {name: _distribution(values) for name, values in columns.items()}


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numbers or not all(map(math.isfinite, values)):
        return CategoricalDistribution(list(dict.fromkeys(values)))
    low, high = min(values), max(values)
    by_logarithm = low > 0 and high / low >= LOG_FROM
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(low), int(high), log=by_logarithm)
    return FloatDistribution(low, high, log=by_logarithm)


def _plain(value: Any) -> Any:
    """Return a value as Optuna takes it for a choice: a number, a truth value, None or text."""
    found = read_value(value) if isinstance(value, str) else value
    if isinstance(found, float) and math.isnan(found):
        return "nan"
    if isinstance(found, int) and abs(found) > sys.float_info.max:  # Optuna reckons with doubles
        return text_of(value)
    return found if found is None or isinstance(found, bool | int | float | str) else text_of(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna not say that a study was made."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
