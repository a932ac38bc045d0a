"""DID: what came of a task, and what is kept of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, overload

from ml_experiment_nb import markup
from ml_experiment_nb.cards import Card, card_html, card_markdown, card_text
from ml_experiment_nb.overview import overview
from ml_experiment_nb.quantities import duration as duration  # for those who draw records
from ml_experiment_nb.quantities import number as number
from ml_experiment_nb.quantities import pairs as pairs
from ml_experiment_nb.quantities import size as size

SYSTEM = "system/"  # how the names of metrics begin that the machine has, not the code: MLflow's own


class Status(StrEnum):
    """How a run stands. Every run that was opened ends as one of the last four."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PRUNED = "pruned"
    KILLED = "killed"

    @property
    def ended(self) -> bool:
        """Whether this is a final state."""
        return self is not Status.RUNNING

    @property
    def shown(self) -> str:
        """The word with a sign before it."""
        return f"{_SIGNS[self]} {self.value}"


_SIGNS = {
    Status.RUNNING: "●",
    Status.FINISHED: "✓",
    Status.FAILED: "✗",
    Status.PRUNED: "⊘",
    Status.KILLED: "■",
}


@dataclass(frozen=True)
class Failure:
    """Why a task did not finish: the exception's type name, its message and its traceback as text."""

    type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True)
class Outcome:
    """What came of one task."""

    status: Status
    failure: Failure | None = None


@dataclass(frozen=True)
class Record:
    """What is kept of a run.

    Attributes:
        run_id: MLflow's id; None for a job, which isn't tracked.
        name: The run's name.
        experiment: The name of the MLflow experiment that it belongs to.
        kind: ``job``, ``experiment``, ``group`` or ``trial``.
        status: How it ended, or ``running``.
        params: The parameters; as written when the run is this process's own, as text when read from a store.
        metrics: The last value of each metric.
        started: When it began (UTC).
        seconds: How long it took, or has taken so far.
        failure: Why it did not finish.
        number: The trial's number in its group, counted from 0.
        parent_id: The group's run id.
        artifact_uri: Where its files are.
        tags: All tags, ours under ``mlexp.``.
        notes: What the recording has to say, such as what could not be recorded.
        autologged: The parameters that a library has of itself, as text.
    """

    run_id: str | None
    name: str
    experiment: str
    kind: str
    status: Status
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    started: datetime
    seconds: float
    failure: Failure | None = None
    number: int | None = None
    parent_id: str | None = None
    artifact_uri: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    autologged: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether it finished."""
        return self.status is Status.FINISHED

    def to_json(self) -> str:
        """Return the record as one line of JSON; `from_json` reads it back.

        A parameter that JSON has no form for is written as text, and a metric that is no finite number as
        ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, as MLflow's REST API does.
        """
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        data |= {"status": self.status.value, "started": self.started.isoformat()}
        data["failure"] = asdict(self.failure) if self.failure else None
        return json.dumps(as_json(data), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        return cls(
            **data
            | {
                "status": Status(data["status"]),
                "started": datetime.fromisoformat(data["started"]),
                "metrics": {name: float(value) for name, value in data["metrics"].items()},
                "failure": Failure(**data["failure"]) if data["failure"] else None,
                "notes": tuple(data["notes"]),
            }
        )

    def __str__(self) -> str:
        return card_text(Card(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self) if cycle else str(self))

    def _repr_html_(self) -> str:
        return card_html(Card(self))

    def _repr_markdown_(self) -> str:
        return card_markdown(Card(self))


class Records(Sequence[Record]):
    """Records in the order in which they came, with the group's own record beside them.

    Args:
        records: The experiments or trials.
        parent: The group's record, when they belong to one.
        metric: The metric that the group optimised, or several of them.
        maximize: Whether more of it is better; for several metrics, one for each.
    """

    def __init__(
        self,
        records: Iterable[Record],
        parent: Record | None = None,
        metric: str | Sequence[str] | None = None,
        maximize: bool | Sequence[bool] = False,
    ) -> None:
        self._records = tuple(records)
        self.parent = parent
        names = () if metric is None else (metric,) if isinstance(metric, str) else tuple(metric)
        wanted = (maximize,) * len(names) if isinstance(maximize, bool) else tuple(maximize)
        self.goals = tuple(zip(names, wanted, strict=True))
        """The metrics that the group optimised, and of each whether more of it is better."""

    @property
    def metric(self) -> str | None:
        """The metric that the group optimised; None when there is none, or more than one."""
        return self.goals[0][0] if len(self.goals) == 1 else None

    @property
    def best(self) -> Record | None:
        """The finished record with the best value of the metric; None when there is none, or more than one metric."""
        if self.metric is None:
            return None
        scored = self._scored()
        return min(scored, key=lambda one: one[0])[1] if scored else None

    @cached_property
    def front(self) -> Records:
        """The finished records that none is better than: the Pareto front where there are several metrics.

        Of a record in it no metric can be bettered without another one getting worse. With one metric these are the
        records with its best value.
        """
        scored = self._scored()
        front: list[tuple[float, ...]] = []
        for costs in sorted({costs for costs, _ in scored}):  # whoever is better in all stands before
            # Of two metrics the last one kept has the best second value: a front of thousands takes no time.
            rivals = front[-1:] if len(costs) == 2 else front
            if not any(dominates(other, costs) for other in rivals):
                front.append(costs)
        kept = {*front}
        return self.like(record for costs, record in scored if costs in kept)

    def _scored(self) -> list[tuple[tuple[float, ...], Record]]:
        """Return the finished records that have all metrics, each with its costs."""
        found = ((costs_of(record, self.goals), record) for record in self if self.goals and record.ok)
        return [(costs, record) for costs, record in found if costs is not None]

    def like(self, records: Iterable[Record]) -> Records:
        """Return other records, or these in another order, with the same group and goals."""
        return Records(records, self.parent, [name for name, _ in self.goals], [wanted for _, wanted in self.goals])

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        """Return one record, or some of them."""
        if isinstance(index, slice):
            return self.like(self._records[index])
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __repr__(self) -> str:
        name = f" of {self.parent.name!r}" if self.parent else ""
        return f"<{len(self)} records{name}>"

    def __str__(self) -> str:
        return markup.as_text(overview(self)) if self else "no records"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self) if cycle else str(self))

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row per record: its id, status, duration, parameters and metrics."""
        import pandas as pd

        return pd.DataFrame([row(record) for record in self])

    def _repr_html_(self) -> str:
        return markup.as_html(overview(self))

    def _repr_markdown_(self) -> str:
        return markup.as_markdown(overview(self))


