"""What has changed in a project: its runs and its jobs, looked at by one thread for all who want to know.

A look costs two questions to the file system. The store is asked when a database's file has been written, and not again
for a multiple of the time that this took; a store without a file is asked now and then.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from sqlalchemy.engine import make_url

from ml_experiment_nb import submissions
from ml_experiment_nb.backend.jobs import one_job
from ml_experiment_nb.backend.runs import one_run
from ml_experiment_nb.errors import ExperimentError
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
_ORPHANS = 10  # looks between two for runs whose driver is gone
Tell = Callable[[str, dict[str, Any]], None]


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
        self._runs: dict[str, str] = {}
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
        """Look once, and tell what has changed."""
        self._look_at_jobs()
        self._looks += 1
        is_left = self._looks % _ORPHANS == 0 and has_store(self._root) and has_orphans(self._root, self._uri)
        if is_left or self._is_due():
            began = time.thread_time()  # which is the same on a busy machine
            self._look_at_runs()
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
        self._written = written  # before it is read: what is written meanwhile is seen by the next look
        return True

    def _look_at_runs(self) -> None:
        try:
            found = self._watched()
        except ExperimentError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._tell("trouble", {"message": str(error)})
            return
        now = {str(one.run_id): _digest(one) for one in found}
        changed = [one for one in found if self._runs.get(str(one.run_id)) != now[str(one.run_id)]]
        removed = self._removed(found, now)
        self._runs = now
        if self._trouble:
            self._trouble = ""
            self._tell("hello", {})
        elif changed or removed:
            self._tell("runs", {"changed": [one_run(one) for one in changed], "removed": removed})

    def _watched(self) -> list[Record]:
        from ml_experiment_nb.listing import listed

        newest = list(listed(self._root, wanted(limit=NEWEST)))
        if len(newest) < NEWEST:
            return newest
        known = {one.run_id for one in newest}
        older = listed(self._root, wanted(limit=NEWEST, status="running"))
        return [*newest, *(one for one in older if one.run_id not in known)]

    def _removed(self, found: list[Record], now: dict[str, str]) -> list[str]:
        """Return those that are gone, and didn't only make room for newer ones."""
        gone = [one for one in self._runs if one not in now]
        if not gone or len(found) < NEWEST:
            return gone
        oldest = min(one.started.timestamp() for one in found)
        return [one for one in gone if float(self._runs[one].partition(" ")[0]) > oldest]

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


def _digest(record: Record) -> str:
    """Return what tells a state of a run from another: all but how long it has taken so far."""
    seconds = round(record.seconds, 3) if record.status.ended else 0
    values = (record.status, record.name, seconds, record.params, record.metrics, record.tags, record.notes)
    return f"{record.started.timestamp()} {hash(repr(values))}"
