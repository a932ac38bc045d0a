"""What a tracking store has of a run, read as a record; and which runs are wanted of it, whatever the store."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Integral
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from ml_experiment_nb.errors import RunNotFoundError, SpecError, nearest
from ml_experiment_nb.filters import Filter, Name, read_filter, read_name
from ml_experiment_nb.literals import value_of
from ml_experiment_nb.records import SYSTEM, Failure, Record, Status

AUTOLOGGED = "mlexp.autologged"  # the tag that names the parameters which a library has of itself, as JSON
OWN_METRICS = "mlexp.metrics"  # the tag that names the metrics which the code itself has told, if there are more
TEXTS = "mlexp.texts"  # the tag that names the parameters which are texts though they look like something else, as JSON
RETRIED = "mlexp.retried_by"
NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
OWN_TAGS = (
    *("mlexp.kind", "mlexp.status", "mlexp.error", "mlexp.trial", "mlexp.notes", RETRIED),
    *(AUTOLOGGED, OWN_METRICS, TEXTS, PARENT, NAME),
)
"""The tags that a record's own fields are read from, and that say whether it is listed."""
_FROM_MLFLOW = {
    "FINISHED": Status.FINISHED,
    "FAILED": Status.FAILED,
    "KILLED": Status.KILLED,
    "RUNNING": Status.RUNNING,
    "SCHEDULED": Status.RUNNING,
}
_STATUSES = {one.value: one for one in Status}  # many times as quick as a call of the class
Key = TypeVar("Key")
KINDS = ("experiment", "group", "trial")
_DIRECTIONS = {"": False, "asc": False, "desc": True}


@dataclass(frozen=True)
class Kept:
    """A run as MLflow keeps it. Times are in milliseconds since 1970; `end` is None, or 0, while it goes on."""

    run_id: str
    name: str | None
    experiment: str
    status: str
    start: int
    end: int | None
    artifact_uri: str | None
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Point(NamedTuple):
    """A value that a run has reported of a metric. `moment` is in milliseconds since 1970."""

    metric: str
    step: int
    moment: int
    value: float


class DataSet(NamedTuple):
    """A data set that a run says to have read. `kind` is that of its source, which is JSON."""

    name: str
    digest: str
    kind: str
    source: str


def record_of(kept: Kept) -> Record:
    """Return the record that a kept run is."""
    tags = kept.tags
    status = status_of(kept.status, tags)
    started = kept.start / 1000
    ended = kept.end / 1000 if kept.end and status.ended else time.time()  # it may be open again
    error = tags.get("mlexp.error")
    number = tags.get("mlexp.trial")
    params, autologged = _parted(kept.params, tags.get(AUTOLOGGED))
    notes = tags.get("mlexp.notes")
    return Record(
        run_id=kept.run_id,
        name=kept.name or tags.get(NAME) or kept.run_id[:8],
        experiment=kept.experiment,
        kind=tags.get("mlexp.kind", "experiment"),
        status=status,
        params=_values(params, tags.get(TEXTS)),
        metrics=_own_first(kept.metrics, tags.get(OWN_METRICS)),
        started=datetime.fromtimestamp(started, UTC),
        seconds=max(0.0, ended - started),
        failure=Failure(*error.split(": ", 1)) if error and ": " in error else Failure(error, "") if error else None,
        number=int(number) if number else None,
        parent_id=tags.get(PARENT),
        artifact_uri=kept.artifact_uri,
        tags=tags,
        notes=tuple(json.loads(notes)) if notes else (),
        autologged=autologged,
    )


def _values(params: Mapping[str, Any], told: str | None) -> Mapping[str, Any]:
    """Return parameters, of which a store has the text, as the values that they were."""
    if not told:
        return {name: value_of(text) for name, text in params.items()}
    texts = _named_in(told)
    return {name: text if name in texts else value_of(text) for name, text in params.items()}


