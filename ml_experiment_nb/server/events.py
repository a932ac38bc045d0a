"""What changes in a project, told to every page that listens: one backend looks, and each event goes to all of them.

It is a WebSocket, as a browser lets no more than six pages of a server wait for events of the other kind.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.server.backends import Backend, Question
from ml_experiment_nb.server.background import Background

KEPT = 500  # events, for pages that come back
ALIVE = 30.0  # seconds between two words that nothing has changed
LINGER = 30.0  # seconds that a project is still watched after the last page has gone: it may only be loaded anew
_PAUSES = (1.0, 5.0, 30.0)  # seconds before a backend that has ended is started again


class Listener(Protocol):
    """A page that listens."""

    def hear(self, text: str) -> None:
        """Take an event."""


class ProjectEvents:
    """The pages that listen to a project.

    Args:
        backend: The project's backend.
        root: The server's own folder.
    """

    def __init__(self, backend: Backend, root: Path) -> None:
        self._backend = backend
        self._root = root
        self._listeners: set[Listener] = set()
        self._kept: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._epoch, self._count = "", 0
        self._joining = asyncio.Lock()
        self._is_watching = False
        self._begun, self._tries = 0, 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._beside = Background()
        backend.on_event = self._on_event
        backend.on_end = self._on_end
        backend.is_wanted = lambda: bool(self._listeners)

    async def join(self, listener: Listener, since: str) -> None:
        """Have a page listen, and tell it what it has missed, or that it is to look anew.

        Args:
            listener: The page.
            since: The event that it has heard last, or nothing.

        Raises:
            Refused: The backend doesn't answer.
        """
        self._stop("linger")
        self._listeners.add(listener)
        begun = self._begun
        async with self._joining:
            if not self._is_watching:
                await self._begin()
        if self._begun != begun:
            return  # it was told with all the others
        missed = self._since(since)
        for text in [self._hello()] if missed is None else missed:
            listener.hear(text)

    def leave(self, listener: Listener) -> None:
        """Have a page listen no more."""
        self._listeners.discard(listener)
        if not self._listeners:
            self._later("linger", LINGER, self._rest)

    # --- what the backend says ---

    def _on_event(self, name: str, body: bytes) -> None:
        self._count += 1
        said = body[1:].decode().strip()  # it is an object: this one's first keys go before its own
        text = f'{{"event": "{name}", "id": "{self._epoch}-{self._count}"{"" if said == "}" else ", "}{said}'
        self._kept.append((self._count, text))
        self._tell(text)

    def _on_end(self) -> None:
        """Begin anew when the backend has ended, as long as somebody listens."""
        self._is_watching = False
        if self._listeners:
            pause = _PAUSES[min(self._tries, len(_PAUSES) - 1)]
            self._tries += 1
            self._later("again", pause, lambda: self._beside.begin(self._again()))

    async def _again(self) -> None:
        async with self._joining:
            if self._is_watching or not self._listeners:
                return
            try:
                await self._begin()
            except Refused as refused:
                self._tell(json.dumps({"event": "trouble", "message": refused.message}))
                self._on_end()

    # --- watching ---

    async def _begin(self) -> None:
        """Have the backend watch, and tell all pages to look anew; what it tells from now on is numbered from 1."""
        self._epoch, self._count = secrets.token_hex(4), 0
        self._kept.clear()
        answer = await self._backend.ask(self._question("watch"))
        if answer is None or answer.status != 200:
            said = json.loads(answer.body)["message"] if answer is not None else "the backend doesn't answer"
            raise Refused(503, said)
        self._is_watching, self._tries = True, 0
        self._begun += 1
        self._later("alive", ALIVE, self._say_alive)
        self._tell(self._hello())

    def _rest(self) -> None:
        self._beside.begin(self._end())

    async def _end(self) -> None:
        async with self._joining:  # what begins is ended after that, and who joins now has it begun after this
            if self._listeners:
                return
            self._stop("alive")
            was_watching, self._is_watching = self._is_watching, False
            if was_watching and self._backend.is_running:
                with suppress(Refused):  # it has ended
                    await self._backend.ask(self._question("unwatch"))

    def _question(self, verb: str) -> Question:
        return Question(verb, self._root, self._backend.root, {}, {})

    def _say_alive(self) -> None:
        self._tell('{"event": "alive"}')
        self._later("alive", ALIVE, self._say_alive)

    # --- telling ---

    def _since(self, since: str) -> list[str] | None:
        """Return the events after one; None where that can't be said any more."""
        epoch, _, number = since.partition("-")
        if epoch != self._epoch or not number.isdecimal() or not number.isascii() or len(number) > 12:
            return None
        first = self._kept[0][0] if self._kept else self._count + 1
        if not first - 1 <= int(number) <= self._count:
            return None
        return [text for count, text in self._kept if count > int(number)]

    def _hello(self) -> str:
        return json.dumps({"event": "hello", "id": f"{self._epoch}-{self._count}"})

    def _tell(self, text: str) -> None:
        for one in [*self._listeners]:
            one.hear(text)

    def _later(self, name: str, seconds: float, call: Any) -> None:
        self._stop(name)
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, call)

    def _stop(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()
