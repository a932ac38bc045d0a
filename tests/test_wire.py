import os
import socket
import subprocess
import sys
import threading

import pytest

from ml_experiment_nb import reports, wire
from ml_experiment_nb.events import Answer, Metrics, Note, encode
from ml_experiment_nb.reports import Pruned, report
from ml_experiment_nb.wire import Inbox


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


def test_several_writers_reach_one_inbox_whole(inbox):
    def write(name):
        own = wire.SocketSink(inbox.path)
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
        verdicts[name] = wire.SocketSink(inbox.path).ask(Metrics({name: 1.0}, 0, ask=True))

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
        target=lambda: verdict.append(wire.SocketSink(inbox.path).ask(Metrics({"alive": 1.0}, 0, ask=True)))
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