def _parted(params: Mapping[str, Any], told: str | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the parameters that were asked for, and those that a library has of itself, as the tag names them."""
    if not told or told == "[]":
        return params, {}
    names = _named_in(told)
    asked = {name: value for name, value in params.items() if name not in names}
    return asked, {name: value for name, value in params.items() if name in names}


def _own_first(metrics: Mapping[str, float], told: str | None) -> Mapping[str, float]:
    """Return metrics but for the machine's: first those that the code itself has told, then a library's own."""
    own = _named_in(told) if told else {}
    names = [*(name for name in own if name in metrics), *(name for name in metrics if name not in own)]
    return {name: metrics[name] for name in names if not name.startswith(SYSTEM)}


def _named_in(tag: str) -> Mapping[str, None]:
    """Return the names that a tag has, in their order."""
    try:
        return dict.fromkeys(json.loads(tag))
    except (ValueError, TypeError):  # it may have been cut
        return dict.fromkeys(re.findall(r'"([^"]+)"', tag))


def status_of(mlflows: str, tags: Mapping[str, str]) -> Status:
    """Return how a run stands, of which MLflow has a word of its own and fewer of them."""
    return _STATUSES.get(tags.get("mlexp.status", "")) or _FROM_MLFLOW[mlflows]


@dataclass(frozen=True)
class RunQuery:
    """Which runs are wanted, and in which order.

    Attributes:
        experiment: Only those of this MLflow experiment.
        kind: Only those of this kind.
        group: Only the trials of this run: its whole id. Of one that was tried again it is the last try.
        status: Only those that ended so, or run.
        condition: Only those that meet it.
        order: What they are ordered by; the newest first where it is None. What hasn't got it comes last.
        descending: The highest first.
        limit: At most so many.
        tags: Whether all tags are wanted.
        tagged: Only those with these tags, which are names and values.
        named: The names of tags that are wanted, where not all are.
    """

    experiment: str | None = None
    kind: str | None = None
    group: str | None = None
    status: str | None = None
    condition: Filter | None = None
    order: Name | None = None
    descending: bool = False
    limit: int | None = None
    tags: bool = False
    tagged: tuple[tuple[str, str], ...] = ()
    named: tuple[str, ...] = ()

    def select(self, records: Iterable[Record]) -> list[Record]:
        """Return those of some records that are wanted, in order."""
        found = [one for one in records if self._wants(one)]
        found.sort(key=lambda one: (-one.started.timestamp(), one.run_id or ""))
        if self.order is not None:
            name = self.order
            keyed = [(_key(name.of(one)), one) for one in found]
            present = [(key, one) for key, one in keyed if key is not None]
            present.sort(key=itemgetter(0), reverse=self.descending)
            found = [one for _, one in present] + [one for key, one in keyed if key is None]
        return found[: self.limit]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all that is decided by, besides what each record has."""
        names = ((self.order,) if self.order is not None else ()) + (self.condition.names if self.condition else ())
        asked = [name.key for name in names if name.kind != "attributes"] + [name for name, _ in self.tagged]
        return tuple(dict.fromkeys(asked))

    def _wants(self, record: Record) -> bool:
        return (
            self.experiment in (None, record.experiment)
            and self.kind in (None, record.kind)
            and (self.group is None or (record.parent_id == self.group and RETRIED not in record.tags))
            and self.status in (None, record.status)
            and not any(record.tags.get(name) != value for name, value in self.tagged)
            and (self.condition is None or self.condition.met(record))
        )


def wanted(
    *, experiment: str | None = None, kind: str | None = None, group: str | None = None, status: str | None = None,
    condition: str | None = None, order_by: str | None = None, limit: int | None = None, tags: bool = False,
) -> RunQuery:  # fmt: skip
    """Read what is wanted; see `RunQuery`, and for the texts `read_filter` and `read_order`.

    Raises:
        SpecError: One of them can't be read.
    """
    texts = {"experiment": experiment, "kind": kind, "where": condition, "order_by": order_by}
    if wrong := [name for name, one in texts.items() if not isinstance(one, str | None)]:
        raise SpecError(f"{wrong[0]} is a text, not {texts[wrong[0]]!r}")
    if kind is not None and kind not in KINDS:
        raise SpecError(f"there is no kind {kind!r}: it is one of {', '.join(KINDS)}")
    if status is not None and status not in list(Status):
        raise SpecError(f"there is no status {status!r}: it is one of {', '.join(Status)}")
    if limit is not None and (not isinstance(limit, Integral) or limit < 1):
        raise SpecError(f"limit is {limit!r}: it is 1 or more, and whole")
    name, descending = read_order(order_by) if order_by is not None else (None, False)
    where = read_filter(condition) if condition is not None and condition.strip() else None
    return RunQuery(experiment, kind, group, status, where, name, descending, limit, tags)


def id_of(run: object) -> str:
    """Return the id, or the beginning of it, of a run that is given by that, by its record or by a row of a table.

    Raises:
        RunNotFoundError: It is a record that has no id, as it was not recorded.
        SpecError: It is nothing of these.
    """
    if isinstance(run, str):
        return run
    if isinstance(run, Record) and run.run_id is None:
        raise RunNotFoundError(f"{run.name} is a job: it was not recorded, and the store has nothing of it")
    found = getattr(run, "run_id", None)
    if isinstance(found, str):
        return found
    raise SpecError(
        f"a run is given by its id or its record, and this is of type {type(run).__name__}: runs() lists the ids, "
        "best_run() gives a record; what a job returns is its own value"
    )


def read_order(text: str) -> tuple[Name, bool]:
    """Read ``metrics.loss`` or ``metrics.loss DESC``: a name, and whether the highest comes first.

    Raises:
        SpecError: It can't be read.
    """
    name, _, word = text.strip().rpartition(" ")
    if not name or word.lower() not in _DIRECTIONS:
        name, word = text.strip(), ""
    if not name:
        raise SpecError("order_by is empty; write it as in: metrics.val_accuracy DESC")
    return read_name(name.strip()), _DIRECTIONS[word.lower()]


def chosen(run_id: str, found: Sequence[str], uri: str) -> str:
    """Return the one id that a beginning of it stands for.

    Args:
        run_id: The beginning, or the whole.
        found: The ids that begin so, as far as they were looked for.
        uri: The store's address, as it may be shown.

    Raises:
        RunNotFoundError: None, or more than one, has it.
    """
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise RunNotFoundError(f"more than one run begins with {run_id!r}: {some}")
    raise not_found(run_id, uri)


def not_found(run_id: str, uri: str) -> RunNotFoundError:
    """Return the error that no run has this id, or this beginning of it."""
    return RunNotFoundError(f"no run {run_id!r} in {uri}; `ml-experiment ls` lists them")


def named(names: Mapping[Key, str], experiment: str | None, uri: str) -> dict[Key, str]:
    """Return those of some experiments, by their ids, that have a name; all of them where it is None.

    Raises:
        RunNotFoundError: None has it.
    """
    found = {one: name for one, name in names.items() if experiment in (None, name)}
    if experiment is not None and not found:
        raise RunNotFoundError(f"no experiment is called {experiment!r} in {uri}{nearest(experiment, names.values())}")
    return found


def _key(value: Any) -> tuple[int, Any] | None:
    """Return what a value is ordered by: numbers before texts; None for what has no place."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return 0, value.timestamp()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1, str(value)
    return None if math.isnan(number) else (0, number)
