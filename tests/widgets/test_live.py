from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from fractions import Fraction

from made_trials import BEGAN, BOOM, group, started, trial

from ml_experiment_nb.events import Cell, Metrics, Note
from ml_experiment_nb.records import Failure, Status
from ml_experiment_nb.updates import Happened, Started


def values(delta):
    """Return the columns of a delta, as a page reads them."""
    found = {}
    for head, data in zip(delta.parts.get("columns", ()), delta.bytes, strict=True):
        size, kind = (4, "i") if head["kind"] == "text" else (8, "d")
        found[f"{head['group']}.{head['name']}"] = [*struct.unpack(f"<{len(data) // size}{kind}", data)]
    return found


def test_a_group_is_told_whole_first_and_then_what_is_new(make, clock):
    view = make()
    view.take(Started("", "svm", "parent", parent=True))
    assert dict(view.whole().parts) == {
        "seq": 0,
        "about": {
            "name": "svm: x", "unit": "trial", "goals": [["acc", True]], "logs": ["C"], "slots": 2, "executor": "ray",
            "workers": "", "statuses": ["running", "finished", "failed", "pruned", "killed"],
        },
        "run": "parent",
        "state": ["running", "", False],
        "counts": {
            "running": 0, "finished": 0, "failed": 0, "pruned": 0, "killed": 0, "done": 0, "total": 4,
        },
        "best": None, "front": [], "running": [], "failures": [], "notes": [0, []],
        "time": {"took": 0.0, "left": None},
    }  # fmt: skip
    assert view.delta().parts["run"] == "parent"  # nothing was told by a delta before
    assert view.delta() is None

    view.take(started(0, {"C": 0.5, "kernel": "rbf"}))
    clock.seconds = 1.5
    view.take(Happened("0", Metrics({"loss": 3.0, "acc": 0.25, "system/cpu": 9.0}, step=7)))
    delta = view.delta()
    assert sorted(delta.parts) == ["counts", "running", "seq", "time"]
    assert delta.parts["running"] == [
        {
            "key": "0", "name": "svm #0", "run": "run0", "since": 0.0, "params": "C=0.5, kernel=rbf", "at": "step 7",
            "share": None, "metric": ["acc", 0.25], "stopping": False,
        }
    ]  # fmt: skip

    clock.seconds = 2.0
    view.take(trial(0, params={"C": 0.5, "kernel": "rbf"}, acc=0.75, loss=1.0))
    delta = view.delta()
    assert sorted(delta.parts) == ["best", "columns", "count", "counts", "ids", "running", "seq", "time"]
    assert delta.parts["best"] == {
        "number": 0, "name": "svm #0", "run": "run0", "params": [["C", "0.5"], ["kernel", "rbf"]], "metric": "acc",
        "value": 0.75,
    }  # fmt: skip
    assert (delta.parts["time"], delta.parts["ids"], delta.parts["seq"]) == ({"took": 2.0, "left": 6.0}, ["run0"], 3)
    assert values(delta) == {
        "trial.number": [0.0], "trial.status": [1.0], "trial.seconds": [2.0], "metrics.acc": [0.75], "params.C": [0.5],
        "params.kernel": [0], "metrics.loss": [1.0],
    }  # fmt: skip
    view.take(trial(1, params={"C": 5, "kernel": None}, acc=0.5))
    delta = view.delta()
    assert "best" not in delta.parts
    assert {name: found for name, found in values(delta).items() if name in ("params.C", "params.kernel")} == {
        "params.C": [5.0], "params.kernel": [1],
    }  # fmt: skip
    assert [head for head in delta.parts["columns"] if head["name"] == "kernel"] == [
        {"group": "params", "name": "kernel", "kind": "text", "from": 1, "texts": ["None"], "textsFrom": 1}
    ]
    assert math.isnan(values(delta)["metrics.loss"][0])
    assert values(view.whole())["params.kernel"] == [0, 1]


def test_a_column_of_numbers_becomes_one_of_texts_and_is_sent_again(make):
    view = make()
    view.take(trial(0, params={"kernel": 2}))
    assert values(view.delta())["params.kernel"] == [2.0]
    view.take(trial(1, params={"kernel": "rbf"}))
    delta = view.delta()
    head = next(one for one in delta.parts["columns"] if one["name"] == "kernel")
    assert (head["kind"], head["from"], head["texts"]) == ("text", 0, ["2", "rbf"])
    assert values(delta)["params.kernel"] == [0, 1]
    view.take(trial(2, params={"kernel": 10**400, "C": True}))
    assert view.delta() is not None


def test_fractions_are_numbers_but_those_that_no_float_holds(make):
    view = make()
    view.take(trial(0, params={"C": Fraction(1, 4), "kernel": Fraction(10**400, 3)}, acc=0.5))
    assert values(view.delta())["params.C"] == [0.25]
    assert values(view.whole())["params.kernel"] == [0]


