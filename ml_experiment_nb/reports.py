"""What user code says to its run, and how it gets there: the writer and the reader of one stream.

User code calls `report` and `artifact`. Where it runs in a process of its own, events go as JSON lines over a
Unix socket whose path stands in the environment, so that a script, the kernel of a notebook and any process they
start all reach the same run. Where it runs in the user's own process (an inline cell, a called job), the events
are handed over directly. `Inbox` is the reading end.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from ml_experiment_nb import secrecy
from ml_experiment_nb.capture.artifacts import as_artifacts, save_artifact
from ml_experiment_nb.errors import CaptureError, MetricError
from ml_experiment_nb.projects import SOCKETS
from ml_experiment_nb.records import Failure, Outcome, Status

SOCKET = "ML_EXPERIMENT_SOCKET"
ARTIFACTS = "ML_EXPERIMENT_ARTIFACTS"
PRUNING = "ML_EXPERIMENT_PRUNING"
READ_AT_ONCE = 1 << 20  # bytes after which a writer's reader turns to what else there is to do


@dataclass(frozen=True)
class Log:
    """Text that the task printed."""

    text: str


@dataclass(frozen=True)
class Metrics:
    """Values of metrics at a moment (`time` in seconds since the epoch). `ask`: the sender waits for an `Answer`.

    Its value says whether the trial is given up.
    """

    values: dict[str, float]
    step: int | None = None
    time: float = field(default_factory=time.time)
    ask: bool = False


@dataclass(frozen=True)
class Params:
    """Parameters as the code got them, defaults included."""

    values: dict[str, Any]


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
        MetricError: A value is not a number.
        Pruned: The group's pruner gave this trial up. Let it pass.

    Example:
        >>> for epoch in range(10):
        ...     report(step=epoch, val_accuracy=evaluate(model))
    """
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


def as_number(value: Any) -> float | None:
    """Return a number, a NumPy or a tensor scalar as a float; None for anything else."""
    try:
        if not isinstance(value, Real) and callable(getattr(value, "item", None)):
            value = value.item()  # fails for more than one element
        return float(value) if isinstance(value, Real) else None
    except Exception:  # another library's object may raise what it likes; an int may be too large for a float
        return None


def _split(value: Any) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    if isinstance(value, Mapping):
        return value, {}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Mapping):
        return value[0], as_artifacts(value[1])
    return {}, {}


_steps: dict[str, int] = {}


def _step(values: Mapping[str, float], given: int | None) -> int:
    last = max((_steps.get(name, -1) for name in values), default=-1)
    step = last + 1 if given is None else int(given)
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


class SocketSink:
    """The writing end of the stream: a connection to the inbox at `path`, in a forked process one of its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.artifacts = Path(os.environ[ARTIFACTS])
        self._connect()

    def send(self, event: Event) -> None:
        """Write one line. A reader that is gone is no fault of the user's code."""
        with self._own_lock():
            self._write(event)

    def ask(self, event: Metrics | Ask) -> Answer:
        """Write one line and wait for the answer."""
        with self._own_lock():
            self._write(event)
            line = self._lines.readline()
        return Answer(**json.loads(line)) if line else Answer(error="nobody is left to answer")

    def _connect(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self.path)
        self._lines = self._socket.makefile("r", encoding="utf-8")

    def _own_lock(self) -> threading.Lock:
        if self._process != os.getpid():  # forked: the parent's lines and answers must not mix with ours
            self._connect()
        return self._lock

    def _write(self, event: Event) -> None:
        line = encode(event)
        try:
            self._socket.sendall(line)
        except ConnectionError:
            os._exit(1)  # nobody is left to work for


# ---------------------------------------------------------------------------------------------- the reading end


class Inbox:
    """The reading end: a Unix socket in a private folder, with as many writers as the task has processes."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mlexp-", dir=SOCKETS)
        self.path = os.path.join(self._folder, "s")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(64)
        self._server.setblocking(False)
        self._rests: dict[socket.socket, bytearray] = {}
        self._asking: list[socket.socket] = []

    def sockets(self) -> list[socket.socket]:
        """Return what to wait on for reading."""
        return [self._server, *self._rests]

    def read(self) -> list[Event]:
        """Return what has arrived, without waiting; of a writer that never pauses, a part of it."""
        events: list[Event] = []
        while (connection := self._accept()) is not None:
            self._rests[connection] = bytearray()
        for connection in list(self._rests):
            events += self._read_one(connection)
        return events

    def answer(self, answer: Answer) -> None:
        """Answer the writer that has waited longest."""
        if self._asking:
            with suppress(OSError):  # the writer may be gone by now
                self._asking.pop(0).sendall(json.dumps(asdict(answer), default=_plain).encode() + b"\n")

    def close(self) -> None:
        """Close every connection and remove the folder."""
        for one in self.sockets():
            one.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> socket.socket | None:
        try:
            connection, _ = self._server.accept()
        except BlockingIOError:
            return None
        return connection

    def _read_one(self, connection: socket.socket) -> list[Event]:
        data = self._rests[connection]
        seen = len(data)
        while len(data) - seen < READ_AT_ONCE:
            try:
                more = connection.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                more = b""
            if not more:
                del self._rests[connection]
                connection.close()
                break
            data += more
        end = data.rfind(b"\n", seen) + 1
        events = _decode_lines(data[:end])
        del data[:end]  # what a writer that was killed leaves behind its last newline is never read
        self._asking += [connection] * sum(map(waits, events))
        return events


def encode(event: Event) -> bytes:
    """Return an event as a line of JSON. What JSON has no form for is written as its repr."""
    data = asdict(event) if isinstance(event, Done) else vars(event)  # asdict copies, which not every value allows
    named = {"event": type(event).__name__} | data
    try:
        text = json.dumps(named, default=_plain)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, or a value that holds itself
        values = {str(name): _text(value) for name, value in named.pop("values").items()}
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


def _decode_lines(data: bytes | bytearray) -> list[Event]:
    return [decode(line) for line in data.splitlines()]


def _plain(value: Any) -> Any:
    number = as_number(value)
    return _text(value) if number is None else value.item() if hasattr(value, "item") else number


def _text(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # the user's own class, and its own mistake
        return object.__repr__(value)
