"""A user's own functions, called with the records of a plan while it runs, and notices of its end.

Nothing calls back up: who drives a plan iterates over what happens, and these see it on the way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from ml_experiment_nb import writing
from ml_experiment_nb.entries import notes_text
from ml_experiment_nb.errors import SpecError, StoreError
from ml_experiment_nb.notices import message_of, tell
from ml_experiment_nb.plans import Plan, Spec
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.records import Failure, Record, Records, Status, now
from ml_experiment_nb.specs import Group
from ml_experiment_nb.sweeps import opened_store
from ml_experiment_nb.updates import Started, Update

HOOKS = ("on_start", "on_record", "on_end")


def watched(plan: Plan, updates: Iterable[Update], callbacks: Any = ()) -> Iterator[Update]:
    """Hand on what happens in a plan, and call the user's functions meanwhile; in the end tell who is to be told.

    Args:
        plan: What is being done.
        updates: What happens.
        callbacks: A function, or an object with ``on_start(record)``, ``on_record(record)`` or ``on_end(records)``; or
            a list of them. What one raises is a note of the run.

    Raises:
        SpecError: One of them is neither.
    """
    watch = PlanCallbacks(plan.spec, callbacks, goal=plan.goal, nested=plan.nested)
    return _watched(watch, updates) if watch.is_needed else iter(updates)


def _watched(watch: PlanCallbacks, updates: Iterable[Update]) -> Iterator[Update]:
    try:
        for update in updates:
            match update:
                case Started(record=Record() as record):
                    watch.start(record, parent=update.parent)
                    yield update
                case Record():
                    yield watch.take(update)
                case _:
                    yield update
    except Exception as error:
        watch.broken(error)
        raise
    finally:
        if isinstance(updates, Generator):
            updates.close()
        watch.end()


@contextmanager
def watching(spec: Spec, callbacks: Any = ()) -> Iterator[PlanCallbacks]:
    """Call the user's functions around a run of this process, and tell its end; its `open` is told the run."""
    watch = PlanCallbacks(spec, callbacks)
    try:
        yield watch
    finally:
        if watch.live is not None and watch.live.record is not None and watch.is_needed:
            writing.wait(writing.EXIT)
            watch.take(watch.live.record)
        watch.end()


class PlanCallbacks:
    """Who is called and told of a plan, and what they have been told so far.

    Args:
        spec: What was asked.
        callbacks: See `watched`.
        goal: The group's metrics, and which way each.
        nested: Whether the last record is that of the run which the others belong to.
    """

    def __init__(
        self, spec: Spec, callbacks: Any, *, goal: tuple[Any, ...] = (None, False), nested: bool = False
    ) -> None:
        self.live: OpenRun | None = None
        self._spec = spec
        self._callbacks = read_callbacks(callbacks)
        self._goal = goal
        self._parent: str | None = None
        self._nested = nested
        self._done: list[Record] = []
        self._problems: list[str] = []
        self._ended = False
        self._began = now()

    @property
    def is_needed(self) -> bool:
        """Whether there is anybody."""
        return bool(self._callbacks) or self._spec.notify is not None

    def open(self, live: OpenRun) -> None:
        """Say that a run of this process was opened."""
        self.live = live
        if self._callbacks:
            self.start(replace(live.first, params=dict(live.params)))

    def start(self, record: Record, *, parent: bool = False) -> None:
        """Say that a run has begun; whether it is the one which the others belong to."""
        if parent:
            self._parent = record.run_id
        self._call("on_start", record)

    def take(self, record: Record) -> Record:
        """Say that a run has ended, and return its record: of the last one, with what went wrong here."""
        self._call("on_record", record)
        if self._nested and (self._parent is None or record.run_id != self._parent):
            self._done.append(record)
            return record
        return self._last(record)

    def broken(self, error: Exception) -> None:
        """Say that the plan itself has failed: nobody will come to know its last record."""
        if not self._ended and self._spec.notify is not None:
            seconds = (now() - self._began).total_seconds()
            name, failure = self._spec.name, Failure(type(error).__name__, "")
            last = Record(
                self._parent, name, name, self._spec.kind, Status.FAILED, {}, {}, self._began, seconds, failure=failure
            )
            self._tell(last, self._records(None))

    def end(self) -> None:
        """Say that there will be no more, unless that was said."""
        if not self._ended:
            self._ended = True
            self._call("on_end", self._records(None))

    def _last(self, record: Record) -> Record:
        self._ended = True
        records = self._records(record) if self._nested else Records([record], None, *self._goal)
        self._call("on_end", records)
        self._tell(record, records)
        if not self._problems or record.run_id is None:
            return record
        noted = replace(record, notes=(*record.notes, *self._problems))
        with suppress(StoreError):  # they were printed
            opened_store(make=True).set_tags(record.run_id, {"mlexp.notes": notes_text(noted.notes)})
        return noted

    def _records(self, parent: Record | None) -> Records:
        return Records(self._done, parent, *self._goal)

    def _call(self, hook: str, value: Record | Records) -> None:
        for callback in self._callbacks:
            function = getattr(callback, hook, None) or (callback if hook == "on_record" else None)
            if callable(function):
                try:
                    function(value)
                except Exception as error:
                    what = f"{getattr(callback, '__name__', type(callback).__name__)}"
                    self._note(f"the callback {what} failed in {hook}: {type(error).__name__}: {error}")

    def _tell(self, last: Record, done: Records) -> None:
        if self._spec.notify is not None:
            drawn = self._spec.param_space if isinstance(self._spec, Group) else ()
            for problem in tell(self._spec.notify, message_of(last, done, drawn)):
                self._note(problem)

    def _note(self, problem: str) -> None:
        if problem not in self._problems:  # of a thousand trials it is said once
            self._problems.append(problem)
            print(f"note: {problem}", file=sys.stderr)


def read_callbacks(value: Any) -> tuple[Callable[..., Any] | object, ...]:
    """Return what is given as ``callbacks``, one or a list of them.

    Raises:
        SpecError: Something in it can't be called.
    """
    found = tuple(value) if isinstance(value, Sequence) else () if value is None else (value,)
    for one in found:
        if not callable(one) and not any(callable(getattr(one, hook, None)) for hook in HOOKS):
            raise SpecError(
                f"{type(one).__name__} is no callback: give a function of a record, or an object with one of "
                f"{', '.join(HOOKS)}",
                key="callbacks",
            )
    return found
