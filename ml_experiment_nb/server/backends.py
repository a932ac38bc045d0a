"""The backends of a server: a process for each project, started when somebody asks, ended when nobody does any more."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.server.background import Background

SECONDS = 90.0  # that one answer may take; stopping a run waits for a minute itself
IDLE = 300.0  # seconds without a question, after which a backend ends
PARALLEL = 4  # questions at once of one backend, and as many that change something: these may wait for long
MOST = 8  # backends at once
_TAIL = 4000  # bytes of what a backend has printed


@dataclass(frozen=True)
class Response:
    """What a backend has answered: a status, a body of JSON, or a file that has the answer's content."""

    status: int
    body: bytes
    file: Path | None = None
    is_temporary: bool = False


@dataclass(frozen=True)
class Question:
    """What is asked of a backend.

    Attributes:
        verb: What is asked; see `backend.verbs`.
        root: The server's own folder.
        folder: The folder that is asked in.
        route: The parts of the address that name something.
        given: The fields.
        changes: Whether it changes something.
    """

    verb: str
    root: Path
    folder: Path
    route: dict[str, str]
    given: dict[str, Any]
    changes: bool = False

    def line(self, number: int) -> bytes:
        """Return it as it is written to the backend."""
        said = {"id": number, "verb": self.verb, "root": str(self.root), "folder": str(self.folder)}
        return json.dumps(said | {"route": self.route, "given": self.given}).encode() + b"\n"


class Backend:
    """One project's backend, for as long as the server runs: its process comes and goes.

    Args:
        root: The project's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.on_event: Callable[[str, bytes], None] = lambda name, body: None
        self.on_end: Callable[[], None] = lambda: None
        self.is_wanted: Callable[[], bool] = lambda: False
        self._process: Process | None = None
        self._waiting: dict[int, tuple[Process, asyncio.Future[Response]]] = {}
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._places = {True: asyncio.Semaphore(PARALLEL), False: asyncio.Semaphore(PARALLEL)}
        self._asked = 0
        self._idle: asyncio.TimerHandle | None = None
        self._beside = Background()
        self._said = bytearray()

    async def ask(self, question: Question, is_gone: Callable[[], bool] = lambda: False) -> Response | None:
        """Return the answer; None where nobody waits for it any more, and nothing is to be done.

        Args:
            question: The question.
            is_gone: Says whether who asks has gone.

        Raises:
            Refused: The backend doesn't answer.
        """
        self._asked += 1
        try:
            async with self._places[question.changes]:
                if is_gone() and not question.changes:
                    return None
                try:
                    return await self._answer(question)
                except ConnectionError:  # it has just ended
                    if question.changes:
                        raise Refused(503, f"the process that answers for {self.root} has ended{self._why()}") from None
                try:
                    return await self._answer(question)
                except ConnectionError:
                    raise Refused(503, f"the process that answers for {self.root} ends{self._why()}") from None
        finally:
            self._asked -= 1
            self.rest()

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer or an event."""
        return not self._asked and not self.is_wanted()

    def rest(self) -> None:
        """Have the process end after a while, if nobody asks again."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE, lambda: self._beside.begin(self._end_if_idle()))

    def end(self) -> None:
        """Have the process end; who still waits for an answer is told."""
        if self._process is not None and self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _answer(self, question: Question) -> Response:
        process = await self._started()
        number = next(self._numbers)
        waiting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[number] = process, waiting
        try:
            assert process.stdin is not None
            process.stdin.write(question.line(number))
            async with asyncio.timeout(SECONDS):
                await process.stdin.drain()
                return await waiting
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            raise Refused(504, f"the store did not answer in {SECONDS:.0f} s") from None
        except (
            ConnectionError
        ):  # a pipe may break before its process is known to have ended: who asks again needs another
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        finally:
            self._waiting.pop(number, None)

    async def _started(self) -> Process:
        async with self._starting:
            if self._process is None or not _hears(self._process):
                # -P: a json.py in the project is the user's, and no library.
                words = [sys.executable, "-P", "-m", "ml_experiment_nb.backend", str(self.root)]
                try:
                    process = await asyncio.create_subprocess_exec(
                        *words, cwd=self.root, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
                    )
                except OSError as error:
                    raise Refused(503, f"no process can be started in {self.root}: {error.strerror}") from None
                self._process, self._said = process, bytearray()
                self._beside.begin(self._read(process))
            return self._process

    async def _read(self, process: Process) -> None:
        """Take what a process says, until it ends."""
        assert process.stdout is not None
        assert process.stderr is not None
        listening = asyncio.create_task(self._listen(process.stderr))
        try:
            while line := await process.stdout.readline():
                head = json.loads(line)
                body = await process.stdout.readexactly(head["bytes"])
                if "event" in head:
                    self.on_event(head["event"], body)
                elif (asked := self._waiting.get(head["id"])) is not None and not asked[1].done():
                    file = Path(head["file"]) if "file" in head else None
                    asked[1].set_result(Response(head["status"], body, file, head.get("temporary", False)))
        except (asyncio.IncompleteReadError, ValueError, KeyError):
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        await listening
        for who, waiting in self._waiting.values():
            if who is process and not waiting.done():  # there may be another process already
                waiting.set_exception(ConnectionResetError())
        self.on_end()  # then, too: nobody has had that one watch

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        while some := await stream.read(65536):
            self._said += some
            del self._said[:-_TAIL]

    def _why(self) -> str:
        code = self._process.returncode if self._process is not None else None
        lines = self._said.decode(errors="replace").strip().splitlines()
        return f" (exit code {code}){': ' + lines[-1] if lines else ''}"

    async def _end_if_idle(self) -> None:
        if not self.is_running or not self.is_idle:
            return
        question = Question("busy", self.root, self.root, {}, {})
        with suppress(Refused, ConnectionError):
            if json.loads((await self._answer(question)).body).get("busy"):
                self.rest()
            elif self.is_idle:
                self.end()


def _hears(process: Process) -> bool:
    """Return whether a process is there, and was not told to end."""
    return process.returncode is None and process.stdin is not None and not process.stdin.is_closing()


class Backends:
    """All backends of a server, by their projects."""

    def __init__(self) -> None:
        self._each: dict[Path, Backend] = {}

    def of(self, root: Path) -> Backend:
        """Return a project's backend; where there are too many, another one that rests is ended.

        Raises:
            Refused: All of them are busy.
        """
        found = self._each.get(root) or Backend(root)
        others = [one for one in self._each.values() if one is not found and one.is_running]
        if not found.is_running and len(others) >= MOST:
            self._make_room(others)
        self._each.pop(root, None)
        self._each[root] = found  # the last that was asked stands last
        return found

    def _make_room(self, running: Iterable[Backend]) -> None:
        rests = next((one for one in running if one.is_idle), None)
        if rests is None:
            raise Refused(503, f"{MOST} projects are being looked at, and no more at once: close one")
        rests.end()
