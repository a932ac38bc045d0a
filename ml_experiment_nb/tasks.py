"""Where a plan's tasks come from, and what is made of their outcomes: listed, a table's rows, or a study's trials."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ml_experiment_nb import events
from ml_experiment_nb.errors import MetricError, nearest
from ml_experiment_nb.events import Answer, Ask, Metrics
from ml_experiment_nb.interrupts import held_back
from ml_experiment_nb.plans import Plan, Task
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Failure, Outcome, Record, Records, Status
from ml_experiment_nb.rows import Table, results, results_text
from ml_experiment_nb.specs import Group
from ml_experiment_nb.trials import Suggestion, answered

if TYPE_CHECKING:
    from ml_experiment_nb.search import Search


class Tasks(Protocol):
    """The tasks of a plan while it runs, one at a time."""

    def kept(self) -> list[Record]:
        """Return the records of earlier tasks that count among these."""

    def tags(self) -> dict[str, str]:
        """Return tags for the run that all tasks belong to."""

    def next(self) -> Task | None:
        """Return the next task; None when there is none."""

    def answer(self, key: str, event: Metrics | Ask, live: OpenRun) -> Answer:
        """Answer a task that waits: whether it is given up after metrics, or what its code asks of its trial."""

    def tell(self, key: str, outcome: Outcome, metrics: Mapping[str, float]) -> Outcome:
        """Take note of a task's end, and return the outcome that its record has."""

    def close(self) -> None:
        """Close what was begun and never told."""

    def outcome(self, done: list[Record]) -> Outcome:
        """Return the outcome of all tasks together."""

    def summary(self, done: list[Record]) -> tuple[dict[str, float], dict[str, str]]:
        """Return the metrics and tags of the run that all tasks belong to."""

    def keep(self, parent: OpenRun, done: list[Record]) -> None:
        """Keep files with the run that all tasks belong to."""


def tasks_of(plan: Plan, root: Path) -> Tasks:
    """Return where a plan's tasks come from."""
    if plan.table is not None:
        return _Rows(plan, plan.table)
    return _Trials(plan, root) if isinstance(plan.spec, Group) else _Listed(plan)


class _Listed:
    """The tasks of a job or an experiment: in order, failing fast."""

    def __init__(self, plan: Plan) -> None:
        self._waiting = plan.tasks()
        self._failed = False

    def kept(self) -> list[Record]:
        return []

    def tags(self) -> dict[str, str]:
        return {}

    def next(self) -> Task | None:
        return self._waiting.pop(0) if self._waiting and not self._failed else None

    def answer(self, key: str, event: Metrics | Ask, live: OpenRun) -> Answer:
        return live.judge(event)

    def tell(self, key: str, outcome: Outcome, metrics: Mapping[str, float]) -> Outcome:
        self._failed = outcome.status is not Status.FINISHED
        return outcome

    def close(self) -> None:
        pass

    def outcome(self, done: list[Record]) -> Outcome:
        last = done[-1]
        return Outcome(last.status, last.failure)

    def summary(self, done: list[Record]) -> tuple[dict[str, float], dict[str, str]]:
        return {name: value for record in done for name, value in record.metrics.items()}, {}

    def keep(self, parent: OpenRun, done: list[Record]) -> None:
        pass


class _Rows:
    """The tasks of a group with a table: a row each, in order; one that fails stops none of the others."""

    def __init__(self, plan: Plan, table: Table) -> None:
        self._plan = plan
        self._table = table
        self._kept = list(plan.again.kept) if plan.again else []
        there = {one.number for one in self._kept}
        self._waiting = (one for one in enumerate(table.rows) if one[0] not in there)

    def kept(self) -> list[Record]:
        return [_with_params(one, self._plan, self._table.rows[one.number or 0]) for one in self._kept]

    def tags(self) -> dict[str, str]:
        return {"mlexp.rows": str(len(self._table.rows))} | ({"mlexp.each": f} if (f := self._table.file) else {})

    def next(self) -> Task | None:
        found = next(self._waiting, None)
        return None if found is None else self._plan.trial(*found)

    def answer(self, key: str, event: Metrics | Ask, live: OpenRun) -> Answer:
        return live.judge(event)

    def tell(self, key: str, outcome: Outcome, metrics: Mapping[str, float]) -> Outcome:
        return outcome

    def close(self) -> None:
        pass

    def outcome(self, done: list[Record]) -> Outcome:
        failed = sorted((record for record in done if not record.ok), key=lambda record: record.number or 0)
        if not failed:
            return Outcome(Status.FINISHED)
        why = f"row {failed[0].number}: {failed[0].failure or failed[0].status}"
        return Outcome(
            Status.FAILED, Failure("TaskError", f"{len(failed)} of {len(done)} rows did not finish; the first: {why}")
        )

    def summary(self, done: list[Record]) -> tuple[dict[str, float], dict[str, str]]:
        return _summary(self._plan, done, self._table.names)

    def keep(self, parent: OpenRun, done: list[Record]) -> None:
        came = list(dict.fromkeys(name for record in done for name in record.metrics))
        for metric in self._plan.group.metrics if done else ():
            if metric.name not in came:
                parent.add(events.Note(f"no row reported {metric.name!r}{nearest(metric.name, came)}"))
        try:
            text = results_text(results(done, self._table.names))
            (parent.artifacts / "results.csv").write_text(text, encoding="utf-8", errors="backslashreplace")
        except Exception as error:  # a value of the user's whose text can't be had: the run is still to be closed
            parent.add(events.Note(f"results.csv could not be written: {error!r}"))


