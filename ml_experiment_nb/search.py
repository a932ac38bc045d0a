"""The Optuna study of a group: asked and told by the driver alone."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from ml_experiment_nb import spaces
from ml_experiment_nb.errors import MetricError, SpecError, StoreError, nearest
from ml_experiment_nb.projects import home
from ml_experiment_nb.records import Outcome, Status
from ml_experiment_nb.rehearsal import make_pruner, make_sampler
from ml_experiment_nb.specs import Group, Metric
from ml_experiment_nb.trials import Fixed, Wanted

_STATES = {Status.FINISHED: TrialState.COMPLETE, Status.PRUNED: TrialState.PRUNED}


@dataclass(frozen=True)
class Draw:
    """One trial's number and the parameters drawn for it."""

    number: int
    params: Mapping[str, Any]


class Search:
    """A study while its group runs.

    Args:
        group: The group's spec.
        root: The project's root; the study is kept in its ``.ml-experiment/studies`` unless the spec names a storage.
        name: The study's name, unique in its storage.

    Raises:
        SpecError: The sampler or the pruner doesn't take an option.
        StoreError: The storage can't be reached.
    """

    def __init__(self, group: Group, root: Path, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name = name
        self.storage = group.storage or str(home(root) / "studies" / f"{name}.log")
        self._group = group
        self._space: dict[str, BaseDistribution] = spaces.to_optuna(group.param_space)
        self._asked: dict[int, optuna.Trial] = {}
        self._grid_size = _grid_size(group)
        self._exhausted = False
        try:
            self._study = optuna.create_study(
                study_name=name,
                storage=_storage(self.storage, own=group.storage is None),
                sampler=make_sampler(group),
                pruner=make_pruner(group),
                directions=[metric.direction for metric in group.metrics] or ["minimize"],
            )
        except DuplicatedStudyError as error:
            raise StoreError(f"{self.storage} has a study {name!r} already") from error
        for point in group.enqueue:
            self._study.enqueue_trial(spaces.flat_point(group.param_space, point))

    def ask(self) -> Draw | None:
        """Return the next point to try; None when there are no more."""
        limit = min(n for n in (self._group.num_trials, self._grid_size, math.inf) if n is not None)
        if len(self._asked) >= limit or self._exhausted:
            return None
        sampler = self._group.sampler.name
        try:
            trial = self._study.ask(fixed_distributions=self._space)
        except ImportError as error:
            raise SpecError(f"the sampler {sampler} needs a package that isn't here: {error}", key="sampler") from error
        except (TypeError, ValueError) as error:  # options are checked by their use only
            raise SpecError(f"the sampler {sampler} can't draw: {error}", key="sampler") from error
        self._asked[trial.number] = trial
        return Draw(trial.number, spaces.from_optuna(self._group.param_space, trial.params))

    @property
    def suggested(self) -> list[str]:
        """The parameters that the code has drawn by itself, in the order in which they came."""
        names = dict.fromkeys(name for trial in self._study.get_trials(deepcopy=False) for name in trial.params)
        return [name for name in names if name not in self._space]

    def suggest(self, number: int, wanted: Wanted) -> Any:
        """Draw one more parameter of a trial, as Optuna's own ``suggest_*`` do; one that is fixed is what it is.

        Raises:
            SpecError: The distribution makes no sense, or the parameter had another one.
        """
        if wanted.name in self._group.params:
            return Fixed(self._group.params).suggest(wanted)
        trial = self._asked[number]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of bounds that are no multiple of the step: Optuna moves them
                return _suggested(trial, wanted)
        except Exception as error:  # Optuna raises ValueError, TypeError and what its samplers raise
            raise SpecError(str(error), key=wanted.name) from error

    def set_attr(self, number: int, name: str, value: Any) -> None:
        """Keep something of the user's own with a trial."""
        self._asked[number].set_user_attr(name, value)

    def report(self, number: int, value: float, step: int) -> bool:
        """Note an intermediate value, and return whether the pruner gives the trial up; steps count from 0."""
        trial = self._asked[number]
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

    def _tell(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        try:
            self._study.tell(number, values if state is TrialState.COMPLETE else None, state)
        except RuntimeError:
            # A search that has tried all points tries to stop an optimize() that isn't there; the trial is stored.
            if not self._study.get_trials(deepcopy=False)[number].state.is_finished():
                raise
            self._exhausted = True


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


def _suggested(trial: optuna.Trial, wanted: Wanted) -> Any:
    low, high, step = wanted.low, wanted.high, wanted.step
    match wanted.kind:
        case "categorical":
            return trial.suggest_categorical(wanted.name, list(wanted.choices))
        case "int":
            return trial.suggest_int(wanted.name, int(low), int(high), step=int(step or 1), log=wanted.log)
        case _:
            return trial.suggest_float(wanted.name, low, high, step=step, log=wanted.log)


def _storage(url: str, *, own: bool) -> BaseStorage:
    path = Path(url)
    try:
        if "://" in url:
            return optuna.storages.get_storage(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_Journal(str(path)) if own else JournalFileBackend(str(path)))
    except Exception as error:
        raise StoreError(f"the study's storage {url} can't be opened: {error}") from error


class _Journal(JournalFileBackend):
    """Optuna's journal for a study of our own, without a wait for the disk after each of a trial's four lines."""

    def __init__(self, path: str) -> None:
        self._path, self._own_lock = path, JournalFileSymlinkLock(path)
        super().__init__(path, self._own_lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines at the journal's end."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._own_lock.acquire()
        try:
            with open(self._path, "ab", buffering=0) as file:
                file.write(lines.encode())
        finally:
            self._own_lock.release()


def _grid_size(group: Group) -> int | None:
    if not group.sampler.is_exhaustive or not group.param_space:
        return None
    return math.prod(len(values) for values in spaces.grid(group.param_space).values())
