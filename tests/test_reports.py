import functools
import itertools
import json
import math
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest

from ml_experiment_nb import events, reports, wire
from ml_experiment_nb.errors import MetricError
from ml_experiment_nb.events import Answer, Ask, Cell, Done, Log, Metrics, Note, Params, decode, encode
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.reports import Pruned, report
from ml_experiment_nb.wire import Inbox


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


@pytest.fixture
def inbox(tmp_path, monkeypatch):
    """An inbox that this process is told of, as a task is."""
    found = Inbox()
    monkeypatch.setenv(wire.SOCKET, found.path)
    monkeypatch.setenv(wire.ARTIFACTS, str(tmp_path))
    monkeypatch.delenv(reports.PRUNING, raising=False)
    yield found
    found.close()


def take(inbox, count):
    """Read until `count` events have come."""
    events = []
    while len(events) < count:
        wait_for(inbox)
        events += inbox.read()
    return events


def wait_for(inbox):
    import select

    ready, _, _ = select.select(inbox.sockets(), [], [], 20)
    assert ready, "nothing came within 20 s"


def connect(inbox):
    line = socket.socket(socket.AF_UNIX)
    line.connect(inbox.path)
    return line


class Odd:
    def __repr__(self):
        return "<odd>"


class Broken:
    def __repr__(self):
        raise RuntimeError("no")


# ------------------------------------------------------------------------------------------------ the wire


@pytest.mark.parametrize(
    "event",
    [
        Log("naïve\n\x00\x1b[31m ☃ \ud800"),
        Log(""),
        Metrics({"loss": 0.5, "a b/c-d": -1e300}, step=3, time=1.5, ask=True),
        Metrics({"loss": math.inf, "other": -math.inf}, time=1.5),
        Metrics({}, time=0.0),
        Params({"C": 0.5, "kernel": "rbf", "layers": [1, [2, None]], "deep": {"a": {"b": True}}}),
        Cell(3, 10),
        Note("line\r\nline"),
        Ask("suggest", {"name": "lr", "low": 1e-5, "choices": ["a", None, True]}),
        Done(Outcome(Status.FINISHED)),
        Done(Outcome(Status.FAILED, Failure("ValueError", "no: 'x'\n", "Traceback\n"))),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_comes_back_as_it_was_sent(event):
    line = encode(event)
    assert decode(line) == event
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def test_nan_comes_back():
    event = decode(encode(Metrics({"loss": math.nan})))
    assert math.isnan(event.values["loss"])


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(0.5), 0.5),
        (np.array([1, 2]), "array([1, 2])"),
        (Odd(), "<odd>"),
        ({1, 2}, "{1, 2}"),
        ((1, 2), [1, 2]),
        (Fraction(1, 2), 0.5),
        (b"ab", "b'ab'"),
        (1 + 2j, "(1+2j)"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ({np.int64(1): 3}, "{np.int64(1): 3}"),
        ([threading.Lock], "built-in"),
        (itertools.count(), "count(0)"),
    ],
    ids=str,
)
def test_parameters_of_any_type_can_be_sent(value, read):
    found = decode(encode(Params({"x": value}))).values["x"]
    assert (read in str(found)) if read == "built-in" else found == read


def test_a_value_that_holds_itself_can_be_sent():
    value = []
    value.append(value)
    assert decode(encode(Params({"x": value, "C": 1}))).values == {"x": "[[...]]", "C": "1"}


def test_a_value_without_a_repr_can_be_sent():
    (text,) = decode(encode(Params({"x": Broken()}))).values.values()
    assert "Broken" in text


def test_sending_does_not_copy_the_value():
    class Precious:
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    assert "Precious" in decode(encode(Params({"x": Precious()}))).values["x"]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.25), 0.25),
        (np.array([[0.25]]), 0.25),
        (np.bool_(False), 0.0),
        (Fraction(1, 4), 0.25),
        (np.array([1, 2]), None),
        (np.array([]), None),
        (np.str_("1"), None),
        ("1", None),
        (None, None),
        ({}, None),
        (np.float64, None),
        (10**400, None),
        (1j, None),
    ],
    ids=str,
)
def test_what_counts_as_a_number(value, number):
    assert events.as_number(value) == number


def test_an_object_that_fails_to_give_its_item_is_no_number():
    class Strange:
        size = np.array([1, 2])

        def item(self):
            raise KeyError("item")

    assert events.as_number(Strange()) is None


# ------------------------------------------------------------------------------------------------ the inbox


def test_several_writers_reach_one_inbox_whole(inbox):
    def write(name):
        own = reports.SocketSink(inbox.path)
        for k in range(200):
            own.send(Metrics({name: float(k)}, step=k))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    events = take(inbox, 800)
    for thread in threads:
        thread.join()
    for name in "abcd":
        assert [event.step for event in events if name in event.values] == list(range(200))


def test_threads_of_one_writer_do_not_mix_their_lines(inbox):
    text = "x" * 100_000
    threads = [threading.Thread(target=lambda: reports.active_sink().send(Note(text))) for _ in range(8)]
    for thread in threads:
        thread.start()
    events = take(inbox, 8)
    for thread in threads:
        thread.join()
    assert events == [Note(text)] * 8


