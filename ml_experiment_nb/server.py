"""The routes of Jupyter's server for what looks at runs in a browser: runs listed, one run, its log, and stopping it.

A handler knows only HTTP: it checks what was asked, and has the command ``ml-experiment`` answer in a process of its
own, in the project's folder. So nothing that a store does holds up the server, or can end it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

BASE = "ml-experiment-nb"
SECONDS = 90.0  # that one answer may take; `ml-experiment stop` waits for a minute itself
PARALLEL = 3  # processes at once, and as many that stop a run: each is Python with a store
LISTED = 1000  # runs in one answer, at most
KEPT = 32_000_000  # bytes of an answer, at most
TAIL = 200_000  # bytes of a log's end
_RUN = r"([0-9a-f]{32})"
_STATUS = {2: 400, 3: 503}  # by the command's exit code


@dataclass(frozen=True)
class Answer:
    """What a process has said: its exit code, the end of what it printed, and of its errors."""

    code: int
    text: str
    whole: bool
    error: str


class _Handler(APIHandler):
    auth_resource = "ml_experiment_nb"
    places: ClassVar = f"{BASE}-looking"  # the setting with what lets in so many at once
    is_gone = False

    def on_connection_close(self) -> None:
        """Take note that nobody waits for the answer any more."""
        self.is_gone = True

    async def ask(self, *words: str, keep: int = KEPT) -> Answer:
        """Have the command answer in the project's folder.

        Raises:
            HTTPError: It can't.
            Finish: Who wanted to see something has gone meanwhile; what is to be done is done all the same.
        """
        folder = self._folder()
        async with self.settings[self.places]:
            if self.is_gone and self.request.method == "GET":
                raise web.Finish
            answer = await _answered(words, folder, keep)
        if answer.code:
            said = answer.error.strip().removeprefix("error: ") or f"ml-experiment ended with {answer.code}"
            raise web.HTTPError(_STATUS.get(answer.code, 500), said[-2000:])
        return answer

    async def records(self, *words: str) -> list[dict[str, Any]]:
        """Have the command answer with records."""
        answer = await self.ask(*words)
        if not answer.whole:
            raise web.HTTPError(413, "these runs are too much for one answer: ask for fewer, by limit")
        return [json.loads(line) for line in answer.text.splitlines()]

    def asked(self, **read: Any) -> dict[str, Any]:
        """Return the query's arguments, as what reads each says.

        Raises:
            HTTPError: One is unknown, stands there twice, or can't be read.
        """
        found = {}
        for name, values in self.request.query_arguments.items():
            if name != "path" and name not in read:
                raise web.HTTPError(400, f"{name[:40]!r} is not asked here: {', '.join(('path', *read))}")
            if len(values) > 1:
                raise web.HTTPError(400, f"{name} stands there twice: keep one")
            if name != "path":
                found[name] = read[name](name, self.get_query_argument(name))
        return found

    def _folder(self) -> Path:
        """Return the folder that ``path`` names, below the server's own."""
        asked = self.get_query_argument("path", "")
        root = Path(self.settings["server_root_dir"]).expanduser().resolve()
        if len(asked) > 4096 or not asked.isprintable():
            raise web.HTTPError(400, "path is no folder's name")
        try:
            folder = (root / asked.strip("/")).resolve()
        except (OSError, RuntimeError):
            raise web.HTTPError(400, "path is no folder's name") from None
        if not folder.is_relative_to(root):
            raise web.HTTPError(403, "path leads out of the server's folder")
        if not folder.is_dir():
            raise web.HTTPError(404, f"there is no folder {asked!r}")
        return folder


class Runs(_Handler):
    """The runs of a project, the newest first."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """List them."""
        asked = self.asked(limit=_limit, experiment=_text, group=_run, status=_word, kind=_word)
        limit = asked.pop("limit", 100)
        words = [f"--{name}={value}" for name, value in asked.items()]
        self.finish(json.dumps({"runs": await self.records("ls", "--json", f"--limit={limit}", *words)}))


class Run(_Handler):
    """One run."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Give its record."""
        self.asked()
        (record,) = await self.records("show", "--json", run_id)
        self.finish(json.dumps(record))


class Log(_Handler):
    """The end of what a run has printed."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Give the text."""
        self.asked()
        answer = await self.ask("logs", run_id, keep=TAIL)
        self.finish(json.dumps({"text": answer.text, "whole": answer.whole}))


class Stop(_Handler):
    """Stopping a run, as ``ml-experiment stop`` does."""

    places = f"{BASE}-stopping"  # one may wait for a minute, and nothing should wait for that

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Stop it, and wait until that is done."""
        self.asked()
        if len(self.request.body) > 1000:
            raise web.HTTPError(413, "stopping a run takes no body")
        answer = await self.ask("stop", run_id)
        self.finish(json.dumps({"text": answer.text.strip() or answer.error.strip()}))


async def _answered(words: tuple[str, ...], folder: Path, keep: int) -> Answer:
    # -P: a json.py in the folder is the user's, and no library.
    command = [sys.executable, "-P", "-m", "ml_experiment_nb.cli", *words]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(SECONDS):
            (text, whole), (error, _) = await asyncio.gather(_end(process.stdout, keep), _end(process.stderr, 10_000))
            code = await process.wait()
    except TimeoutError:
        raise web.HTTPError(504, f"the store did not answer in {SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Answer(code, text, whole, error)


async def _end(stream: asyncio.StreamReader, keep: int) -> tuple[str, bool]:
    """Read all of a stream; return the end of it, and whether that is all."""
    found, whole = bytearray(), True
    while some := await stream.read(65536):
        found += some
        if len(found) > 2 * keep:
            del found[:-keep]
            whole = False
    return found[-keep:].decode(errors="replace"), whole and len(found) <= keep


def _limit(name: str, text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text) or int(text) > LISTED:
        raise web.HTTPError(400, f"{name} is a number from 1 to {LISTED}, not {text[:20]!r}")
    return int(text)


def _run(name: str, text: str) -> str:
    if not re.fullmatch(_RUN, text):
        raise web.HTTPError(400, f"{name} is a run's id, not {text[:40]!r}")
    return text


def _word(name: str, text: str) -> str:
    if not re.fullmatch(r"[a-z]{1,20}", text):
        raise web.HTTPError(400, f"{name} is a word, not {text[:40]!r}")
    return text


def _text(name: str, text: str) -> str:
    if len(text) > 1000 or not text.isprintable():
        raise web.HTTPError(400, f"{name} is too long, or no name")
    return text


def _load_jupyter_server_extension(server: Any) -> None:
    """Add the routes to a server: what Jupyter calls."""
    app = server.web_app
    app.settings |= {one.places: asyncio.Semaphore(PARALLEL) for one in (_Handler, Stop)}
    routes = {"runs": Runs, f"runs/{_RUN}": Run, f"runs/{_RUN}/log": Log, f"runs/{_RUN}/stop": Stop}
    base = url_path_join(app.settings["base_url"], BASE)
    app.add_handlers(".*$", [(url_path_join(base, route), handler) for route, handler in routes.items()])
