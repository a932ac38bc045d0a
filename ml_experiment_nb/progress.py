"""How far a plan is, for people: a bar in a terminal, a line under a cell, nothing where nobody looks."""

from __future__ import annotations

import html
import shutil
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TextIO

import click
from rich.cells import set_cell_size

from ml_experiment_nb import drivers
from ml_experiment_nb.capture.console import Collapser
from ml_experiment_nb.events import Cell
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import find_root, home
from ml_experiment_nb.quantities import about
from ml_experiment_nb.records import Record, Status, duration, number
from ml_experiment_nb.updates import Happened, Readied, Started, Update
from ml_experiment_nb.widgets.bundle import NEEDED, has_front_end, has_widgets
from ml_experiment_nb.work.shell import current_shell

EVERY = 0.25  # seconds between two pictures


@dataclass
class Progress:
    """What a picture of a running plan shows."""

    total: int | None
    metric: str | None = None
    maximize: bool = False
    running: dict[str, str] = field(default_factory=dict)
    ended: dict[Status, int] = field(default_factory=dict)
    best: float | None = None
    first: float | None = None
    """When the first task began: what comes before it, such as Ray's start, says nothing of the others."""
    kept: int = 0
    """How many had ended by then, where a group goes on."""
    readying: str = ""
    """What is said while the tasks' container is made ready."""

    @property
    def done(self) -> int:
        """How many tasks have ended."""
        return sum(self.ended.values())

    def take(self, update: Update) -> None:
        """Take what has happened into account."""
        match update:
            case Readied(text):
                self.readying = text
            case Started(parent=True):
                self.readying = ""
            case Started(key=key, parent=False):
                if self.first is None:
                    self.first, self.kept = time.monotonic(), self.done
                self.running[key] = ""
            case Happened(key=key, event=Cell(index, count)):
                self.running[key] = f"cell {index}/{count}"
            case Record(kind="group"):
                pass
            case Record() as record:
                self.running.pop(str(record.number if record.number is not None else ""), None)
                self.ended[record.status] = self.ended.get(record.status, 0) + 1
                self._compare(record)

    def _compare(self, record: Record) -> None:
        value = record.metrics.get(self.metric or "")
        if record.ok and value is not None and value == value:
            pick = max if self.maximize else min
            self.best = value if self.best is None else pick(value, self.best)

    def __str__(self) -> str:
        if self.readying:
            return self.readying
        parts = [f"{self.done}/{self.total}" if self.total else str(self.done)]
        parts += [f"{len(self.running)} running"] if self.running else []
        parts += [f"{n} {status}" for status, n in self.ended.items() if status is not Status.FINISHED]
        parts += [f"best {self.metric} {number(self.best)}"] if self.best is not None else []
        if self.total and self.first is not None and self.kept < self.done < self.total:
            left = (time.monotonic() - self.first) / (self.done - self.kept) * (self.total - self.done)
            parts.append(f"about {about(left)} left")
        return ", ".join(parts)


def show_progress(plan: Plan, updates: Iterable[Update], *, only_notebook: bool = False) -> Iterator[Record]:
    """Show how far a plan is while its updates come, and hand its records on.

    Args:
        plan: What is run.
        updates: What happens.
        only_notebook: Show it under a notebook's cell, and nothing in a terminal.
    """
    metrics, maximize = plan.goal
    only = (metrics[0], maximize[0]) if len(metrics) == 1 else (None, False)  # of several metrics none is the best
    state = Progress(plan.total, *only)
    picture = _picture(plan, state, terminal=not only_notebook)
    drawn = 0.0
    with stopping(updates), closing(picture):
        for update in updates:
            state.take(update)
            picture.take(update)
            if isinstance(update, Started) or time.monotonic() - drawn > EVERY:
                picture.draw()
                drawn = time.monotonic()
            if isinstance(update, Record):
                yield update


@contextmanager
def stopping(updates: Iterable[Update]) -> Iterator[None]:
    """Stop a running plan when the block is left before its end: now, and not when the generator is collected."""
    try:
        yield
    finally:
        if isinstance(updates, Generator):
            updates.close()


