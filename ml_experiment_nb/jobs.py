"""``@job``: a function whose calls are experiments."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from ml_experiment_nb import events, reports, secrecy
from ml_experiment_nb.arguments import parse_arguments
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.records import Records
from ml_experiment_nb.signatures import bound_arguments, check_function, flat
from ml_experiment_nb.tracebacks import shortened

if TYPE_CHECKING:
    from ml_experiment_nb.distribution import Distributed
    from ml_experiment_nb.libraries import Autolog
    from ml_experiment_nb.plans import Plan

P = ParamSpec("P")
T = TypeVar("T")


class Job(Generic[P, T]):
    """A function whose calls are tracked; made by `job`."""

    def __init__(
        self,
        function: Callable[P, T],
        name: str | None = None,
        description: str = "",
        tags: Mapping[str, str] = {},
        distributed: str | Mapping[str, Any] | Distributed | None = None,
        more: Mapping[str, Any] = {},
        callbacks: Any = (),
    ) -> None:
        if not isinstance(tags, Mapping):
            raise SpecError(f"tags is a mapping of names to texts, such as {{'team': 'vision'}}, not {tags!r}")
        check_function(function)
        functools.update_wrapper(self, function)
        self.function: Callable[..., T] = function
        self.name = name or str(getattr(function, "__name__", "job"))
        self.description = description
        self.tags = dict(tags)
        self.distributed = None if distributed is None else _workers(distributed)
        self.more = {key: value for key, value in more.items() if value not in (None, False)}
        self.callbacks = callbacks

    def __reduce__(self) -> Any:
        """Pickle by name like a function; in ``__main__``, which another process doesn't have, by value."""
        name = getattr(self.function, "__qualname__", "<locals>")
        if self.function.__module__ != "__main__" and "<locals>" not in name:
            return name
        return Job, (self.function, self.name, self.description, self.tags, self.distributed, self.more)

    def __repr__(self) -> str:
        return f"<job {self.name}{inspect.signature(self.function)}>"

    @shortened
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function as a tracked experiment and return its own value.

        Within a run that is open already, it is a plain call. In a script under ``ml-experiment run`` the call
        belongs to that run and takes its parameters from the spec; in a script run by hand, ``main()`` takes
        them from the command line. What the call itself says wins.

        Raises:
            Exception: What the function raises, after its run is closed as failed.
        """
        if reports.assigned is not None:
            return self._call_in_script(args, kwargs)
        if reports.in_local_run():
            return self._call_within(args, kwargs)
        if self._is_run_by_hand() and not args and not kwargs:
            given = {n: secrecy.read(v) for n, v in parse_arguments(self.function, sys.argv[1:]).items()}
            return self._call_tracked((), secrecy.resolved(given))
        return self._call_tracked(args, kwargs)

    @shortened
    def group(
        self,
        param_space: Mapping[str, Any] | None = None,
        *,
        each: Any = None,
        metric: str | Mapping[str, str] | Sequence[Any] | None = None,
        direction: str | None = None,
        num_trials: int | None = None,
        params: Mapping[str, Any] | None = None,
        fresh: bool = False,
        needed: bool = False,
        callbacks: Any = (),
        **options: Any,
    ) -> Records:
        """Search a space of parameters, or call the function for each row of a table, in parallel.

        Every trial is a tracked call in a process of its own.

        Args:
            param_space: Distributions by parameter: ``{"C": "loguniform(0.01, 1000)"}``, or `loguniform` itself. It is
                ``{}`` where the function draws by itself, with `Trial`.
            each: In place of a space, the points themselves: a list of dicts, a pandas DataFrame (what is missing in
                it keeps its default), or the path of a table (``.csv``, ``.jsonl``, ``.json``).
            metric: The metric to optimise, one that the function returns, yields or reports; of several, which way:
                ``{"accuracy": "maximize", "size": "minimize"}``.
            direction: ``minimize`` (the default) or ``maximize``, for a metric that is given by its name.
            num_trials: How many points to try; 10 by default.
            params: Parameters that stay fixed.
            fresh: Start anew, even if the same group was stopped before it had finished.
            needed: Run only what has no successful record with the same code, parameters, data and packages.
            callbacks: Called in this process as the group goes on, in place of the job's own: a function of each
                record, or an object with ``on_start(record)``, ``on_record(record)`` or ``on_end(records)``; or a list.
            **options: Any other key of a group's spec: ``sampler``, ``pruner``, ``seed``, ``enqueue``, ``slots``,
                ``timeout``, ``timeout_per_trial``, ``max_failures``, ``stop_when``, ``executor``, ``storage``, …

        Returns:
            The trials' records in the order in which they ended, those of a table in the order of its rows;
            ``.best``, of several metrics ``.front``, and ``.parent`` beside them.

        Raises:
            SpecError: A key or a distribution is wrong.
            ParameterError: The function has no such parameter.
            StillRunningError: The same group is being run.
        """
        with held_back():
            from ml_experiment_nb import loop
        from ml_experiment_nb.callbacks import watched
        from ml_experiment_nb.groups import continued
        from ml_experiment_nb.progress import show_progress

        _check_group(param_space, options)
        given = {
            **({"param_space": dict(param_space)} if param_space is not None else {}),
            **({"each": secrecy.read(each)} if each is not None else {}),
            **({"metric": _metric(metric, direction)} if metric else {}),
            **({"num_trials": num_trials} if num_trials is not None else {}),
            "params": secrecy.read(params or {}),
        }
        plan = continued(self._group_plan({**given, **self._more(), **options}, needed=needed), fresh=fresh)
        for note in plan.notes:
            print(f"note: {note}", file=sys.stderr)
        updates = watched(plan, loop.follow(plan), callbacks or self.callbacks)
        records = show_progress(plan, updates, only_notebook=True)
        return loop.collect(plan, records)

    def _group_plan(self, asked: Mapping[str, Any], needed: bool) -> Plan:
        """Plan a group of calls; `asked` are the keys of its spec that the job itself doesn't know."""
        from ml_experiment_nb.planning import make_plan
        from ml_experiment_nb.specs import spec_from_mapping

        spec = spec_from_mapping({**self._asked("group"), **asked})
        plan = make_plan(spec, values={"function": self.function}, path=tuple(p for p in sys.path if p))
        if not needed:
            return plan
        from ml_experiment_nb import needs

        return needs.needed(plan)

    def _asked(self, kind: str) -> dict[str, Any]:
        """Return the keys of a spec that the job itself knows."""
        from ml_experiment_nb.targets import Function

        own: dict[str, Any] = {"kind": kind, "name": self.name, "description": self.description, "tags": self.tags}
        own["run"] = [Function(function=self.function)]
        return {**own, **({"distributed": self.distributed} if self.distributed else {})}

    def _call_in_script(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> T:
        sink = reports.active_sink()
        given, reports.assigned = reports.assigned or {}, None  # a job that it calls in turn is a plain call
        try:
            with reports.local_sink(sink) if sink else nullcontext():
                explicit = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
                known = inspect.signature(self.function).parameters
                anything = any(p.kind is p.VAR_KEYWORD for p in known.values())
                chosen = {n: v for n, v in given.items() if anything or n in known}
                bound = bound_arguments(self.function, (), {**chosen, **flat(known, explicit)})
                if sink and self.more:
                    self._begin_in_script(bound, sink)
                return self._perform(bound, sink) if sink else self.function(**bound)
        finally:
            reports.assigned = given

    def _call_within(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> T:
        """Call the function as part of a run: what it returns is its caller's."""
        sink = reports.active_sink()
        if self._workers is None or sink is None:
            return self.function(*args, **kwargs)
        return self._perform(bound_arguments(self.function, args, kwargs), sink, record=False)

    @property
    def _workers(self) -> Distributed | None:
        """The workers that a call is run on; None where it is one of a worker's own."""
        from ml_experiment_nb.distribution import RANK, asked_here

        return asked_here() or (self.distributed if RANK not in os.environ else None)

    def _perform(self, arguments: Mapping[str, Any], sink: reports.Sink, record: bool = True) -> T:
        """Call the function for a run, on its workers if it has any."""
        value: T
        if (asked := self._workers) is None:
            value = reports.call(self.function, arguments, sink)
            return value
        from ml_experiment_nb.executors.distributed import call_on_workers

        value = call_on_workers(self.function, arguments, sink, asked, name=self.name, record=record)
        return value

    def _call_tracked(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> T:
        with held_back():
            from ml_experiment_nb import inplace
        from ml_experiment_nb.callbacks import watching
        from ml_experiment_nb.specs import spec_from_mapping

        arguments = bound_arguments(self.function, args, kwargs)
        spec = spec_from_mapping({**self._asked("experiment"), **self._more()})
        by_hand = self._is_run_by_hand()
        with (
            watching(spec, self.callbacks) as watch,
            inplace.here(spec, arguments, values={"function": self.function}) as live,
        ):
            if by_hand:
                inplace.keep_script(live)
            watch.open(live)
            value = self._perform(arguments, live)
        print(live.record, file=sys.stderr)
        return value

    def _more(self) -> dict[str, Any]:
        """Return the further keys of a spec; what `data` names is looked up now."""
        from ml_experiment_nb.datasets import asked_for

        if "data" not in self.more:
            return self.more
        known = {**vars(sys.modules["__main__"]), **inspect.signature(self.function).parameters}
        return {**self.more, "data": asked_for(self.more["data"], known)}

    def _begin_in_script(self, arguments: Mapping[str, Any], sink: reports.Sink) -> None:
        """Do what the decorator asks for and the spec of the run doesn't know."""
        more = self._more()
        if "seed" in more:
            from ml_experiment_nb.observing import ObservingOptions, seeding

            if ObservingOptions.here().seed is None:
                seeding.start(more["seed"])
        if "data" in more:
            from ml_experiment_nb.capture.inputs import inputs_of, values_here
            from ml_experiment_nb.datasets import Data
            from ml_experiment_nb.projects import find_root

            data = Data.model_validate(more["data"])
            found = inputs_of(data, Path.cwd(), {**values_here(data), **arguments}, find_root())
            sink.send(events.Reads([asdict(replace(one, files=None)) for one in found]))

    def _is_run_by_hand(self) -> bool:
        main = sys.modules.get("__main__")
        in_shell = hasattr(sys, "ps1") or ("IPython" in sys.modules and _in_ipython())
        return self.function.__module__ == "__main__" and hasattr(main, "__file__") and not in_shell


@overload
def job(function: Callable[P, T], /) -> Job[P, T]: ...
@overload
def job(
    *,
    name: str | None = None,
    description: str = "",
    tags: Mapping[str, str] = {},
    distributed: str | Mapping[str, Any] | None = None,
    seed: int | None = None,
    deterministic: bool = False,
    data: Any = None,
    autolog: bool | Sequence[str] | Mapping[str, Any] | None = None,
    callbacks: Any = (),
) -> Callable[[Callable[P, T]], Job[P, T]]: ...
def job(
    function: Callable[P, T] | None = None,
    /,
    *,
    name: str | None = None,
    description: str = "",
    tags: Mapping[str, str] = {},
    distributed: str | Mapping[str, Any] | None = None,
    seed: int | None = None,
    deterministic: bool = False,
    data: Any = None,
    autolog: bool | Sequence[str] | Mapping[str, Any] | None = None,
    callbacks: Any = (),
) -> Job[P, T] | Callable[[Callable[P, T]], Job[P, T]]:
    """Make a function's calls tracked experiments, and give it ``.group(…)``.

    The function returns its metrics as a dict of numbers, or ``(metrics, artifacts)``; a generator yields metrics,
    one step each. Any other value is its own business.

    Args:
        function: The function, when used as ``@job``.
        name: The experiment's name; by default the function's.
        description: Kept with each run.
        tags: Kept with each run.
        distributed: The workers that each call runs on, all at once, to train one model together: a framework's
            name (``torch``, ``tensorflow``, ``xgboost``, ``lightgbm``), or a mapping such as
            ``{"framework": "torch", "num_workers": 4, "gpus_per_worker": 1}``.
        seed: What every random generator begins with in each call; in a group, the sampler's too.
        deterministic: Have torch and TensorFlow compute the same way each time.
        data: What each call reads, which its run names with a digest: names of parameters, variables, files or
            patterns of files, one or a list of them.
        autolog: Which libraries' training is recorded by itself, and how: ``False``, names, or a mapping such as
            ``{"log_models": False}``. By default, of all that are known, with the model.
        callbacks: Called in this process when a call or a group begins and ends: a function of each record, or an
            object with ``on_start(record)``, ``on_record(record)`` or ``on_end(records)``; or a list of them.

    Example:
        >>> @job
        ... def train(C, kernel="rbf"):
        ...     return {"val_accuracy": SVC(C=C, kernel=kernel).fit(X, y).score(X_val, y_val)}
        >>> train(C=0.5)
        {'val_accuracy': 0.98}
    """
    if function is not None:
        return Job(function)
    more = {"seed": seed, "deterministic": deterministic, "data": data}
    more |= {"autolog": None if autolog is None else _libraries(autolog)}
    return lambda found: Job(found, name, description, tags, distributed, more, callbacks)


def _metric(metric: str | Mapping[str, str] | Sequence[Any], direction: str | None) -> Any:
    """Return a spec's ``metric``."""
    if isinstance(metric, str):
        return {"name": metric, "direction": direction or "minimize"}
    if direction is not None:
        raise SpecError("is for a metric that is given by its name: say it with the metric", key="direction")
    return metric


def _check_group(space: Any, options: Mapping[str, Any]) -> None:
    """Refuse what a group is easily given by mistake."""
    if space is not None and not isinstance(space, Mapping):
        raise SpecError(f"must be a mapping, such as {{'C': 'uniform(0, 1)'}}, not {space!r}", key="param_space")
    for way in ("maximize", "minimize"):
        if way in options:
            raise SpecError(f"is no key: write metric={options[way]!r}, direction={way!r}", key=way)


def _workers(asked: str | Mapping[str, Any] | Distributed) -> Distributed | None:
    from ml_experiment_nb.distribution import read_distributed  # which loads pydantic

    return read_distributed(asked)


def _libraries(asked: Any) -> Autolog:
    from ml_experiment_nb.libraries import read_autolog  # which loads pydantic

    return read_autolog(asked)


def _in_ipython() -> bool:
    from IPython import get_ipython

    return get_ipython() is not None
