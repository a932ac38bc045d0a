import os
import socket
import sys

import pytest

from ml_experiment_nb.work.forkwire import Setup, hear, receive, say, send

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's")


@pytest.fixture
def pair():
    """Two ends of a connection that keeps packets apart."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


@pytest.fixture
def life():
    """Two ends of a child's life: who reads, and who writes."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", 0) as one, os.fdopen(writer, "wb", 0) as other:
        yield one, other


def test_a_setup_comes_back_as_it_was():
    setup = Setup("/x", ("/a",), ("json", "numpy"), "/payload", {"A": "ä"}, "/socket", "/a.ipynb", 3)
    assert Setup.decode(setup.encode()) == setup
    assert Setup.decode(Setup("/x").encode()) == Setup("/x")


def test_a_request_brings_its_descriptors_along(pair, life):
    assert send(pair[0], {"ask": "fork"}, life[1].fileno())
    message, [given] = receive(pair[1])
    assert message == {"ask": "fork"}
    say(given, 42)
    os.close(given)
    assert hear(life[0].fileno()) == 42


def test_packets_are_not_mixed(pair):
    assert send(pair[0], {"number": 1})
    assert send(pair[0], {"number": 2})
    assert [receive(pair[1])[0], receive(pair[1])[0]] == [{"number": 1}, {"number": 2}]


def test_nobody_at_the_other_end(pair):
    pair[1].close()
    assert not send(pair[0], {"ask": "fork"})
    assert receive(pair[0]) == (None, [])


def test_what_a_child_says_is_heard_in_order_and_then_that_it_is_gone(life):
    say(life[1].fileno(), 4711)
    say(life[1].fileno(), -9)
    life[1].close()
    assert [hear(life[0].fileno()) for _ in range(3)] == [4711, -9, None]


def test_a_slot_that_has_lost_interest_is_told_nothing(life):
    life[0].close()
    say(life[1].fileno(), 1)
