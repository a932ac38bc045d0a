"""What a group's code knows of its own trial: Optuna's interface, answered by the driver, which alone has the study.

`Trial` is the asking end, in the user's code. `answered` is the other one, in the driver: it turns a question into
something that a `Source` does, which is a trial of a study or, outside of a search, the run's own parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from ml_experiment_nb import secrecy
from ml_experiment_nb.errors import ExperimentError, SpecError
from ml_experiment_nb.events import Answer, Ask, Event, Metrics, Params, Tags, as_number
from ml_experiment_nb.fields import plain
from ml_experiment_nb.reports import Sink, active_sink

DRAWN = "mlexp.drawn"
"""The tag of a run whose code has drawn a parameter by itself."""

UNNAMED = "value"
"""The metric that a reported value has where no group says which one it is."""


@dataclass(frozen=True)
class Suggestion:
    """One parameter that is to be drawn: a number from `low` to `high`, or one of `choices`."""

    name: str
    kind: Literal["float", "int", "categorical"]
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()


class Trial:
    """The trial that this code is, as Optuna's users know it; `get_current` gives it.

    What is suggested is drawn by the group's sampler and recorded as a parameter of the run. In a run that is no trial
    (an experiment, a table's row), a suggestion is the run's parameter of that name.

    Attributes:
        number: The trial's number in its group; 0 in an experiment.
        params: The parameters so far: those that are fixed, those that were drawn, and those that were suggested.
        user_attrs: What `set_user_attr` has set.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        told = self._ask("trial")
        self.number: int = told["number"]
        self.params: dict[str, Any] = told["params"]
        self.user_attrs: dict[str, Any] = {}
        self._metric: str | None = told["metric"]
        self._given_up = False

    @classmethod
    def get_current(cls) -> Trial:
        """Return the trial that this code is a part of, in a script, a cell, a notebook or a job.

        Raises:
            SpecError: It is part of no run.
        """
        sink = active_sink()
        if sink is None:
            raise SpecError("Trial.get_current() is for code that a group runs, or an experiment; this is no run")
        return cls(sink)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draw a real number from `low` to `high`, both included.

        Args:
            name: The parameter's name. Asked again, it gives the same value.
            low: The least value.
            high: The greatest value.
            step: The distance between values.
            log: Whether every order of magnitude is as likely.

        Raises:
            SpecError: The bounds make no sense, or the parameter had other ones.
        """
        steps = None if step is None else _number(name, step)
        wanted = Suggestion(name, "float", _number(name, low), _number(name, high), steps, log)
        return float(self._suggest(wanted))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Draw a whole number from `low` to `high`, both included; see `suggest_float`.

        Raises:
            SpecError: The bounds make no sense, or the parameter had other ones.
        """
        first, last, distance = (_number(name, value) for value in (low, high, step))
        if not (first.is_integer() and last.is_integer() and distance.is_integer()):
            raise SpecError("bounds and step have to be whole numbers; or use suggest_float", key=name)
        return int(self._suggest(Suggestion(name, "int", int(first), int(last), int(distance), log)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw one of `choices`; they have to be the same ones in every trial.

        Raises:
            SpecError: There are none, or they were others.
        """
        options = list(choices)
        stored = _stored([option.item() if _is_scalar(option) else option for option in options])
        for text in stored:
            if stored.count(text) > 1 or (isinstance(text, str) and " at 0x" in text):
                raise SpecError(f"{text!r} can't be told apart in the study: give each choice a name", key=name)
        value = self._suggest(Suggestion(name, "categorical", choices=tuple(stored)))
        return options[_index(stored, value)]

    def report(self, value: float, step: int) -> None:
        """Record the group's metric at a step counted from 0; unlike the function `report` it ends no trial.

        Raises:
            SpecError: The group has no metric, or more than one.
        """
        if self._metric is None:
            raise SpecError("Trial.report is for a group with one metric; use report(NAME=value)")
        number = as_number(value)
        if number is None:
            raise SpecError(f"a metric is a number, this is a {type(value).__name__}", key=self._metric)
        self._given_up = bool(self._sink.ask(Metrics({self._metric: number}, int(step), ask=True)).value)

    def should_prune(self) -> bool:
        """Return whether the group's pruner gave the trial up at the last `report`; then raise `Pruned`."""
        return self._given_up

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep something with the trial in its study, and as the tag ``mlexp.attr.KEY`` of its run."""
        self._ask("attr", {"name": str(key), "value": plain(value)})
        self.user_attrs[str(key)] = value

    def __repr__(self) -> str:
        return f"<Trial {self.number} {self.params}>"

    def _suggest(self, wanted: Suggestion) -> Any:
        value = self._ask("suggest", asdict(wanted))
        self.params[wanted.name] = value
        return value

    def _ask(self, what: str, given: Mapping[str, Any] | None = None) -> Any:
        answer = self._sink.ask(Ask(what, dict(given or {})))
        if answer.error is not None:
            raise SpecError(answer.error)
        return answer.value


# ---------------------------------------------------------------------------------------------- the answering end


class Source(Protocol):
    """What a trial's questions are answered from."""

    number: int
    metric: str | None

    def suggest(self, wanted: Suggestion) -> Any:
        """Return a parameter's value."""

    def set_attr(self, name: str, value: Any) -> None:
        """Keep something with the trial."""


class Run(Protocol):
    """What is recorded of the run whose code asks."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters so far."""

    def add(self, event: Event) -> None:
        """Take an event."""


class Fixed:
    """The `Source` of a run that is no trial: a suggestion is the run's parameter of that name."""

    metric: str | None = UNNAMED

    def __init__(self, params: Mapping[str, Any], number: int | None = None) -> None:
        self.number = number or 0
        self._params = params

    def suggest(self, wanted: Suggestion) -> Any:
        """Return a parameter that was given.

        Raises:
            SpecError: It wasn't given, or can't be what is suggested.
        """
        if wanted.name not in self._params:
            raise SpecError(f"is drawn in a group only: give it here, as in -p {wanted.name}=…", key=wanted.name)
        value = self._params[wanted.name]
        if wanted.kind == "categorical":
            if not any(value == one or str(value) == str(one) for one in wanted.choices):
                raise SpecError(f"{value!r} is none of {list(wanted.choices)}", key=wanted.name)
            return wanted.choices[_index(wanted.choices, value)]
        number = None if isinstance(value, bool) else as_number(value)
        if (
            number is None
            or not wanted.low <= number <= wanted.high
            or (wanted.kind == "int" and number != int(number))
        ):
            raise SpecError(f"{value!r} is no {wanted.kind} from {wanted.low:g} to {wanted.high:g}", key=wanted.name)
        return value

    def set_attr(self, name: str, value: Any) -> None:
        """There is no study to keep it in."""


def answered(question: Ask, source: Source, run: Run) -> Answer:
    """Answer a question from a source, and record what comes of it."""
    given = question.given
    try:
        match question.what:
            case "trial":
                return Answer({"number": source.number, "metric": source.metric, "params": plain(run.params)})
            case "suggest":
                wanted = Suggestion(**{**given, "choices": tuple(given["choices"])})
                value = source.suggest(wanted)
                if wanted.name not in run.params:
                    run.add(Tags({DRAWN: wanted.name}))
                run.add(Params({wanted.name: value}))
                return Answer(secrecy.resolved(value))
            case "attr":
                source.set_attr(given["name"], given["value"])
                run.add(Tags({f"mlexp.attr.{given['name']}": str(given["value"])}))
                return Answer()
    except ExperimentError as error:
        return Answer(error=str(error))
    return Answer(error=f"there is no question {question.what!r}")


def _number(name: str, value: Any) -> float:
    number = None if isinstance(value, bool) else as_number(value)
    if number is None or number != number:
        raise SpecError(f"{value!r} is no number", key=name)
    return number


def _is_scalar(value: Any) -> bool:
    """Whether a value is NumPy's, and not Python's."""
    return hasattr(value, "item") and getattr(value, "ndim", None) == 0


def _stored(options: Sequence[Any]) -> list[Any]:
    """Return choices as a study can hold and tell them apart: themselves, or all of them as their text."""
    scalars = all(option is None or isinstance(option, str | bool | int | float) for option in options)
    if scalars and len(set(options)) == len(options):
        return list(options)
    return [getattr(option, "__qualname__", None) or repr(option) for option in options]


def _index(choices: Sequence[Any], value: Any) -> int:
    """Return which choice a value is; a record's own text of it is good enough."""
    same = [one == value and isinstance(one, bool) == isinstance(value, bool) for one in choices]
    return same.index(True) if True in same else [str(one) for one in choices].index(str(value))
