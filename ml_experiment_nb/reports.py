"""What user code says to its run, and how it gets there: as `events`.

User code calls `report` and `artifact`. Where it runs in a process of its own, events go over the `wire` to its
driver. Where it runs in the user's own process (an inline cell, a called job), they
are handed over directly.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

from ml_experiment_nb import secrecy
from ml_experiment_nb.capture.artifacts import as_artifacts, save_artifact
from ml_experiment_nb.errors import CaptureError, MetricError
from ml_experiment_nb.events import Answer, Ask, Event, Metrics, Note, Params, Secrets, as_number
from ml_experiment_nb.wire import SOCKET, SocketSink

PRUNING = "ML_EXPERIMENT_PRUNING"


class Pruned(BaseException):
    """Raised by `report` in a trial that is not worth finishing. Let it pass: the run closes as pruned.

    It is no `Exception`, so that a training loop's ``except Exception`` doesn't swallow it.
    """

    def _render_traceback_(self) -> list[str]:
        """Tell IPython what to show in a notebook: no traceback, since nothing went wrong."""
        return [f"Pruned: {self}" if str(self) else "Pruned"]


class Sink(Protocol):
    """Where a process's events go."""

    artifacts: Path

    def send(self, event: Event) -> None:
        """Hand one event over."""

    def ask(self, event: Metrics | Ask) -> Answer:
        """Hand a question over, or metrics that ask for a verdict, and return the answer."""


def report(metrics: Mapping[str, Any] | None = None, /, *, step: int | None = None, **values: Any) -> None:
    """Record metrics of the run that this code is part of, now.

    Args:
        metrics: Names and numbers, for names that aren't identifiers.
        step: The epoch, round or batch that they belong to. Without it, each call is one step further.
        **values: Names and numbers.

    Raises:
        MetricError: A value is not a number, or the step is no whole one.
        Pruned: The group's pruner gave this trial up. Let it pass.

    Example:
        >>> for epoch in range(10):
        ...     report(step=epoch, val_accuracy=evaluate(model))
    """
    if not isinstance(metrics, Mapping | None):
        raise MetricError(f"report({metrics!r:.40}): write the metric's name with it, report(loss=0.5), or a mapping")
    given = {str(name): value for name, value in {**(metrics or {}), **values}.items()}
    numbers = {name: as_number(value) for name, value in given.items()}
    if wrong := [name for name, value in numbers.items() if value is None]:
        kind = type(given[wrong[0]]).__name__
        raise MetricError(f"report({wrong[0]}=…): a metric is a number, this is a {kind}; see artifact() for the rest")
    sink = active_sink()
    if sink is None:
        warnings.warn("report() was called outside of a run: nothing was recorded", stacklevel=2)
        return
    clean = {name: value for name, value in numbers.items() if value is not None}
    event = Metrics(clean, _step(clean, step), ask=bool(os.environ.get(PRUNING)))
    if not event.ask:
        sink.send(event)
    elif sink.ask(event).value:
        raise Pruned(f"pruned at step {event.step}")


def artifact(name: str, value: Any) -> None:
    """Keep a value with the run that this code is part of, as the file that suits it best.

    Args:
        name: The file's name; its suffix chooses the format where there is a choice (``curve.svg``).
        value: A path, a figure, a DataFrame, an array, JSON data, text, bytes, or any object (pickled).

    Raises:
        CaptureError: The value can't be saved.
    """
    sink = active_sink()
    if sink is None:
        warnings.warn("artifact() was called outside of a run: nothing was recorded", stacklevel=2)
        return
    save_artifact(value, name, sink.artifacts)


def secret(name: str) -> str:
    """Return the value of an environment variable, and have it masked in all that is recorded from now on.

    Args:
        name: The variable. As a parameter, ``token = secret("API_TOKEN")``, its name is recorded in place of the value.

    Raises:
        SpecError: It is not set, or its value has fewer than four characters.
    """
    value = secrecy.learn(name)
    if (sink := active_sink()) is not None:
        sink.send(Secrets({name: value}))
    return value


