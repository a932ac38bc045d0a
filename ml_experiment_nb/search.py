"""The Optuna study of a group: asked and told by the driver alone."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.trial import FrozenTrial, TrialState

from ml_experiment_nb import optuna_spaces
from ml_experiment_nb.again import IMPORTED, REPEATS, Again, Taken
from ml_experiment_nb.errors import MetricError, SpecError, StoreError, nearest
from ml_experiment_nb.goals import Metric
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Outcome, Record, Status
from ml_experiment_nb.rehearsal import make_pruner, make_sampler
from ml_experiment_nb.specs import Group
from ml_experiment_nb.studies import load_study, open_storage
from ml_experiment_nb.trials import Fixed, Suggestion

_STATES = {Status.FINISHED: TrialState.COMPLETE, Status.PRUNED: TrialState.PRUNED}


@dataclass(frozen=True)
class Draw:
    """One trial's number and the parameters drawn for it."""

    number: int
    params: Mapping[str, Any]
    repeats: int | None = None


class Search:
    """A study while its group runs.

    Args:
        group: The group's spec.
        root: The project's root; the study is kept in its ``.ml-experiment/studies`` unless the spec names a storage.
        name: The study's name, unique in its storage.
        again: The group that goes on, with its study, in place of a new one.

    Raises:
        SpecError: The sampler or the pruner doesn't take an option.
        StoreError: The storage can't be reached, or has no such study.
    """

    def __init__(self, group: Group, root: Path, name: str, again: Again | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name = again.study if again else name
        self.storage = again.storage if again else group.storage or str(home(root) / "studies" / f"{name}.log")
        self._group = group
        self._space: dict[str, BaseDistribution] = optuna_spaces.to_optuna(group.param_space)
        self._running: dict[int, optuna.Trial] = {}
        self._asked = 0
        self._grid_size = _grid_size(group)
        self._rest: Iterator[dict[str, Any]] | None = None  # points of a grid that Optuna's own order doesn't lead to
        self._most = group.num_trials
        self._exhausted = False
        if again is not None:
            self._study = load_study(self.storage, self.name, own=group.storage is None)
            there = len(self._study.get_trials(deepcopy=False))
            self._study.sampler, self._study.pruner = make_sampler(_reseeded(group, there)), make_pruner(group)
            self._resume(again)
            return
        try:
            self._study = optuna.create_study(
                study_name=name,
                storage=open_storage(self.storage, own=group.storage is None),
                sampler=make_sampler(group),
                pruner=make_pruner(group),
                directions=[metric.direction for metric in group.metrics] or ["minimize"],
            )
        except DuplicatedStudyError as error:
            raise StoreError(f"{self.storage} has a study {name!r} already") from error
        for point in group.enqueue:
            self._study.enqueue_trial(optuna_spaces.flat_point(group.param_space, point))

    def ask(self) -> Draw | None:
        """Return the next point to try; None when there are no more."""
        limit = min(n for n in (self._most, self._grid_size, math.inf) if n is not None)
        if self._asked >= limit or self._exhausted:
            return None
        sampler = self._group.sampler.name
        self._enqueue_one_of_the_rest()
        try:
            trial = self._study.ask(fixed_distributions=self._space)
        except ImportError as error:
            raise SpecError(f"the sampler {sampler} needs a package that isn't here: {error}", key="sampler") from error
        except (TypeError, ValueError) as error:  # options are checked by their use only
            raise SpecError(f"the sampler {sampler} can't draw: {error}", key="sampler") from error
        self._running[trial.number] = trial
        self._asked += 1
        params = optuna_spaces.from_optuna(self._group.param_space, trial.params)
        return Draw(trial.number, params, trial.user_attrs.get(REPEATS))

    def params(self, record: Record) -> Mapping[str, Any]:
        """Return the parameters that were drawn for a trial of before, as the code got them; none if it has none."""
        trials = self._study.get_trials(deepcopy=False)
        if record.number is not None:
            found = trials[record.number] if record.number < len(trials) else None
        else:
            found = next((one for one in trials if one.user_attrs.get(IMPORTED) == record.run_id), None)
        if found is None or not self._space.keys() <= found.params.keys():
            return {}
        own = {name: value for name, value in found.params.items() if name not in self._space}
        return {**optuna_spaces.from_optuna(self._group.param_space, found.params), **own}

    def take(self, taken: Taken) -> None:
        """Take over the trials of another group; they count towards the number of trials."""
        for one in taken.trials:
            self._study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.PRUNED if one.values is None else TrialState.COMPLETE,
                    params=_flat(self._group, one.params) | {name: value for name, (_, value) in one.drawn.items()},
                    distributions=self._space | {name: of for name, (of, _) in one.drawn.items()},
                    values=one.values,
                    intermediate_values=dict(one.steps),
                    user_attrs={IMPORTED: str(one.record.run_id)},
                )
            )
        self._most = None if self._most is None else max(0, self._most - len(taken.trials))
        if self._grid_size is not None:
            there = self._points(self._study.get_trials(deepcopy=False))
            self._grid_size -= len(there)
            self._rest = self._without(there)

    @property
    def suggested(self) -> list[str]:
        """The parameters that the code has drawn by itself, in the order in which they came."""
        names = dict.fromkeys(name for trial in self._study.get_trials(deepcopy=False) for name in trial.params)
        return [name for name in names if name not in self._space]

    def suggest(self, number: int, wanted: Suggestion) -> Any:
        """Draw one more parameter of a trial, as Optuna's own ``suggest_*`` do; one that is fixed is what it is.

        Raises:
            SpecError: The distribution makes no sense, or the parameter had another one.
        """
        if wanted.name in self._group.params:
            return Fixed(self._group.params).suggest(wanted)
        trial = self._running[number]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of bounds that are no multiple of the step: Optuna moves them
                return _suggested(trial, wanted)
        except Exception as error:  # Optuna raises ValueError, TypeError and what its samplers raise
            raise SpecError(str(error), key=wanted.name) from error

    def set_attr(self, number: int, name: str, value: Any) -> None:
        """Keep something of the user's own with a trial."""
        self._running[number].set_user_attr(name, value)

    def report(self, number: int, value: float, step: int) -> bool:
        """Note an intermediate value, and return whether the pruner gives the trial up; steps count from 0."""
        trial = self._running[number]
        if step < 0 or len(self._group.metrics) > 1:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a step reported twice: the first value stands
            trial.report(value, step)
        return trial.should_prune()

    def tell(self, number: int, outcome: Outcome, metrics: Mapping[str, float]) -> None:
        """Close a trial.

        Raises:
            MetricError: It finished, but never reported the metric that the group optimises.
        """
        state = _STATES.get(outcome.status, TrialState.FAIL)
        values: list[float] | None = None
        error: MetricError | None = None
        if state is TrialState.COMPLETE:
            try:  # a group without a metric only tries its points
                values = [_value(metric, metrics) for metric in self._group.metrics] or [0.0]
            except MetricError as raised:
                state, error = TrialState.FAIL, raised
        self._tell(number, state, values)
        if error is not None:
            raise error

    def close(self) -> None:
        """Close every trial that was asked for and never told, so that none stays running."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._tell(trial.number, TrialState.FAIL)

    def _resume(self, again: Again) -> None:
        """Settle what the last driver left open, and have the points that were lost drawn once more.

        A point is enqueued before its trial is closed: were this driver to die between the two, it wouldn't be lost.
        """
        trials = self._study.get_trials(deepcopy=False)
        repeated = {one.user_attrs.get(REPEATS) for one in trials}
        ended = {one.number: one for one in again.kept}
        open_or_failed = {one.number for one in trials if one.state in (TrialState.RUNNING, TrialState.FAIL)}
        redo = {*again.redo} | open_or_failed - ended.keys()  # of some there is no run: the driver hadn't opened it yet
        for number in sorted(redo - repeated):
            if number < len(trials) and (params := _point(trials[number])):
                self._study.enqueue_trial(params, user_attrs={REPEATS: number})
        for one in trials:
            if one.state is TrialState.RUNNING and one.number in ended:
                record = ended[one.number]
                with suppress(MetricError):
                    self.tell(one.number, Outcome(record.status, record.failure), record.metrics)
            elif one.state is TrialState.RUNNING:
                self._tell(one.number, TrialState.FAIL)
        points = [_point(one) for one in self._study.get_trials(deepcopy=False)]
        for point in (optuna_spaces.flat_point(self._group.param_space, one) for one in self._group.enqueue):
            if not any(point.items() <= there.items() for there in points):  # it was added since
                self._study.enqueue_trial(point)
        self._most = again.missing
        if self._grid_size is not None:
            now = self._study.get_trials(deepcopy=False)
            over = redo | repeated
            there = self._points(one for one in now if not one.state.is_finished() or one.number not in over)
            waiting = sum(not one.state.is_finished() for one in now)  # at a point that is there already, it may be
            self._grid_size += waiting - len(there)
            self._rest = self._without(there)

    def _points(self, trials: Iterable[FrozenTrial]) -> set[frozenset[tuple[str, Any]]]:
        """Return the points of the group's space that trials are at, or are to be."""
        found = [{name: value for name, value in _point(one).items() if name in self._space} for one in trials]
        return {frozenset(point.items()) for point in found if len(point) == len(self._space)}

    def _without(self, there: set[frozenset[tuple[str, Any]]]) -> Iterator[dict[str, Any]] | None:
        """Return the points of a grid that are not there yet, shuffled as Optuna does it.

        Its sampler takes a trial's number for that of its point, which holds for trials that it has drawn itself, of
        the same seed, alone.
        """
        if self._group.sampler.name != "Grid":
            return None
        axes = optuna_spaces.grid(self._group.param_space)
        points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        random.Random(self._group.sampler_seed or 0).shuffle(points)
        return (point for point in points if frozenset(point.items()) not in there)

    def _enqueue_one_of_the_rest(self) -> None:
        if self._rest is not None and not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            for point in itertools.islice(self._rest, 1):
                self._study.enqueue_trial(point)

    def _tell(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        self._running.pop(number, None)
        try:
            self._study.tell(number, values if state is TrialState.COMPLETE else None, state)
        except (RuntimeError, KeyError):
            # A search that has tried all points tries to stop an optimize() that isn't there, and a grid looks for the
            # point of a trial that was enqueued; the trial is stored by then.
            if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
                raise
            self._exhausted = self._grid_size is None


def _value(metric: Metric, metrics: Mapping[str, float]) -> float:
    """Return what a trial has come to.

    Raises:
        MetricError: It never said so, or it is no number.
    """
    if metric.name not in metrics:
        came = ", ".join(metrics) or "no metrics at all"
        raise MetricError(
            f"{metric.name!r} was never reported (it reported {came}){nearest(metric.name, metrics)}; "
            f'return {{"{metric.name}": value}}, or call report({metric.name}=value)'
        )
    value = metrics[metric.name]
    if math.isnan(value):
        raise MetricError(f"{metric.name} is nan: the trial counts as failed")
    return value


def _suggested(trial: optuna.Trial, wanted: Suggestion) -> Any:
    low, high, step = wanted.low, wanted.high, wanted.step
    match wanted.kind:
        case "categorical":
            return trial.suggest_categorical(wanted.name, list(wanted.choices))
        case "int":
            return trial.suggest_int(wanted.name, int(low), int(high), step=int(step or 1), log=wanted.log)
        case _:
            return trial.suggest_float(wanted.name, low, high, step=step, log=wanted.log)


def _point(trial: FrozenTrial) -> dict[str, Any]:
    """Return where a trial was, or is to be: what was fixed for it, and what has been drawn so far."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _flat(group: Group, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point of a group's space that parameters, fixed ones among them, are at."""
    return optuna_spaces.flat_point(group.param_space, {name: params[name] for name in group.param_space})


def _reseeded(group: Group, there: int) -> Group:
    """Return a group that goes on with another seed: with the same one it would draw its first points again.

    A grid's order and a low-discrepancy sequence are made by the seed, and go on by what the study holds.
    """
    seed = group.sampler_seed
    if seed is None or group.sampler.name in ("Grid", "QMC"):
        return group
    options = {name: value for name, value in group.sampler.options.items() if name != "seed"}
    sampler = group.sampler.model_copy(update={"options": options})
    return group.model_copy(update={"seed": seed + there, "sampler": sampler})


def _grid_size(group: Group) -> int | None:
    if not group.sampler.is_exhaustive or not group.param_space:
        return None
    return math.prod(len(values) for values in optuna_spaces.grid(group.param_space).values())
