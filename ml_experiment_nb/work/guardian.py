"""The fork server, above: ``python -m ml_experiment_nb.work.guardian FD READY``.

It is two processes. The *template* does the setup and forks the children; it is their parent, so that a child may do
it harm. The *guardian* stands above it, runs no code but ours, and talks to the owner. If the template is lost, the
children that it has forked go on: they come to the guardian, which sees to them until they end.

Both are sub-reapers, and so is each child: whatever a task leaves behind comes back to the template as a child that
it doesn't know, and is killed. When the owner is gone, its end of the socket closes, and all of them end.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any

from ml_experiment_nb.work import forkwire, template
from ml_experiment_nb.work.forkwire import LARGEST, Setup
from ml_experiment_nb.work.reaping import adopt_orphans, children, die_with, kill_but, wait_for_any, wake_on_child

_PATIENCE = 2.0  # seconds that a guest may take to say what it wants
_LAST_WORDS = 1 << 14  # bytes of what a setup has printed that are kept for the case that it ends there


def main() -> None:
    """Fork the template, and be its guardian until the owner is gone."""
    control, ready = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    setup = Setup.decode(control.recv(LARGEST))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    errors, printed = os.pipe()
    guardian = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with(guardian)
        os.dup2(printed, 2)
        for one in (errors, printed, ready):
            os.close(one)
        control.close()
        ours.close()
        template.live(setup, theirs)
        os._exit(0)
    theirs.close()
    os.close(printed)
    _Guardian(control, _listen(setup), ours, pid, errors, ready).serve()
    if setup.listen is not None:  # an owner that was killed could not
        shutil.rmtree(os.path.dirname(setup.listen), ignore_errors=True)


class _Guardian:
    """The loop: requests go down to the template, a child's pid and its end come up."""

    def __init__(
        self, control: socket.socket, listener: socket.socket | None, line: socket.socket, template: int,
        errors: int, ready: int,
    ) -> None:  # fmt: skip
        self._control = control
        self._listener = listener
        self._line: socket.socket | None = line
        self._template = template
        self._errors = errors
        self._ready = ready
        self._last_words = b""
        self._waiting: deque[tuple[int, str]] = deque()
        self._lives: dict[int, int] = {}
        self._marks: dict[int, str] = {}
        self._wake, _ = wake_on_child()
        os.set_blocking(errors, False)

    def serve(self) -> None:
        self._reap()  # it may have ended before we listened for that
        while True:
            ready = self._wait()
            if self._errors in ready:
                self._read_errors()
            if self._line is not None and self._line.fileno() in ready:
                self._hear_template()
            for pid, life in self._lives.items():
                if life in ready:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                self._reap()
            if self._listener is not None and self._listener.fileno() in ready:
                with self._listener.accept()[0] as guest:
                    guest.settimeout(_PATIENCE)
                    self._take(guest)
            if self._control.fileno() in ready and not self._take(self._control):
                self._end()  # the owner is gone: so are we, with every child
                return

    def _end(self) -> None:
        """End every child, and then the template: by itself once its setup is done, so that it can tidy up."""
        for pid in self._lives:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._line is not None and self._ready == -1:
            self._line.close()
            until = time.monotonic() + _PATIENCE
            while not os.waitpid(self._template, os.WNOHANG)[0] and time.monotonic() < until:
                time.sleep(0.005)
        kill_but(())

    def _wait(self) -> set[int]:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        for one in (self._listener, self._line):
            if one is not None:
                poll.register(one, select.POLLIN)
        if self._errors != -1:
            poll.register(self._errors, select.POLLIN)
        for life in self._lives.values():
            poll.register(life, 0)  # it fails when nobody is left to hear of the child
        return {one for one, _ in poll.poll()}

    def _take(self, connection: socket.socket) -> bool:
        """Take one request, and return whether there was one."""
        message, descriptors = forkwire.receive(connection)
        if message is None:
            return False
        if "whose" in message:
            pids = [pid for pid, mark in self._marks.items() if mark == message["whose"]]
            with suppress(OSError):
                os.write(descriptors[0], json.dumps(pids).encode())
            os.close(descriptors[0])
            return True
        output, life = descriptors
        if self._line is not None and forkwire.send(self._line, message, output):
            self._waiting.append((life, message["mark"]))
        else:
            os.close(life)
        os.close(output)
        return True

    def _hear_template(self) -> bool:
        """Take one thing that the template says, and return whether it said anything."""
        assert self._line is not None
        said, _ = forkwire.receive(self._line)
        match said:
            case {"ready": unsafe}:
                self._answer({"unsafe": unsafe})
            case {"forked": pid}:
                life, mark = self._waiting.popleft()
                forkwire.say(life, pid)
                if pid > 0:
                    self._lives[pid], self._marks[pid] = life, mark
                else:
                    os.close(life)
            case {"ended": pid, "status": status}:
                self._forget(pid, status)
        return said is not None

    def _reap(self) -> None:
        """See whether the template has ended, and to the children that it has left to us then."""
        ended = {}
        while (found := wait_for_any()) is not None:
            ended[found[0]] = found[1]
        if self._template in ended:
            self._lose(ended[self._template])
        if self._line is None:
            kill_but(self._lives.keys())
            present = children()
            for pid in list(self._lives):
                if pid in ended or pid not in present:  # one that is gone unheard was told of by nobody
                    self._forget(pid, ended.get(pid, signal.SIGKILL))

    def _lose(self, status: int) -> None:
        """Note that the template is gone: nothing can be forked any more."""
        self._read_errors()
        assert self._line is not None
        while self._hear_template():
            pass
        self._line.close()
        self._line = None
        self._answer({"failed": self._why(status)})
        for life, _ in self._waiting:
            os.close(life)
        self._waiting.clear()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        forkwire.send(self._control, {"lost": True})

    def _forget(self, pid: int, status: int) -> None:
        life = self._lives.pop(pid)
        del self._marks[pid]
        forkwire.say(life, status)
        os.close(life)

    def _answer(self, answer: dict[str, Any]) -> None:
        """Say how the setup went, once."""
        if self._ready != -1:
            with suppress(OSError):
                os.write(self._ready, json.dumps(answer).encode())
            os.close(self._ready)
            self._ready = -1

    def _read_errors(self) -> None:
        with suppress(BlockingIOError):
            while self._errors != -1:
                piece = os.read(self._errors, 1 << 16)
                self._last_words = (self._last_words + piece)[-_LAST_WORDS:]
                if not piece:
                    os.close(self._errors)
                    self._errors = -1

    def _why(self, status: int) -> str:
        """Return how a setup ended, with the last that it printed."""
        code = os.waitstatus_to_exitcode(status)
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        lines = [one.strip() for one in self._last_words.decode(errors="replace").splitlines() if one.strip()]
        fatal = next((k for k, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
        if fatal is None:
            lines = lines[-3:]
        else:  # Python's own words on a crash: its name, and where it happened
            lines = [lines[fatal], *[line for line in lines[fatal:] if line.startswith("File ")][:1]]
        return how + (f" ({' | '.join(lines)[-500:]})" if lines else "")


def _listen(setup: Setup) -> socket.socket | None:
    if setup.listen is None:
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(setup.listen)
    listener.listen(16)
    return listener


if __name__ == "__main__":
    main()
