"""What has changed in a project: its runs and its jobs, looked at by one thread for all who want to know.

A look costs two questions to the file system. The store is asked when a database's file has been written, and not again
for a multiple of the time that this took; a store without a file is asked now and then.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from sqlalchemy.engine import make_url

from ml_experiment_nb import submissions
from ml_experiment_nb.backend.jobs import one_job
from ml_experiment_nb.backend.runs import one_run
from ml_experiment_nb.errors import ExperimentError, RunNotFoundError
from ml_experiment_nb.orphans import has_orphans
from ml_experiment_nb.projects import has_store
from ml_experiment_nb.readings import wanted
from ml_experiment_nb.records import Record
from ml_experiment_nb.stores import store_uri

EVERY = 1.0  # seconds between two looks
WITHOUT_FILE = 5.0  # seconds between two questions to a store that is no file
NEWEST = 200  # runs that are watched, besides all that go on
LONGEST = 5.0  # seconds that a store is left alone after a question, even if that was a long one
_SHARE = 50  # times as long as a question has kept the processor is waited for before the next one
_TICK = 50_000_000  # nanoseconds in which a file may be written twice and have one time
_ORPHANS = 10  # looks between two for runs whose driver is gone
Tell = Callable[[str, dict[str, Any]], None]


class _Seen(NamedTuple):
    """A run as it was at a look."""

    started: datetime
    ended: bool
    digest: int


class Watcher:
    """Looks at a project, and tells what has changed since the look before.

    Args:
        root: The project's root.
        server_root: The server's own folder.
        tell: Is given each event: its name, and what it says.
    """

    def __init__(self, root: Path, server_root: Path, tell: Tell) -> None:
        self._root = root
        self._server_root = server_root
        self._tell = tell
        self._runs: dict[str, _Seen] = {}
        self._jobs: dict[str, tuple[float, str, bool]] = {}
        self._written: object = None
        self._due = 0.0
        self._looks = 0
        self._trouble = ""

    def run(self, stopped: Event) -> None:
        """Look until that is to be stopped."""
        while not stopped.wait(EVERY):
            self.look()

    def begin(self) -> None:
        """Take note of how things stand, and tell nothing of it."""
        tell, self._tell = self._tell, lambda *_: None
        self.look()
        self._tell, self._due = tell, 0.0

    def look(self) -> None:
        """Look once, and tell what has changed, or why that can't be known."""
        try:
            self._look()
        except Exception as error:  # whatever it is, the next look may find it gone
            self._written = None
            said = str(error) if isinstance(error, ExperimentError) else f"{type(error).__name__}: {error}"[:2000]
            if said != self._trouble:
                self._trouble = said
                self._tell("trouble", {"message": said})

    def _look(self) -> None:
        self._look_at_jobs()
        self._looks += 1
        is_left = self._looks % _ORPHANS == 0 and has_store(self._root) and has_orphans(self._root, self._uri)
        if is_left or self._is_due():
            began = time.thread_time()  # which is the same on a busy machine
            try:
                self._look_at_runs()
            finally:
                rest = min(_SHARE * (time.thread_time() - began), LONGEST)
                self._due = max(self._due, time.monotonic() + rest)

    @property
    def _uri(self) -> str:
        return store_uri(self._root)

    def _is_due(self) -> bool:
        """Return whether the store may have changed, and was not asked just now."""
        if not has_store(self._root) or time.monotonic() < self._due:
            return False
        written = tuple(_stamps(self._uri))
        if not written:  # a store without a file
            self._due = time.monotonic() + WITHOUT_FILE
            return True
        if written == self._written:
            return False
        # Before it is read: what is written meanwhile is seen by the next look, as long as that has another time.
        is_settled = time.time_ns() - max(stamp for stamp, _ in written) > _TICK
        self._written = written if is_settled else None
        return True

    def _look_at_runs(self) -> None:
        newest, older = self._watched()
        found = [*newest, *older]
        now = {str(one.run_id): _seen(one) for one in found}
        changed = [one for one in found if self._runs.get(str(one.run_id)) != now[str(one.run_id)]]
        removed = []
        for run_id, seen in self._runs.items():
            if run_id in now or _has_made_room(seen, newest):
                continue
            record = None if seen.ended else self._asked_for(run_id)  # else it would be listed
            if record is None:
                removed.append(run_id)
            elif record.status.ended:
                changed.append(record)
            else:
                now[run_id] = seen  # more go on than are listed
        self._runs = now
        if self._trouble:
            self._trouble = ""
            self._tell("hello", {})
        elif changed or removed:
            self._tell("runs", {"changed": [one_run(one) for one in changed], "removed": removed})

    def _watched(self) -> tuple[Sequence[Record], Sequence[Record]]:
        """Return the newest runs, and those older ones that go on."""
        from ml_experiment_nb.listing import listed

        newest = listed(self._root, wanted(limit=NEWEST))
        if len(newest) < NEWEST:
            return newest, []
        known = {one.run_id for one in newest}
        older = listed(self._root, wanted(limit=NEWEST, status="running"))
        return newest, [one for one in older if one.run_id not in known]

    def _asked_for(self, run_id: str) -> Record | None:
        """Return a run that is in no list any more; None where it was deleted."""
        from ml_experiment_nb.sweeps import opened_store  # MLflow takes seconds to import

        store = opened_store(self._root)
        try:
            return None if store.is_deleted(run_id) else store.record(run_id)
        except RunNotFoundError:
            return None

    def _look_at_jobs(self) -> None:
        now: dict[str, tuple[float, str, bool]] = {}
        changed = []
        for name, written in submissions.folders(self._root):
            before = self._jobs.get(name)
            if before is not None and before[0] == written and before[2]:
                now[name] = before  # it has ended, and nothing was written since
                continue
            with suppress(ExperimentError):
                found = submissions.read(self._root, name)
                job = one_job(self._server_root, found)
                now[name] = (written, json.dumps(job), found.state.ended)
                if before is None or before[1] != now[name][1]:
                    changed.append(job)
        removed = [name for name in self._jobs if name not in now]
        self._jobs = now
        if changed or removed:
            self._tell("jobs", {"changed": changed, "removed": removed})


def _stamps(uri: str) -> Iterator[tuple[int, int]]:
    """Yield when a database's file, and what is written ahead of it, were written, and how large they are."""
    if not uri.startswith("sqlite"):
        return
    path = make_url(uri).database or ""
    for one in (path, f"{path}-wal"):
        try:
            found = os.stat(one)
            yield found.st_mtime_ns, found.st_size
        except OSError:
            yield 0, 0


def _seen(record: Record) -> _Seen:
    """Return what tells a state of a run from another: all but how long it has taken so far."""
    seconds = round(record.seconds, 3) if record.status.ended else 0
    values = (record.status, record.name, seconds, record.params, record.metrics, record.tags, record.notes)
    return _Seen(record.started, record.status.ended, hash(repr(values)))


def _has_made_room(seen: _Seen, newest: Sequence[Record]) -> bool:
    """Return whether a run that had ended isn't listed only because there are enough newer ones."""
    return seen.ended and len(newest) >= NEWEST and seen.started <= min(one.started for one in newest)