def test_half_a_line_of_a_killed_writer_is_dropped_and_the_rest_kept(inbox):
    whole = encode(Note("whole"))
    with connect(inbox) as line:
        line.sendall(whole + b'{"event": "Note", "te')
    with connect(inbox) as line:
        line.sendall(whole)
    assert take(inbox, 2) == [Note("whole")] * 2
    assert inbox.read() == []
    assert len(inbox.sockets()) == 1


def test_a_line_may_come_in_pieces(inbox):
    whole = encode(Note("é" * 10))
    with connect(inbox) as line:
        for k in range(len(whole)):
            assert inbox.read() == []
            line.sendall(whole[k : k + 1])
        assert take(inbox, 1) == [Note("é" * 10)]


def test_a_large_message_comes_whole(inbox):
    text = "0123456789" * 500_000
    writer = threading.Thread(target=lambda: reports.active_sink().send(Note(text)))
    writer.start()
    events = take(inbox, 1)
    writer.join()
    assert events == [Note(text)]


def test_reading_ends_though_a_writer_never_pauses(inbox):
    stop = threading.Event()

    def flood():
        with connect(inbox) as line:
            while not stop.is_set():
                line.sendall(encode(Note("x" * 1000)) * 100)

    writer = threading.Thread(target=flood)
    writer.start()
    try:
        wait_for(inbox)
        assert take(inbox, 1000)  # each read returns
    finally:
        stop.set()
        while writer.is_alive():
            inbox.read()
        writer.join()


def test_each_writer_gets_its_own_verdict(inbox):
    verdicts = {}

    def ask(name):
        verdicts[name] = reports.SocketSink(inbox.path).ask(Metrics({name: 1.0}, 0, ask=True))

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for event in take(inbox, 3):
        inbox.answer(Answer("b" in event.values))
    for thread in threads:
        thread.join()
    assert verdicts == {"a": Answer(False), "b": Answer(True), "c": Answer(False)}


def test_the_verdict_for_a_writer_that_died_goes_to_nobody_else(inbox):
    with connect(inbox) as line:
        line.sendall(encode(Metrics({"dead": 1.0}, 0, ask=True)))
    (first,) = take(inbox, 1)
    assert "dead" in first.values
    verdict = []
    alive = threading.Thread(
        target=lambda: verdict.append(reports.SocketSink(inbox.path).ask(Metrics({"alive": 1.0}, 0, ask=True)))
    )
    alive.start()
    take(inbox, 1)
    inbox.answer(Answer(True))  # for the dead one
    inbox.answer(Answer(False))
    alive.join()
    assert verdict == [Answer(False)]


def test_an_answer_that_nobody_waits_for_is_no_error(inbox):
    inbox.answer(Answer(True))


def test_closing_leaves_no_folder():
    inbox = Inbox()
    line = connect(inbox)
    inbox.read()
    inbox.close()
    assert not os.path.exists(os.path.dirname(inbox.path))
    assert line.recv(1) == b""
    line.close()


def test_report_waits_for_the_verdict(inbox, monkeypatch):
    monkeypatch.setenv(reports.PRUNING, "1")
    ended = []

    def train():
        try:
            for step in range(10):
                report(step=step, loss=1.0)
        except Pruned:
            ended.append(step)

    worker = threading.Thread(target=train)
    worker.start()
    for prune in (False, False, True):
        (event,) = take(inbox, 1)
        assert event.ask
        inbox.answer(Answer(prune))
    worker.join()
    assert ended == [2]


def test_a_forked_process_writes_lines_of_its_own(inbox):
    """Through the sink that its parent holds: the usual case of a job that starts a multiprocessing pool."""
    own = reports.active_sink()
    with reports.local_sink(own):
        report(who=0)
        children = []
        for who in (1, 2):
            pid = os.fork()
            if pid == 0:
                try:
                    report(who=who)
                    told = reports.active_sink().ask(Metrics({"who": who}, 1, ask=True))
                    os._exit(0 if told == Answer(who == 2) else 3)
                finally:
                    os._exit(4)
            children.append(pid)
        events = take(inbox, 5)
        for event in events:
            if event.ask:
                inbox.answer(Answer(event.values["who"] == 2))
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
        report(who=3)
    assert take(inbox, 1)[0].values == {"who": 3}


def test_a_writer_ends_when_its_reader_is_gone(tmp_path):
    inbox = Inbox()
    code = "from ml_experiment_nb import report\nreport(a=1)\ninput()\nreport(a=2)\nprint('on')"
    env = os.environ | {wire.SOCKET: inbox.path, wire.ARTIFACTS: str(tmp_path), reports.PRUNING: ""}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        take(inbox, 1)
        inbox.close()
        out, _ = writer.communicate("\n")
    assert (writer.returncode, out) == (1, "")


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


def test_lines_are_plain_json():
    assert json.loads(encode(Cell(1, 2))) == {"event": "Cell", "index": 1, "count": 2, "title": ""}
