"""What is told of a task while it runs, and the line of JSON that each such event is on its way."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any, TypeGuard

from ml_experiment_nb.quantities import repr_of
from ml_experiment_nb.records import Failure, Outcome, Status


@dataclass(frozen=True)
class Log:
    """Text that the task printed."""

    text: str


@dataclass(frozen=True)
class Metrics:
    """Values of metrics at a moment (`time` in seconds since the epoch). `ask`: the sender waits for an `Answer`.

    Its value says whether the trial is given up. `autologged`: a library's own, which the user didn't name.
    """

    values: dict[str, float]
    step: int | None = None
    time: float = field(default_factory=time.time)
    ask: bool = False
    autologged: bool = False


@dataclass(frozen=True)
class Params:
    """Parameters as the code got them, defaults included. `autologged`: a library's own, which the user didn't name."""

    values: dict[str, Any]
    autologged: bool = False


@dataclass(frozen=True)
class Cell:
    """A notebook is at its code cell `index` of `count`, counted from 1; `title` is what to call it."""

    index: int
    count: int
    title: str = ""


@dataclass(frozen=True)
class Note:
    """Something the record should say."""

    text: str


@dataclass(frozen=True)
class Tags:
    """Tags of the run, as the code that runs shows them."""

    values: dict[str, str]


@dataclass(frozen=True)
class Reads:
    """Data that the code reads: the fields of `capture.inputs.Input`, of each."""

    inputs: list[dict[str, Any]]


@dataclass(frozen=True)
class Secrets:
    """Secrets that the code has asked for, by name, so that its driver can mask them; they are recorded nowhere."""

    values: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Ask:
    """A question of a trial's code, `what` with what is `given`; the sender waits for an `Answer`: see `trials`."""

    what: str
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """The last event of every task."""

    outcome: Outcome


Event = Log | Metrics | Params | Cell | Note | Tags | Reads | Secrets | Ask | Done


_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in Event.__args__}


@dataclass(frozen=True)
class Answer:
    """What a driver says to a task that waits: a value that JSON has a form for, or why there is none."""

    value: Any = None
    error: str | None = None


def waits(event: Event) -> TypeGuard[Metrics | Ask]:
    """Whether the sender of an event waits for an `Answer`."""
    return isinstance(event, Ask) or (isinstance(event, Metrics) and event.ask)


def encode(event: Event) -> bytes:
    """Return an event as a line of JSON. What JSON has no form for is written as its repr."""
    data = asdict(event) if isinstance(event, Done) else vars(event)  # asdict copies, which not every value allows
    named = {"event": type(event).__name__} | data
    try:
        text = json.dumps(named, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, or a value that holds itself
        values = {str(name): repr_of(value) for name, value in named.pop("values").items()}
        text = json.dumps(named | {"values": values})
    return text.encode() + b"\n"


def decode(line: bytes | bytearray) -> Event:
    """Read what `encode` wrote."""
    data = json.loads(line)
    kind = _KINDS[data.pop("event")]
    if kind is not Done:
        event: Event = kind(**data)
        return event
    outcome = data["outcome"]
    failure = Failure(**outcome["failure"]) if outcome["failure"] else None
    return Done(Outcome(Status(outcome["status"]), failure))


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as a line of JSON."""
    return json.dumps(asdict(answer), default=_plain).encode() + b"\n"


def decode_answer(line: str) -> Answer:
    """Read what `encode_answer` wrote."""
    return Answer(**json.loads(line))


def as_number(value: Any) -> float | None:
    """Return a number, a NumPy or a tensor scalar as a float; None for anything else."""
    try:
        if not isinstance(value, Real) and callable(getattr(value, "item", None)):
            value = value.item()  # fails for more than one element
        return float(value) if isinstance(value, Real) else None
    except Exception:  # another library's object may raise what it likes; an int may be too large for a float
        return None


def _plain(value: Any) -> Any:
    number = as_number(value)
    return repr_of(value) if number is None else value.item() if hasattr(value, "item") else number