def test_what_a_trial_is_at(make):
    view = make()
    view.take(started(0))
    view.take(started(1))
    view.take(Happened("0", Cell(3, 4, "fit")))
    view.take(Happened("1", Metrics({"loss": math.nan})))
    view.take(Happened("9", Cell(1, 4)))  # of a trial whose slot was lost
    first, second = view.parts()["running"]
    assert (first["at"], first["share"], first["metric"]) == ("cell 3/4", 0.5, None)
    assert (second["at"], second["metric"]) == ("", ["loss", "NaN"])
    json.dumps(view.parts(), allow_nan=False)


def test_failures_are_told_by_cause_and_notes_once(make):
    view = make()
    for number in (0, 1):
        view.take(trial(number, Status.FAILED, {"C": 50.0 + number}, BOOM, notes=("run cold",)))
    view.take(trial(2, params={"C": 1.0}, acc=0.5))
    view.take(Happened("2", Note("svm #2 is tried again: the node is gone")))
    parts = view.parts()
    told = {
        "error": "ValueError", "message": "too <large>", "where": "train.py, line 12, in fit", "count": 2,
        "trials": [0, 1], "apart": ["C is above 1 where it failed (50 to 51), not where it finished"],
    }  # fmt: skip
    assert parts["failures"] == [told]
    assert parts["notes"] == [2, ["run cold", "svm #2 is tried again: the node is gone"]]


def test_of_several_metrics_none_is_best_and_those_that_none_is_better_than_are_the_front(make):
    view = make(metric={"acc": "maximize", "size": "minimize"})
    for number, (acc, size) in enumerate([(0.5, 10), (0.7, 30), (0.4, 20), (0.7, 20), (0.7, 20), (math.nan, 1)]):
        view.take(trial(number, acc=acc, size=size))
    view.take(trial(9, Status.PRUNED, acc=1.0, size=0))
    assert [one.number for one in view.front] == [0, 3, 4]
    assert (view.best, view.parts()["best"], view.parts()["front"]) == (None, None, [0, 3, 4])


def test_of_one_metric_the_first_with_the_best_value_is_best_whichever_way(make):
    for direction, best in (("maximize", 1), ("minimize", 0)):
        view = make(metric={"name": "acc", "direction": direction})
        for number, acc in enumerate([0.1, 0.9, 0.9, 0.1]):
            view.take(trial(number, acc=acc))
        assert view.best.number == best


def test_a_group_without_a_metric_and_one_of_rows(make):
    view = make(metric=None, param_space=None, num_trials=None, each=[{"C": 1}, {"C": 2, "g": "x"}])
    assert view.whole().parts["about"]["unit"] == "row"
    assert view.whole().parts["about"]["goals"] == []
    view.take(trial(0, params={"C": 1}, loss=2.0))
    assert (view.best, view.front) == (None, [])
    assert values(view.delta())["metrics.loss"] == [2.0]
    assert view.numbers() == "1/2"


def test_what_is_stopped_says_so_and_what_can_be_done(make):
    view = make()
    view.take(Started("", "svm", "parent0123", parent=True))
    view.take(started(0))
    view.take(started(1))
    assert view.runs() == {"parent0123", "run0", "run1"}
    view.stop_asked("run1")
    assert [one["stopping"] for one in view.parts()["running"]] == [False, True]
    view.stop_asked("parent0123")
    assert view.parts()["state"] == ["running", "", True]
    view.take(group(Status.KILLED, Failure("KeyboardInterrupt", "stopped by me")))
    state = view.parts()["state"]
    assert state[0] == "killed"
    assert state[1] == "stopped by me: run its cell again to go on, or `ml-experiment resume parent01` in a terminal"
    assert (view.runs(), view.parts()["running"]) == (set(), [])
    view.end(Status.FINISHED)  # as an output that is closed does
    assert view.status is Status.KILLED


def test_trials_that_were_there_before_count_and_tell_nothing_of_the_time_that_is_left(make, clock):
    view = make()
    view.take(trial(0, acc=0.1))
    view.take(replace(trial(1, acc=0.2), number=None))
    clock.seconds = 10.0
    assert view.delta().parts["time"] == {"took": 10.0, "left": None}
    assert values(view.whole())["trial.number"] == [0.0, -1.0]
    view.take(Started("2", "svm #2", "run2"))
    clock.seconds = 13.0
    view.take(trial(2, acc=0.3))
    assert view.delta().parts["time"] == {"took": 13.0, "left": 3.0}


def test_a_group_that_began_before_it_was_looked_at(make, clock):
    clock.seconds = 100.0
    view = make()
    view.since(BEGAN)
    view.take(started(0))
    assert view.parts()["running"][0]["since"] == 0.0
    assert view.delta().parts["time"]["took"] == 100.0
    view.take(group())
    view.lasted(9.0)
    assert view.numbers() == "0/4, finished after 9.00 s"


def test_the_clock_of_a_group_of_which_no_more_is_known_stands_still(make, clock):
    view = make()
    view.take(started(0))
    clock.seconds = 2.0
    view.take(trial(0, acc=0.1))
    view.leave("its driver is on faraway")
    clock.seconds = 50.0
    assert view.delta().parts["time"] == {"took": 2.0, "left": None, "still": True}
    assert view.parts()["state"] == ["running", "its driver is on faraway", False]