def costs_of(record: Record, goals: Iterable[tuple[str, bool]]) -> tuple[float, ...] | None:
    """Return a record's metrics so that less is better; None where it lacks one.

    Args:
        record: The record.
        goals: The metrics that count, and of each whether more of it is better.
    """
    values = [(record.metrics.get(name, math.nan), maximize) for name, maximize in goals]
    if any(math.isnan(value) for value, _ in values):
        return None
    return tuple(-value if maximize else value for value, maximize in values)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether costs are nowhere above others, and not the same."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def row(record: Record) -> dict[str, Any]:
    """Return a record as a flat row: ``params.*`` and ``metrics.*`` beside what names it."""
    first: dict[str, Any] = {"run_id": (record.run_id or "")[:8], "name": record.name}
    if record.number is not None:
        first["trial"] = record.number
    return (
        first
        | {"status": record.status.value, "seconds": round(record.seconds, 2)}
        | ({"taken_from": taken[:8]} if (taken := record.tags.get("mlexp.taken_from")) else {})
        | {f"params.{name}": value for name, value in record.params.items()}
        | {f"metrics.{name}": value for name, value in record.metrics.items()}
    )


def now() -> datetime:
    """Return the present, in UTC."""
    return datetime.now(UTC)


def as_json(value: Any) -> Any:
    """Return a value made of what JSON has a form for."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            named = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            return value if math.isfinite(value) else named
        case Mapping():
            return {str(name): as_json(one) for name, one in value.items()}
        case list() | tuple():
            return [as_json(one) for one in value]
        case _:
            return str(value)
