import functools
import math
import threading
from contextlib import suppress

import numpy as np
import pytest

from ml_experiment_nb import reports, wire
from ml_experiment_nb.errors import MetricError
from ml_experiment_nb.events import Answer, Metrics, Note, Params
from ml_experiment_nb.reports import Pruned, report


class Gathered:
    """A sink that keeps what it gets, and prunes at a given step."""

    def __init__(self, artifacts, prune_at=math.inf):
        self.artifacts = artifacts
        self.events = []
        self.prune_at = prune_at

    def send(self, event):
        self.events.append(event)

    def ask(self, event):
        self.events.append(event)
        return Answer(event.step >= self.prune_at)

    def metrics(self):
        return [(event.values, event.step) for event in self.events if isinstance(event, Metrics)]

    def notes(self):
        return [event.text for event in self.events if isinstance(event, Note)]


@pytest.fixture
def sink(tmp_path, monkeypatch):
    for name in (wire.SOCKET, reports.PRUNING):
        monkeypatch.delenv(name, raising=False)
    found = Gathered(tmp_path)
    with reports.local_sink(found):
        yield found


@pytest.fixture
def outside(monkeypatch):
    monkeypatch.delenv(wire.SOCKET, raising=False)


# ------------------------------------------------------------------------------------------------ report()


def test_report_records_numbers_with_their_step(sink):
    report({"a b": np.float32(0.5)}, step=np.int64(7), c=True)
    assert sink.metrics() == [({"a b": 0.5, "c": 1.0}, 7)]
    assert type(sink.events[0].step) is int


def test_report_counts_the_steps_of_each_metric(sink):
    report(a=1)
    report(a=2)
    report(b=1)
    report(a=3, b=2)
    assert [step for _, step in sink.metrics()] == [0, 1, 0, 2]


def test_report_counts_on_from_a_step_that_was_given(sink):
    report(a=1, step=5)
    report(a=2)
    assert [step for _, step in sink.metrics()] == [5, 6]


def test_steps_begin_anew_with_a_run(sink, tmp_path):
    report(a=1)
    other = Gathered(tmp_path)
    with reports.local_sink(other):
        report(a=1)
    assert other.metrics() == [({"a": 1.0}, 0)]


def test_report_outside_of_a_run_warns_where_it_was_called(outside):
    with pytest.warns(UserWarning, match="outside of a run") as caught:
        report(a=1)
    assert caught[0].filename == __file__


def test_artifact_outside_of_a_run_warns(outside):
    with pytest.warns(UserWarning, match="outside of a run"):
        reports.artifact("a", "text")


def test_artifact_keeps_a_file(sink, tmp_path):
    reports.artifact("notes", "some text")
    assert (tmp_path / "notes.txt").read_text() == "some text"


@pytest.mark.parametrize("value", ["0.5", None, [1], np.array([1, 2]), {}], ids=str)
def test_report_refuses_what_is_no_number(sink, value):
    with pytest.raises(MetricError, match=r"report\(a=…\).*this is a"):
        report(b=1, a=value)
    assert sink.events == []


def test_report_refuses_no_number_even_outside_of_a_run(outside):
    with pytest.raises(MetricError):
        report(a="x")


def test_names_that_are_no_text_become_text(sink):
    report({1: 0.5})
    assert sink.metrics() == [({"1": 0.5}, 0)]


def test_no_exception_handler_of_a_training_loop_swallows_pruned(sink, monkeypatch):
    monkeypatch.setenv(reports.PRUNING, "1")
    sink.prune_at = 0

    def train():
        with suppress(Exception):
            report(a=1)

    with pytest.raises(Pruned, match="step 0"):
        train()


# ------------------------------------------------------------------------------------------------ results


@pytest.mark.parametrize(
    ("value", "metrics"),
    [
        ({"a": 1, "b": np.float64(0.5)}, [({"a": 1.0, "b": 0.5}, None)]),
        (({"a": 1}, {}), [({"a": 1.0}, None)]),
        ({1: 0.5}, [({"1": 0.5}, None)]),
        ({}, []),
        (None, []),
        ("text", []),
        (0.5, []),
        ([{"a": 1}], []),
        (({"a": 1}, {}, {}), []),
        ((1, 2), []),
    ],
    ids=str,
)
def test_metrics_of_a_result(sink, value, metrics):
    reports.send_result(value, sink)
    assert sink.metrics() == metrics