def send_result(value: Any, sink: Sink) -> None:
    """Record what a job returned, or a cell's last expression: metrics, or ``(metrics, artifacts)``.

    Anything else is the user's own business and is left alone.
    """
    metrics, artifacts = _split(value)
    numbers = {str(name): as_number(one) for name, one in metrics.items()}
    clean = {name: one for name, one in numbers.items() if one is not None}
    if clean:
        sink.send(Metrics(clean))
    for name, one in metrics.items():
        if str(name) not in clean:
            kind = type(one).__name__
            sink.send(Note(f"returned {str(name)!r} is a {kind}, not a number: it was not recorded as a metric"))
    if isinstance(value, Real) and not isinstance(value, bool):
        sink.send(Note('a bare number was returned: name it, as in {"val_accuracy": 0.9}, to record it'))
    if inspect.isgenerator(value):
        sink.send(
            Note("a generator was returned, and nothing of it was run: loop over it, and report() what it yields")
        )
    for name, one in artifacts.items():
        try:
            save_artifact(one, name, sink.artifacts)
        except CaptureError as error:
            sink.send(Note(str(error)))


def call(function: Callable[..., Any], arguments: Mapping[str, Any], sink: Sink) -> Any:
    """Call a job's function for a run: record its arguments, what it yields, and what it returns.

    A generator's values are metrics of one step each, and its own return value, if it has one, the result.

    Returns:
        The function's own value; for a generator without a return value, the last value that it yielded.
    """
    sink.send(Params(dict(arguments)))
    value = function(**arguments)
    if not inspect.isgenerator(value):
        send_result(value, sink)
        return value
    last = None
    with closing(value) as steps:
        for step in count():
            try:
                last = next(steps)
            except StopIteration as stop:
                if stop.value is not None:
                    send_result(stop.value, sink)
                return last if stop.value is None else stop.value
            if not isinstance(last, Mapping):
                raise MetricError(f"a job yields metrics such as {{'loss': 0.1}}, this yielded a {type(last).__name__}")
            report(last, step=step)
    raise AssertionError("unreachable")


def send_last() -> None:
    """Record the value of the cell that this kernel ran last, as `send_result` does; called in a notebook's kernel."""
    from IPython import get_ipython

    shell, sink = get_ipython(), active_sink()
    if shell is not None and sink is not None:
        send_result(shell.user_ns.get("Out", {}).get(shell.execution_count - 1), sink)


def _split(value: Any) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    if isinstance(value, Mapping):
        return value, {}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Mapping):
        return value[0], as_artifacts(value[1])
    return {}, {}


_steps: dict[str, int] = {}


def is_reported(name: str) -> bool:
    """Whether this process's code has reported a metric of that name itself, by `report`."""
    return name in _steps


def _step(values: Mapping[str, float], given: int | None) -> int:
    last = max((_steps.get(name, -1) for name in values), default=-1)
    try:
        step = last + 1 if given is None else int(given)
    except (TypeError, ValueError):
        raise MetricError(f"report(step={given!r}): a step is a whole number, such as the epoch") from None
    _steps.update(dict.fromkeys(values, step))
    return step


# ---------------------------------------------------------------------------------------------- the writing end

assigned: Mapping[str, Any] | None = None
"""The parameters that this process was started with: a `@job` function called without arguments takes them."""

_local: Sink | None = None
_remote: SocketSink | None = None


def active_sink() -> Sink | None:
    """Return where this process's events go; None outside of a run."""
    global _remote
    if _local is not None:
        return _local
    path = os.environ.get(SOCKET)
    if path is None:
        return None
    if _remote is None or _remote.path != path:
        _remote = SocketSink(path)
    return _remote


def in_local_run() -> bool:
    """Whether code of this very process is being recorded: an inline cell, a called job, a trial."""
    return _local is not None


@contextmanager
def local_sink(sink: Sink) -> Iterator[None]:
    """Send what this process reports to `sink` while the block runs."""
    global _local
    before, _local = _local, sink
    _steps.clear()
    try:
        yield
    finally:
        _local = before