class _Trials:
    """The tasks of a group: drawn one by one from its study."""

    def __init__(self, plan: Plan, root: Path) -> None:
        with held_back():
            from ml_experiment_nb.search import Search

        self._plan = plan
        self._metric = plan.group.metrics[0].name if len(plan.group.metrics) == 1 else None
        name = "".join(c if c.isalnum() else "-" for c in plan.spec.name)
        self._search = Search(plan.group, root, f"{name}-{os.urandom(4).hex()}", plan.again)
        if plan.taken is not None:
            self._search.take(plan.taken)

    def kept(self) -> list[Record]:
        plan = self._plan
        if plan.taken is not None:
            return [replace(one.record, params=one.params) for one in plan.taken.trials]
        found = plan.again.kept if plan.again else ()
        return [_with_params(one, plan, self._search.params(one)) for one in found]

    def tags(self) -> dict[str, str]:
        return {"mlexp.study": self._search.name, "mlexp.storage": self._search.storage}

    def next(self) -> Task | None:
        draw = self._search.ask()
        return None if draw is None else self._plan.trial(draw.number, draw.params, draw.repeats)

    def answer(self, key: str, event: Metrics | Ask, live: OpenRun) -> Answer:
        if isinstance(event, Ask):
            return answered(event, _Drawn(self._search, int(key), self._metric), live)
        if self._metric not in event.values or event.step is None:
            return Answer(False)
        return Answer(self._search.report(int(key), event.values[self._metric], event.step))

    def tell(self, key: str, outcome: Outcome, metrics: Mapping[str, float]) -> Outcome:
        try:
            self._search.tell(int(key), outcome, metrics)
        except MetricError as error:
            return Outcome(Status.FAILED, Failure("MetricError", str(error)))
        return outcome

    def close(self) -> None:
        self._search.close()

    def outcome(self, done: list[Record]) -> Outcome:
        if any(record.ok for record in done):
            return Outcome(Status.FINISHED)
        why = next((str(record.failure) for record in done if record.failure), "no trial was run")
        return Outcome(Status.FAILED, Failure("TaskError", f"no trial finished; the first: {why}"))

    def summary(self, done: list[Record]) -> tuple[dict[str, float], dict[str, str]]:
        return _summary(self._plan, done, [*self._plan.group.param_space, *self._search.suggested])

    def keep(self, parent: OpenRun, done: list[Record]) -> None:
        pass


def _with_params(record: Record, plan: Plan, given: Mapping[str, Any]) -> Record:
    """Return a record that was read from the store with its parameters as values, where they are known."""
    return replace(record, params={**record.params, **plan.spec.params, **given})


class _Drawn:
    """The `Source` of a trial: its study."""

    def __init__(self, search: Search, number: int, metric: str | None) -> None:
        self.number = number
        self.metric = metric
        self._search = search

    def suggest(self, wanted: Suggestion) -> Any:
        return self._search.suggest(self.number, wanted)

    def set_attr(self, name: str, value: Any) -> None:
        self._search.set_attr(self.number, name, value)


def _called(record: Record) -> str:
    """Return a trial's number, or of one that another group has run the beginning of its id."""
    return str(record.number) if record.number is not None else str(record.run_id)[:8]


def _summary(plan: Plan, done: list[Record], names: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Return what a group's own run says of its trials: the best one's metric, and tags, with that one's `names`."""
    counts = {f"mlexp.trials.{s}": str(sum(r.status is s for r in done)) for s in Status if s.ended}
    records = Records(done, None, *plan.goal)
    if len(plan.group.metrics) > 1:
        return {}, {**counts, "mlexp.front": ",".join(_called(record) for record in records.front)}
    best = records.best
    if best is None or records.metric is None:
        return {}, counts
    chosen = {f"mlexp.best.{name}": str(best.params[name]) for name in names if name in best.params}
    tags = {**counts, "mlexp.best_run": best.run_id or "", **chosen}
    return {records.metric: best.metrics[records.metric]}, tags