class Console:
    """What a notebook's cells print, and below it, on standard error, the cell that it is at.

    On a terminal that is a line, rewritten, with the time since the cell began; elsewhere each cell has a line of its
    own, and of a progress bar that the code draws only the last state is written.

    Args:
        out: Where to write what the cells print.
        plain: Write a line for each cell on a terminal too.
    """

    def __init__(self, out: TextIO, *, plain: bool = False) -> None:
        self._out = out
        self._collapser = None if out.isatty() else Collapser()
        self._rewrites = sys.stderr.isatty() and not plain
        self._cell: Cell | None = None
        self._began = 0.0
        self._at_line_start = True
        self._drawn = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()
        self.clear()
        if self._collapser is not None and (rest := self._collapser.flush()):
            click.echo(rest, self._out)

    def at(self, cell: Cell) -> None:
        """Say which cell the notebook is at."""
        if not self._rewrites:
            click.echo(f"cell {cell.index}/{cell.count}  {cell.title}".rstrip(), sys.stderr)
            return
        with self._lock:
            self._cell, self._began = cell, time.monotonic()
            self._draw()
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, name="cell line", daemon=True)
            self._ticker.start()

    def write(self, text: str) -> None:
        """Write what a cell has printed, above the line."""
        if self._collapser is not None:
            text = self._collapser.feed(text)
        if not text:
            return
        with self._lock:
            self._wipe()
            click.echo(text, self._out, nl=False)
            if self._collapser is None:
                self._at_line_start = text.endswith("\n")
            self._draw()

    def clear(self) -> None:
        """Take the line away: nothing runs any more."""
        with self._lock:
            self._wipe()
            self._cell = None

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self._cell is None or not self._at_line_start:  # the code is in the middle of a line of its own
            return
        width = shutil.get_terminal_size().columns - 1
        seconds = int(time.monotonic() - self._began)
        took = f"{seconds} s" if seconds < 60 else duration(seconds)
        text = f"cell {self._cell.index}/{self._cell.count}  {took}  {self._cell.title}"
        line = set_cell_size(text, width).rstrip()
        click.echo(f"\r\x1b[2K{line}", sys.stderr, nl=False)
        self._drawn = True

    def _wipe(self) -> None:
        if self._drawn:
            click.echo("\r\x1b[2K", sys.stderr, nl=False)
            self._drawn = False


class _Picture(Protocol):
    """What shows a plan while it runs."""

    def take(self, update: Update) -> None:
        """Take what has happened into account, where the state of `Progress` doesn't say enough."""

    def draw(self) -> None:
        """Show how it stands."""

    def close(self) -> None:
        """Show how it stands for the last time."""


class _Nothing:
    """Nobody looks."""

    def take(self, update: Update) -> None:
        """Take nothing into account."""

    def draw(self) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """Close nothing."""


class _Terminal(_Nothing):
    """One line, rewritten."""

    def __init__(self, plan: Plan, state: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._state = state
        self._bar = Bar(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
            TextColumn("{task.fields[text]}", markup=False), TimeElapsedColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(plan.spec.name, total=state.total, text="")
        self._bar.start()

    def draw(self) -> None:
        self._bar.update(self._task, completed=self._state.done, total=self._state.total, text=str(self._state))

    def close(self) -> None:
        self._bar.stop()


class _Notebook(_Nothing):
    """A line under the cell, rewritten; its last state stays."""

    def __init__(self, plan: Plan, state: Progress) -> None:
        from IPython.display import display

        self._plan = plan
        self._state = state
        self._handle: Any = display(self._bundle(), raw=True, display_id=True)

    def draw(self) -> None:
        self._handle.update(self._bundle(), raw=True)

    def close(self) -> None:
        self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        text = f"{self._plan.spec.name}: {self._state}"
        total = f" max={self._state.total}" if self._state.total else ""
        bar = f"<progress value={self._state.done}{total}></progress> {html.escape(text)}"
        return {"text/plain": text, "text/html": bar}


def _picture(plan: Plan, state: Progress, *, terminal: bool) -> _Picture:
    shell = current_shell()
    if shell is not None and hasattr(shell, "kernel"):
        return _live(plan) or _Notebook(plan, state)
    return _Terminal(plan, state) if terminal and sys.stderr.isatty() else _Nothing()


def is_live(plan: Plan) -> bool:
    """Whether a plan has a live view, which says all of it that there is to say: a group in a person's notebook."""
    return plan.kind == "group" and has_front_end() and has_widgets()


def _live(plan: Plan) -> _Picture | None:
    """Return the live view of a group, where a person's front end can show it."""
    if not is_live(plan):
        if plan.kind == "group" and has_front_end():
            print(NEEDED, file=sys.stderr)
        return None
    from ml_experiment_nb.widgets.live_output import LiveOutput  # which loads ipywidgets

    return LiveOutput(plan, drivers.folders(home(find_root())))
