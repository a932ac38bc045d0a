"""What the live view of a group shows: it takes the group's updates, and gives what is new since it was asked. Pure.

What is told of a group as a whole is sent again when it is another one; of its trials that have ended, those that are
new are sent, as columns of bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_experiment_nb import triage
from ml_experiment_nb.events import Cell, Metrics, Note
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.quantities import about
from ml_experiment_nb.records import (
    SYSTEM,
    Record,
    Records,
    Status,
    as_json,
    costs_of,
    dominates,
    duration,
    now,
    number,
    pairs,
)
from ml_experiment_nb.spaces import LogUniform
from ml_experiment_nb.updates import Happened, Started, Update
from ml_experiment_nb.widgets.columns import ABSENT
from ml_experiment_nb.widgets.growing import Growing

MOST = {"params": 40, "metrics": 20}  # columns, beyond which a page shows no more
KINDS = 6  # kinds of failures that are told
SHOWN = 12  # trials of a kind that are named
NOTES = 12  # notes that are told
STATUSES = tuple(Status)
_SHARE = 10  # times as long as sorting the failures takes is waited for before they are sorted anew


@dataclass(frozen=True)
class Delta:
    """What a page has to take over: the parts that are new, and the columns' bytes in the order of their names.

    Attributes:
        parts: Parts by name, as JSON: those that changed, or all of them. ``columns`` says what the bytes are.
        bytes: A column's new values each: doubles, or the numbers of texts as four bytes, the least first.
    """

    parts: Mapping[str, Any]
    bytes: tuple[bytes, ...] = ()


@dataclass
class _Running:
    """A trial that runs, as a page shows it."""

    key: str
    name: str
    run: str
    since: float
    params: str = ""
    at: str = ""
    share: float | None = None
    metric: tuple[str, float] | None = None
    stopping: bool = False

    def as_part(self) -> dict[str, Any]:
        metric = None if self.metric is None else [self.metric[0], as_json(self.metric[1])]
        return {
            "key": self.key, "name": self.name, "run": self.run, "since": round(self.since, 2), "params": self.params,
            "at": self.at, "share": self.share, "metric": metric, "stopping": self.stopping,
        }  # fmt: skip


class LiveGroup:
    """A group while it runs, as a page shows it.

    Args:
        plan: What is run.
        clock: Seconds, of any beginning.
        now: The present.
    """

    def __init__(
        self, plan: Plan, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = now
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._now = now
        self._began = clock()
        self._first: float | None = None  # when the first trial began: before that, Ray is started
        self._ended: float | None = None
        self._left: float | None = None  # when it was last heard of, where no more can be known
        self.goals = tuple(zip(*plan.goal, strict=True))
        self.run_id = ""
        self.status = Status.RUNNING
        self.stopping = False
        self.records: list[Record] = []
        self.running: dict[str, _Running] = {}
        self._fresh = 0  # trials that ended and had been started since it began
        self._is_seen_late = False
        self.why = ""
        self._notes: list[str] = list(plan.notes)
        self._front: list[tuple[tuple[float, ...], Record]] = []  # with what they cost
        self._columns: dict[tuple[str, str], Growing] = {}
        self._ids: list[str] = []
        self._counts = dict.fromkeys(Status, 0)
        self._kinds: list[dict[str, Any]] = []
        self._kinds_of = 0
        self._kinds_due = 0.0
        self._told: dict[str, Any] = {}
        self._ids_told = 0
        self._seq = 0
        for name in ("number", "status", "seconds"):
            self._column("trial", name)
        for name, _ in self.goals:
            self._column("metrics", name)
        for name in self._varied():
            self._column("params", name)

    # --- what happens ---

    def take(self, update: Update) -> None:
        """Take what has happened into account."""
        match update:
            case Started(parent=True, run_id=run_id):
                self.run_id = run_id or ""
                if update.record is not None:
                    self._note(update.record.notes)
            case Started(key, name, run_id):
                given = update.record.params if update.record is not None else {}
                params = pairs({name: value for name, value in given.items() if self._shows(name)})
                began = self._clock() - (self._ago(update.record.started) if update.record is not None else 0.0)
                self._first = began if self._first is None else self._first
                self.running[key] = _Running(key, name, run_id or "", began - self._began, params)
            case Happened(key, event):
                self._happened(key, event)
            case Record(kind="group") as record:
                self.end(record.status, self._reason(record), record.notes)
            case Record() as record:
                self._ended_one(record)

    def end(self, status: Status, why: str = "", notes: Iterable[str] = ()) -> None:
        """Take the group for ended; a second time changes nothing."""
        if self._ended is None:
            self.status, self.why, self._ended = status, why, self._clock()
            self.running.clear()
            self._note(notes)

    def since(self, began: datetime) -> None:
        """Say when the group began, if that was not just now."""
        self._began = self._clock() - self._ago(began)
        self._is_seen_late = True

    def lasted(self, seconds: float) -> None:
        """Say how long a group took that had ended before it was shown."""
        if self._ended is not None:
            self._began = self._ended - seconds

    def leave(self, text: str) -> None:
        """Say what keeps the view from knowing more: its clock stands still."""
        self.why, self._left = text, self._clock()

    def stop_asked(self, run_id: str) -> None:
        """Show that a trial, or the whole group, is being stopped."""
        if run_id == self.run_id:
            self.stopping = True
        for one in self.running.values():
            one.stopping = one.stopping or one.run == run_id

    def runs(self) -> set[str]:
        """Return the ids of the runs that can be stopped: the group's and those of its running trials."""
        found = {one.run for one in self.running.values()} | {self.run_id}
        return found - {""} if self._ended is None else set()

    # --- what is shown ---

    def delta(self) -> Delta | None:
        """Return what changed since this was last asked; None if nothing has."""
        parts = self.parts()
        new = {name: part for name, part in parts.items() if self._told.get(name) != part}
        heads, found = self._new_rows()
        if not new and not heads:
            return None
        self._told.update(new)
        ids, self._ids_told = self._ids[self._ids_told :], len(self._ids)
        self._seq += 1
        return Delta(self._head(new, heads, ids), tuple(found))

    def whole(self) -> Delta:
        """Return all that there is; it changes nothing of what `delta` says next."""
        pairs = [column.part() for column in self._columns.values()] if self.records else []
        parts = self.parts() | {"about": self._about()}
        return Delta(self._head(parts, [head for head, _ in pairs], self._ids), tuple(data for _, data in pairs))

    def _head(self, parts: Mapping[str, Any], heads: list[dict[str, Any]], ids: list[str]) -> dict[str, Any]:
        head: dict[str, Any] = {"seq": self._seq, **parts, "time": self._time()}
        return head | ({"columns": heads, "ids": ids, "count": len(self.records)} if heads else {})

    def _new_rows(self) -> tuple[list[dict[str, Any]], list[bytes]]:
        heads, found = [], []
        for column in self._columns.values():
            if column.sent < len(column.values):
                head, data = column.new()
                heads.append(head)
                found.append(data)
        return heads, found

    def _about(self) -> dict[str, Any]:
        """Return what doesn't change."""
        plan = self._plan
        return {
            "name": plan.spec.name,
            "unit": "row" if plan.table is not None else "trial",
            "goals": [list(goal) for goal in self.goals],
            "logs": [name for name, value in getattr(plan.spec, "param_space", {}).items() if _is_log(value)],
            "slots": plan.slots,
            "executor": plan.executor,
            "workers": str(plan.distributed) if plan.distributed is not None else "",
            "statuses": [one.value for one in STATUSES],
        }

    def parts(self) -> dict[str, Any]:
        """Return what is told of the group as a whole, as JSON."""
        return {
            "run": self.run_id,
            "state": [self.status.value, self.why, self.stopping],
            "counts": self.counts(),
            "best": self._best_part(),
            "front": [one.number for _, one in self._front] if len(self.goals) > 1 else [],
            "running": [one.as_part() for one in self.running.values()],
            "failures": self._failures(),
            "notes": [len(self._notes), self._notes[-NOTES:]],
        }

    def counts(self) -> dict[str, int | None]:
        """Return how many trials there are of each kind, and how many there will be, if that is known."""
        found: dict[str, int | None] = {one.value: count for one, count in self._counts.items()}
        return found | {"running": len(self.running), "done": len(self.records), "total": self._plan.total}

    def _time(self) -> dict[str, float | None]:
        """Return how long it has taken, how long it may take yet, and whether the clock stands still meanwhile."""
        stands = self._stands
        now = stands if stands is not None else self._clock()
        took = now - self._began
        done, total = len(self.records), self._plan.total
        left = None
        if stands is None and total and self._fresh and done < total:
            worked = took if self._is_seen_late or self._first is None else now - self._first
            left = round(worked / self._fresh * (total - done), 1)
        found: dict[str, float | None] = {"took": round(took, 2), "left": left}
        return found | ({"still": True} if self._ended is None and stands is not None else {})

    @property
    def _stands(self) -> float | None:
        """When the clock was stopped."""
        return self._ended if self._ended is not None else self._left

    @property
    def best(self) -> Record | None:
        """The best trial so far; of several metrics none is."""
        return self._front[0][1] if len(self.goals) == 1 and self._front else None

    @property
    def front(self) -> list[Record]:
        """The trials that none is better than."""
        return [one for _, one in self._front]

    def _best_part(self) -> dict[str, Any] | None:
        best = self.best
        if best is None:
            return None
        varied = [name for group, name in self._columns if group == "params"]
        params = [[name, number(best.params[name])] for name in varied if name in best.params]
        return {
            "number": best.number, "name": best.name, "run": best.run_id or "", "params": params,
            "metric": self.goals[0][0], "value": as_json(best.metrics[self.goals[0][0]]),
        }  # fmt: skip

    def _failures(self) -> list[dict[str, Any]]:
        """Return the kinds of failures, told anew when there is another failure."""
        failed, now = self._counts[Status.FAILED], self._clock()
        if failed != self._kinds_of and (now >= self._kinds_due or self._stands is not None):
            self._kinds_of = failed
            self._kinds = [
                {
                    "error": kind.error, "message": kind.message, "where": kind.where, "count": len(kind.trials),
                    "trials": list(kind.trials[:SHOWN]), "apart": list(kind.apart),
                }
                for kind in triage.kinds(self.records)[:KINDS]
            ]  # fmt: skip
            self._kinds_due = self._clock() + _SHARE * (self._clock() - now)
        return self._kinds

    # --- how it is gathered ---

    def _ago(self, moment: datetime) -> float:
        return max(0.0, (self._now() - moment).total_seconds())

    def _reason(self, record: Record) -> str:
        """Return why a group did not finish, and what can be done."""
        if record.status is not Status.KILLED:
            return str(record.failure or "")
        why = record.failure.message if record.failure is not None else ""
        on = f"run its cell again to go on, or `ml-experiment resume {self.run_id[:8]}` in a terminal"
        return f"{why}: {on}" if why else on

    def _happened(self, key: str, event: Any) -> None:
        one = self.running.get(key)
        if isinstance(event, Note):
            self._note([event.text])
        if one is None:
            return
        if isinstance(event, Cell):
            one.at, one.share = f"cell {event.index}/{event.count}", (event.index - 1) / max(1, event.count)
        elif isinstance(event, Metrics):
            told = {name: value for name, value in event.values.items() if not name.startswith(SYSTEM)}
            wanted = [name for name, _ in self.goals if name in told] or list(told)
            if wanted:
                one.metric = (wanted[0], told[wanted[0]])
            if told and event.step is not None:
                one.at = f"step {event.step}"

    def _ended_one(self, record: Record) -> None:
        key = str(record.number) if record.number is not None else ""
        was_running = self.running.pop(key, None) is not None
        self._fresh += was_running or (self._is_seen_late and record.number is not None)
        self.records.append(record)
        self._counts[record.status] += 1
        self._ids.append(record.run_id or "")
        self._note(record.notes)
        values: dict[tuple[str, str], Any] = {("trial", "number"): -1 if record.number is None else record.number}
        values |= {("trial", "seconds"): record.seconds, ("trial", "status"): STATUSES.index(record.status)}
        values |= {("metrics", name): value for name, value in record.metrics.items()}
        values |= {("params", name): value for name, value in record.params.items() if self._shows(name)}
        for group, name in values:
            if (group, name) not in self._columns and self._has_room(group):
                self._column(group, name, [ABSENT] * (len(self.records) - 1))
        for place, column in self._columns.items():
            column.add(values.get(place, ABSENT))
        self._compare(record)

    def _column(self, group: str, name: str, values: Iterable[Any] = ()) -> None:
        self._columns[group, name] = Growing(group, name, list(values))

    def _has_room(self, group: str) -> bool:
        return sum(there == group for there, _ in self._columns) < MOST.get(group, math.inf)

    def _varied(self) -> list[str]:
        """Return the parameters that differ from trial to trial, as far as the plan knows."""
        if self._plan.table is not None:
            return list(self._plan.table.names)[: MOST["params"]]
        return list(getattr(self._plan.spec, "param_space", {}))[: MOST["params"]]

    def _shows(self, name: str) -> bool:
        return name not in self._plan.spec.params

    def _compare(self, record: Record) -> None:
        """Keep the records that none is better than; of one metric the first that has its best value."""
        if not self.goals or not record.ok:
            return
        costs = costs_of(record, self.goals)
        if costs is None or any(dominates(there, costs) for there, _ in self._front):
            return
        if len(self.goals) == 1 and any(there == costs for there, _ in self._front):
            return
        kept = [(there, one) for there, one in self._front if not dominates(costs, there)]
        self._front = [*kept, (costs, record)]

    def _note(self, notes: Iterable[str]) -> None:
        self._notes += [one for one in notes if one not in self._notes]

    # --- in words ---

    @property
    def ended(self) -> Records:
        """The records of the trials that have ended, in that order."""
        found = Records(self.records, None, *self._plan.goal)
        if len(self.goals) > 1:
            found.front = found.like(self.front)  # which was kept as they came: to find it anew takes long
        return found

    @property
    def name(self) -> str:
        """The group's name."""
        return self._plan.spec.name

    def numbers(self) -> str:
        """Return how far it is, in words."""
        counts, took = self.counts(), self._time()
        parts = [f"{counts['done']}/{counts['total']}" if counts["total"] else str(counts["done"])]
        parts += [f"{len(self.running)} running"] if self.running else []
        parts += [f"{counts[s]} {s}" for s in ("failed", "pruned", "killed") if counts[s]]
        if (best := self.best) is not None:
            parts.append(f"best {self.goals[0][0]} {number(best.metrics[self.goals[0][0]])}")
        if took["left"] is not None:
            parts.append(f"about {about(took['left'])} left")
        if self.status.ended:
            parts.append(f"{self.status} after {duration(took['took'] or 0.0)}")
        return ", ".join(parts)

    def __str__(self) -> str:
        return f"{self.name}: {self.numbers()}"


def _is_log(value: Any) -> bool:
    return isinstance(value, LogUniform) or (isinstance(value, tuple) and all(map(_is_log, value)))
