"""The wire between a task and its driver: a Unix socket that all processes of the task write to.

Its path stands in their environment, so that a script, the kernel of a notebook and any process they start all reach
the same run.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from ml_experiment_nb.events import Answer, Ask, Event, Metrics, decode, decode_answer, encode, encode_answer, waits
from ml_experiment_nb.projects import SOCKETS

SOCKET = "ML_EXPERIMENT_SOCKET"
ARTIFACTS = "ML_EXPERIMENT_ARTIFACTS"
READ_AT_ONCE = 1 << 20  # bytes after which a writer's reader turns to what else there is to do


class SocketSink:
    """The writing end of the stream: a connection to the inbox at `path`, in a forked process one of its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.artifacts = Path(os.environ[ARTIFACTS])
        self._connect()

    def send(self, event: Event) -> None:
        """Write one line. A reader that is gone is no fault of the user's code."""
        with self._own_lock():
            self._write(event)

    def ask(self, event: Metrics | Ask) -> Answer:
        """Write one line and wait for the answer."""
        with self._own_lock():
            self._write(event)
            line = self._lines.readline()
        return decode_answer(line) if line else Answer(error="nobody is left to answer")

    def _connect(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self.path)
        self._lines = self._socket.makefile("r", encoding="utf-8")

    def _own_lock(self) -> threading.Lock:
        if self._process != os.getpid():  # forked: the parent's lines and answers must not mix with ours
            self._connect()
        return self._lock

    def _write(self, event: Event) -> None:
        line = encode(event)
        try:
            self._socket.sendall(line)
        except ConnectionError:
            os._exit(1)  # nobody is left to work for


class Inbox:
    """The reading end: a Unix socket in a private folder, with as many writers as the task has processes."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mlexp-", dir=SOCKETS)
        self.path = os.path.join(self._folder, "s")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(64)
        self._server.setblocking(False)
        self._rests: dict[socket.socket, bytearray] = {}
        self._asking: list[socket.socket] = []

    def sockets(self) -> list[socket.socket]:
        """Return what to wait on for reading."""
        return [self._server, *self._rests]

    def read(self) -> list[Event]:
        """Return what has arrived, without waiting; of a writer that never pauses, a part of it."""
        events: list[Event] = []
        while (connection := self._accept()) is not None:
            self._rests[connection] = bytearray()
        for connection in list(self._rests):
            events += self._read_one(connection)
        return events

    def answer(self, answer: Answer) -> None:
        """Answer the writer that has waited longest."""
        if self._asking:
            with suppress(OSError):  # the writer may be gone by now
                self._asking.pop(0).sendall(encode_answer(answer))

    def close(self) -> None:
        """Close every connection and remove the folder."""
        for one in self.sockets():
            one.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> socket.socket | None:
        try:
            connection, _ = self._server.accept()
        except BlockingIOError:
            return None
        return connection

    def _read_one(self, connection: socket.socket) -> list[Event]:
        data = self._rests[connection]
        seen = len(data)
        while len(data) - seen < READ_AT_ONCE:
            try:
                more = connection.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                more = b""
            if not more:
                del self._rests[connection]
                connection.close()
                break
            data += more
        end = data.rfind(b"\n", seen) + 1
        events = _decode_lines(data[:end])
        del data[:end]  # what a writer that was killed leaves behind its last newline is never read
        self._asking += [connection] * sum(map(waits, events))
        return events


def _decode_lines(data: bytes | bytearray) -> list[Event]:
    return [decode(line) for line in data.splitlines()]
