"""The output that holds a live view: made, kept up to date while the group runs, and left in its finished state."""

from __future__ import annotations

import math
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_experiment_nb import drivers
from ml_experiment_nb.errors import StillRunningError
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.records import Status
from ml_experiment_nb.updates import Started, Update
from ml_experiment_nb.widgets import control, live_html
from ml_experiment_nb.widgets.badge import badge_of_group
from ml_experiment_nb.widgets.bundle import bundle, cell_id, execution_id
from ml_experiment_nb.widgets.live import Delta, LiveGroup

EVERY = 0.25  # seconds between two deltas
SAVED = 20.0  # seconds between two states of the HTML, which is what a saved notebook has


class LiveOutput:
    """A cell's output with the live view of a group. A thread keeps it up to date, so that updates cost little.

    What fails in the view is said in its place, and the group goes on without it.

    Args:
        plan: What is run.
        folders: Where the folders of the project's runs are.
        table: Whether the HTML of a group that has ended has its trials, which a cell that ran it shows by itself.
    """

    def __init__(self, plan: Plan, folders: Path, *, table: bool = False) -> None:
        from IPython.display import display

        from ml_experiment_nb.widgets.live_widget import LiveWidget, keep

        self.group = LiveGroup(plan)
        self._folders = folders
        self._table = table
        self._lock = threading.RLock()
        self._name = uuid.uuid4().hex
        self._widget = LiveWidget(self._whole)
        keep(self._widget, cell_id(), execution_id())
        control.listen(self._name, self._asked)
        self._closed = threading.Event()
        self._has_failed = False
        self._saved = time.monotonic()
        self._handle: Any = display(self._bundle(), raw=True, display_id=True)
        self._thread = threading.Thread(target=self._keep_up, name="live view", daemon=True)
        self._thread.start()

    def take(self, update: Update) -> None:
        """Take what has happened into account."""
        with self._lock, self._apart():
            self.group.take(update)
            if isinstance(update, Started) and update.parent:
                self._saved = -math.inf  # a page that knows the run from its beginning can say that it runs

    def draw(self) -> None:
        """Do nothing: the thread draws."""

    def close(self) -> None:
        """Leave the view in its finished state; a group without a record of its own was stopped."""
        with self._lock, self._apart():
            self.group.end(Status.KILLED, "it was stopped: run its cell again to go on")
        self._finish()

    def leave(self, trouble: str) -> None:
        """Leave the view as it is, since no more can be known."""
        with self._lock, self._apart():
            self.group.leave(trouble)
        self._finish()

    @property
    def is_gone(self) -> bool:
        """Whether its cell was run again, and nobody sees this view any more."""
        return self._widget.comm is None

    def stop(self, run_id: str) -> str:
        """Ask for the group, or a trial that runs, to be stopped, as ``ml-experiment stop`` does.

        Raises:
            StillRunningError: It is no run of this group that runs.
        """
        with self._lock:
            if run_id not in self.group.runs():
                raise StillRunningError("it has ended")
        try:
            drivers.ask_to_stop(self._folders / run_id)
        except FileNotFoundError:
            raise StillRunningError("it has ended") from None
        with self._lock:
            self.group.stop_asked(run_id)
        return "it is being stopped"

    def _finish(self) -> None:
        self._closed.set()
        self._thread.join(5.0)
        control.forget(self._name)
        if not self._has_failed and not self.is_gone:
            with self._apart():
                self._save()
                last = self._whole()
                self._widget.whole = lambda: last  # the records are not kept for as long as the kernel lives

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Give the view up where something of it fails, and say so, once, in its place."""
        try:
            yield
        except Exception as error:
            if self._has_failed or self.is_gone:
                return
            self._has_failed = True
            self._closed.set()
            self._say_in_its_place(
                f"{self.group.name}: its live view failed and shows no more ({type(error).__name__}: {error}); the "
                f"group goes on: `%attach {self.group.run_id[:8]}` shows how it stands"
            )

    def _say_in_its_place(self, text: str) -> None:
        try:
            self._handle.update({"text/plain": text}, raw=True)
        except Exception:  # it may be what has failed
            print(f"note: {text}", file=sys.stderr)

    def _asked(self, asked: Mapping[str, Any]) -> str:
        match asked.get("verb"):
            case "stop":
                return self.stop(str(asked.get("run")))
            case "html":  # of a page that was reloaded while the cell runs, and has no widget until it ends
                return self._html()
            case _:
                self._widget.tell_all()
                return "all was sent"

    def _whole(self) -> Delta:
        with self._lock:
            whole = self.group.whole()
        return Delta({**whole.parts, "view": self._name}, whole.bytes)

    def _keep_up(self) -> None:
        while not self._closed.wait(EVERY) and not self.is_gone:
            with self._apart():
                if time.monotonic() - self._saved > SAVED:
                    self._save()
                else:
                    self._tell()

    def _tell(self) -> None:
        with self._lock:
            if (delta := self.group.delta()) is not None:
                self._widget.tell(delta)

    def _save(self) -> None:
        """Send all that there is, to pages and to the notebook that they save."""
        self._saved = time.monotonic()
        self._widget.tell_all()
        made = self._bundle()
        with self._lock:
            if not self._has_failed:  # meanwhile: what was said of that stays in its place
                self._handle.update(made, raw=True)

    def _bundle(self) -> dict[str, Any]:
        about = {"view": self._name, "running": not self.group.status.ended, **self._badge()}
        return bundle("group", text=str(self.group), html=self._html(), widget=self._widget, about=about)

    def _badge(self) -> dict[str, Any]:
        with self._lock:
            group = self.group
            return badge_of_group(group.run_id, group.status.value, group.best, [name for name, _ in group.goals])

    def _html(self) -> str:
        with self._lock:
            told, ended = live_html.head(self.group), self.group.ended
            table = self._table or not self.group.status.ended
        return live_html.with_trials(told, ended, table=table)  # drawn while the group goes on
