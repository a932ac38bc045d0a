"""The two ends of a worker's connection, in one process, without Ray."""

import socket
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import pytest

from ml_experiment_nb import events
from ml_experiment_nb.errors import WorkerFailedError
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.work.distributed import Hub
from ml_experiment_nb.work.ranks import Link, Work

FINISHED = Outcome(Status.FINISHED)


class Sink:
    def __init__(self, artifacts):
        self.artifacts = artifacts
        self.events = []

    def send(self, event):
        self.events.append(event)

    def ask(self, event):
        self.events.append(event)
        return events.Answer(event.values["loss"] > 1)


@pytest.fixture
def sink(tmp_path):
    return Sink(tmp_path / "artifacts")


@pytest.fixture
def hub(sink):
    found = Hub(sink, 2, "127.0.0.1")
    yield found
    found.close()


@pytest.fixture
def link(hub, tmp_path):
    def connect(rank):
        work = Work(b"", True, hub.address, hub.key, "", "", "", (), {}, False)
        return Link(work, rank, tmp_path / f"of-{rank}")

    return connect


def until(true):
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def end_all(*links):
    for one in links:
        one.end(FINISHED, b"")


def test_rank_0_alone_is_heard(hub, sink, link):
    first, second = link(0), link(1)
    for rank, one in enumerate((first, second)):
        one.send(events.Metrics({"loss": rank}, step=0))
    end_all(first, second)
    assert [one.values for one in sink.events] == [{"loss": 0}]
    assert hub.all_finished
    assert not hub.stopped.is_set()


def test_a_verdict_comes_back(hub, link):
    one = link(0)
    asked = [events.Metrics({"loss": loss}, ask=True) for loss in (0.5, 2)]
    assert [one.ask(event) for event in asked] == [events.Answer(False), events.Answer(True)]
    one.end(FINISHED, b"")


def test_files_arrive_whole_whatever_their_size(hub, sink, link):
    one = link(0)
    (one.artifacts / "sub").mkdir()
    files = {"a b.bin": bytes(range(256)) * 9000, "empty": b"", "sub/lines.txt": b"one\ntwo\n"}
    for name, data in files.items():
        (one.artifacts / name).write_bytes(data)
    one.send_files()
    one.end(FINISHED, b"")
    assert {name: (sink.artifacts / name).read_bytes() for name in files} == files


def test_what_is_printed(hub, sink, link, capsys):
    first, second = link(0), link(1)
    for piece in ("grüß".encode()[:3], "grüß".encode()[3:], b"e\n"):
        first.write(b"L", piece)
    second.write(b"L", b"other\n")
    end_all(first, second)
    assert capsys.readouterr().out == "grüße\n"
    assert (sink.artifacts / "record/rank-1.txt").read_bytes() == b"other\n"


def test_a_worker_that_ends_without_a_word_is_the_cause_though_another_speaks_first(hub, link):
    first, second = link(0), Client(hub.address, authkey=hub.key)
    second.send_bytes(b'H{"rank": 1, "pid": 17, "host": "there"}')
    failed = Outcome(Status.FAILED, Failure("RuntimeError", "Connection closed by peer"))
    threading.Thread(target=first.end, args=(failed, b""), daemon=True).start()
    until(hub.stopped.is_set)
    second.close()
    until(lambda: hub._lost)
    cause = hub.cause()
    assert isinstance(cause, WorkerFailedError)
    assert cause.name == "TaskDiedError"
    assert cause.message.startswith("rank 1 of 2 (process 17 on there) was lost")
    hub.say_goodbye()


def test_the_first_exception_is_the_cause(hub, link):
    first, second = link(0), link(1)
    for rank, one in ((1, second), (0, first)):
        failed = Outcome(Status.FAILED, Failure("ValueError", f"of {rank}", "Traceback ..."))
        threading.Thread(target=one.end, args=(failed, b""), daemon=True).start()
        until(lambda rank=rank: rank in hub._ends)
    cause = hub.cause()
    assert (cause.name, cause.message, cause.traceback) == ("ValueError", "rank 1: of 1", "Traceback ...")
    assert cause.__notes__ == ["On rank 1:\nTraceback ..."]
    hub.say_goodbye()


def test_a_worker_hears_that_nobody_is_left_to_work_for(hub):
    worker = Client(hub.address, authkey=hub.key)
    worker.send_bytes(b'H{"rank": 0, "pid": 17, "host": "there"}')
    until(lambda: hub._connections)
    hub.close()
    assert worker.poll(10)
    with pytest.raises((EOFError, ConnectionError)):
        worker.recv_bytes()
    until(lambda: not {"workers", "worker"} & {thread.name for thread in threading.enumerate()})


def test_who_says_nothing_holds_nobody_up(hub, link):
    with socket.create_connection(hub.address):
        end_all(link(0), link(1))
    assert hub.all_finished


def test_who_has_not_the_key_is_turned_away(hub, link):
    with pytest.raises(AuthenticationError):
        Client(hub.address, authkey=b"guessed")
    end_all(link(0), link(1))
    assert hub.all_finished
