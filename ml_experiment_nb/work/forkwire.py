"""What a fork server and those who use it say to each other.

A request is one packet over a socket: JSON, and the descriptors that go with it. The answer comes over a pipe that the
request has brought along, the child's *life*: its pid first and, when it has ended with all that it started, how.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

FORKS = "ML_EXPERIMENT_FORKS"  # in a task's environment: where its fork server listens
PREFIX_FILE = "prefix.json"  # beside that socket: what the setup cells have shown
LARGEST = 1 << 17  # bytes of a packet
_WORD = struct.Struct("<i")


@dataclass(frozen=True)
class Setup:
    """What a fork server does before it forks.

    Attributes:
        cwd: Its working directory.
        path: Folders for the front of the import path.
        modules: Modules to import; one that can't be imported is left to the task, which will say so.
        payload: A file of values to hold ready for every child.
        env: Its environment, beside its owner's.
        listen: A socket's path to take requests on besides the owner's.
        notebook: A notebook whose first `cells` cells are run in the server; its kernels begin after them.
        cells: How many cells that are.
    """

    cwd: str
    path: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    payload: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    listen: str | None = None
    notebook: str | None = None
    cells: int = 0

    def encode(self) -> bytes:
        """Return it as a packet."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, packet: bytes) -> Setup:
        """Read what `encode` wrote."""
        data = json.loads(packet)
        return cls(**data | {"path": tuple(data["path"]), "modules": tuple(data["modules"])})


def send(connection: socket.socket, message: Mapping[str, Any], *descriptors: int) -> bool:
    """Send a packet, and return whether anybody takes it."""
    with suppress(OSError):
        socket.send_fds(connection, [json.dumps(message).encode()], list(descriptors))
        return True
    return False


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Take a packet with its descriptors; None when the other end is gone."""
    try:
        packet, descriptors, _, _ = socket.recv_fds(connection, LARGEST, 2)
    except OSError:  # a connection that was reset, or a guest that says nothing
        return None, []
    return (json.loads(packet) if packet else None), descriptors


def say(life: int, word: int) -> None:
    """Say a child's pid, or how it ended, to whoever asked for it."""
    with suppress(OSError):  # the slot may have lost interest
        os.write(life, _WORD.pack(word))


def hear(life: int) -> int | None:
    """Wait for what `say` said; None when nobody is left to say anything."""
    word = os.read(life, _WORD.size)
    return int(_WORD.unpack(word)[0]) if word else None