def test_artifacts_of_a_result_are_files(sink, tmp_path):
    reports.send_result(({"a": 1}, {"notes": "text", "weights": np.arange(3)}), sink)
    assert (tmp_path / "notes.txt").read_text() == "text"
    assert np.load(tmp_path / "weights.npy").tolist() == [0, 1, 2]
    assert sink.notes() == []


def test_an_artifact_that_can_not_be_saved_is_a_note_and_the_others_are_kept(sink, tmp_path):
    reports.send_result(({"a": 1}, {"../x": "text", "lock": threading.Lock(), "ok": "text"}), sink)
    assert [note.split("'")[1] for note in sink.notes()] == ["../x", "lock"]
    assert [path.name for path in tmp_path.iterdir()] == ["ok.txt"]


def test_what_is_no_metric_in_a_result_is_a_note_in_the_order_of_the_result(sink):
    reports.send_result({"z": "text", "val": {"acc": 0.5}, "ok": 1, 3: None}, sink)
    assert sink.metrics() == [({"ok": 1.0}, None)]
    assert [note.partition(",")[0] for note in sink.notes()] == [
        "returned 'z' is a str",
        "returned 'val' is a dict",
        "returned '3' is a NoneType",
    ]


@pytest.mark.parametrize("value", [0.5, 3, np.float64(0.5)])
def test_a_bare_number_is_a_note_that_says_how_to_record_it(sink, value):
    reports.send_result(value, sink)
    assert "val_accuracy" in sink.notes()[0]


def test_true_alone_is_left_alone(sink):
    reports.send_result(True, sink)
    assert sink.events == []


# ------------------------------------------------------------------------------------------------ call()


def test_a_function_is_called_and_recorded(sink):
    def train(C, kernel="rbf"):
        return {"acc": C}

    assert reports.call(train, {"C": 0.5}, sink) == {"acc": 0.5}
    assert sink.events[0] == Params({"C": 0.5})
    assert sink.metrics() == [({"acc": 0.5}, None)]


def test_the_yields_of_a_generator_are_steps(sink):
    def train():
        yield {"loss": 2}
        yield {"loss": 1}

    assert reports.call(train, {}, sink) == {"loss": 1}
    assert sink.metrics() == [({"loss": 2.0}, 0), ({"loss": 1.0}, 1)]


def test_the_return_value_of_a_generator_is_the_result(sink):
    def train():
        yield {"loss": 2}
        return {"acc": 0.9}

    assert reports.call(train, {}, sink) == {"acc": 0.9}
    assert sink.metrics() == [({"loss": 2.0}, 0), ({"acc": 0.9}, None)]


def test_an_empty_generator_gives_nothing(sink):
    assert reports.call(lambda: (x for x in ()), {}, sink) is None
    assert sink.metrics() == []


def test_a_generator_that_yields_no_metrics_is_refused_and_closed(sink):
    closed = []

    def train():
        try:
            yield 0.5
        finally:
            closed.append(True)

    with pytest.raises(MetricError, match="yielded a float"):
        reports.call(train, {}, sink)
    assert closed == [True]


def test_pruning_closes_the_generator(sink, monkeypatch):
    monkeypatch.setenv(reports.PRUNING, "1")
    sink.prune_at = 2
    closed = []

    def train():
        try:
            for k in range(100):
                yield {"loss": k}
        finally:
            closed.append(k)

    with pytest.raises(Pruned):
        reports.call(train, {}, sink)
    assert closed == [2]
    assert sink.metrics()[-1] == ({"loss": 2.0}, 2)


def test_a_partial_is_called_like_any_function(sink):
    assert reports.call(functools.partial(lambda a, b: {"s": a + b}, 1), {"b": 2}, sink) == {"s": 3}


def test_a_failing_function_raises_its_own_error(sink):
    def train():
        raise KeyError("x")

    with pytest.raises(KeyError):
        reports.call(train, {}, sink)


def test_a_generator_that_a_cell_returns_is_not_taken_for_metrics_in_silence(sink):
    reports.send_result(({"loss": x} for x in range(3)), sink)
    assert sink.metrics() == []
    [note] = sink.notes()
    assert note.startswith("a generator was returned, and nothing of it was run")


def test_a_number_without_a_name_is_told():
    with pytest.raises(MetricError, match=r"report\(0.5\): write the metric's name with it, report\(loss=0.5\)"):
        report(0.5)


def test_a_step_is_a_whole_number(sink):
    with pytest.raises(MetricError, match=r"report\(step='a'\): a step is a whole number"):
        report(loss=1, step="a")
