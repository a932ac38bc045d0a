import io
import math
import sys
from datetime import UTC, datetime

import pytest

from ml_experiment_nb import progress
from ml_experiment_nb.events import Cell, Log
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.progress import Console, Progress, show_progress, stopping
from ml_experiment_nb.quantities import about
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.updates import Happened, Started


def record(number, value, status=Status.FINISHED, kind="trial"):
    metrics = {} if value is None else {"acc": value}
    return Record("id", "n", "e", kind, status, {}, metrics, datetime.now(UTC), 1.0, number=number)


UPDATES = [
    Started("", "n", "id", parent=True),
    Started("0", "n #0", "id"),
    Started("1", "n #1", "id"),
    Happened("0", Log("text")),
    Happened("1", Cell(2, 5)),
    record(0, 0.5),
    Started("2", "n #2", "id"),
    record(1, 0.9, Status.PRUNED),
    record(2, math.nan),
    Started("3", "n #3", "id"),
    record(3, 0.75),
    record(None, None, kind="group"),
]


@pytest.fixture
def plan(project):
    (project / "train.py").write_text("")
    metric = {"name": "acc", "direction": "maximize"}
    keys = {"name": "svm [x]", "run": "train.py", "param_space": {"C": "uniform(0, 1)"}, "num_trials": 4}
    return make_plan(spec_from_mapping({**keys, "metric": metric}))


def test_what_is_counted():
    state = Progress(4, "acc", maximize=True)
    told = []
    for update in UPDATES:
        state.take(update)
        told.append(str(state).partition(", about")[0])
    assert told == [
        "0/4",
        "0/4, 1 running",
        "0/4, 2 running",
        "0/4, 2 running",
        "0/4, 2 running",
        "1/4, 1 running, best acc 0.5",
        "1/4, 2 running, best acc 0.5",
        "2/4, 1 running, 1 pruned, best acc 0.5",
        "3/4, 1 pruned, best acc 0.5",
        "3/4, 1 running, 1 pruned, best acc 0.5",
        "4/4, 1 pruned, best acc 0.75",
        "4/4, 1 pruned, best acc 0.75",
    ]


def test_the_time_that_is_left(monkeypatch):
    clock = iter([100.0, 130.0, 130.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    state = Progress(5)
    state.take(record(0, None))
    assert str(state) == "1/5"  # it was there when the group went on
    state.take(Started("1", "g #1", "run1"))
    state.take(record(1, None))
    assert str(state) == "2/5, about 90 s left"
    assert str(Progress(None)) == "0"


def test_minimize():
    state = Progress(2, "acc", maximize=False)
    for update in (record(0, 0.5), record(1, 0.9)):
        state.take(update)
    assert state.best == 0.5


def test_quiet_when_not_a_terminal(plan, capsys):
    records = [update for update in UPDATES if isinstance(update, Record)]
    assert list(show_progress(plan, UPDATES)) == records
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_in_a_terminal(plan, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert len(list(show_progress(plan, UPDATES))) == 5
    assert "svm [x]" in terminal.getvalue()  # markup in a name is no markup


def test_whoever_stops_looking_stops_the_plan(plan):
    stopped = []

    def updates():
        try:
            yield from UPDATES
        finally:
            stopped.append(True)

    running = updates()
    shown = show_progress(plan, running)
    assert next(shown).number == 0
    shown.close()
    assert stopped == [True]

    running = updates()
    next(running)
    with stopping(running):
        pass
    assert stopped == [True, True]


def test_the_cell_that_a_notebook_is_at_in_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Console(terminal) as console:
        console.at(Cell(1, 3, "import os"))
        console.write("half")
        console.at(Cell(2, 3, "fit()"))  # not into the middle of a line
        console.write(" a line\n")
    pieces = terminal.getvalue().replace("\r\x1b[2K", "|").split("|")
    assert pieces[:5] == ["", "cell 1/3  0 s  import os", "half a line\n", "cell 2/3  0 s  fit()", ""]


def test_the_cells_where_nobody_looks(capsys):
    with Console(sys.stdout) as console:
        for event in (Cell(1, 2, "import os"), Cell(2, 2)):
            console.at(event)
        console.write("\r 10%")
        console.write("\r100%\nlast")
    assert capsys.readouterr() == ("100%\nlast\n", "cell 1/2  import os\ncell 2/2\n")


def test_a_line_for_each_cell_in_a_terminal_too(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Console(terminal, plain=True) as console:
        console.at(Cell(1, 2, "import os"))
    assert terminal.getvalue() == "cell 1/2  import os\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (8.4, "8 s"),
        (51.87, "50 s"),
        (90, "90 s"),
        (150, "2 min"),
        (3599, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_what_is_reckoned_is_told_roughly(seconds, text):
    assert about(seconds) == text
