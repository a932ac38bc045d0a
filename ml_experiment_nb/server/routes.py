"""The handlers, and the table of the routes: which verb of a project's backend answers each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ml_experiment_nb.backend import places
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.markup import PICTURES
from ml_experiment_nb.server.backends import Backend, Backends, Question, Response
from ml_experiment_nb.server.events import ProjectEvents

BASE = "ml-experiment-nb"
RESOURCE = "ml_experiment_nb"  # what an authoriser is asked about
LARGEST = 1_000_000  # bytes of a body
DEEPEST = 100  # objects and lists of a body within each other
BEHIND = 200  # events that a page may not have taken yet
_RUN, _JOB = r"(?P<run>[0-9a-f]{32})", r"(?P<job>[0-9a-f]{12})"
_CHUNK = 1 << 18
_IGNORED = ("token", "no_track_activity")  # Jupyter's own

ROUTES: dict[str, dict[str, str]] = {
    "about": {"GET": "about"},
    "runs": {"GET": "runs"},
    f"runs/{_RUN}": {"GET": "run", "DELETE": "delete"},
    f"runs/{_RUN}/log": {"GET": "log"},
    f"runs/{_RUN}/metrics": {"GET": "metrics"},
    f"runs/{_RUN}/artifacts": {"GET": "artifacts"},
    rf"runs/{_RUN}/artifacts/(?P<file>.+)": {"GET": "artifact"},
    f"runs/{_RUN}/form": {"GET": "form"},
    f"runs/{_RUN}/notebook": {"POST": "notebook"},
    f"runs/{_RUN}/mlflow": {"GET": "page", "POST": "start page"},
    f"runs/{_RUN}/stop": {"POST": "stop"},
    f"runs/{_RUN}/resume": {"POST": "resume"},
    f"runs/{_RUN}/replay": {"POST": "replay"},
    f"runs/{_RUN}/restore": {"POST": "restore"},
    "compare": {"GET": "compare"},
    "diff": {"GET": "diff"},
    "jobs": {"GET": "jobs", "POST": "start"},
    f"jobs/{_JOB}": {"GET": "job"},
    f"jobs/{_JOB}/log": {"GET": "job log"},
    f"jobs/{_JOB}/stop": {"POST": "stop job"},
    "notebook-parameters": {"GET": "parameters"},
    "check": {"POST": "check"},
    "images": {"POST": "build image"},
    "images/plan": {"POST": "plan image"},
    r"images/(?P<image>[0-9a-f]{12})": {"GET": "image state"},
}
"""The routes below `BASE`: which verb answers each method."""

_LOOKS = ("check", "plan image")  # what is posted and changes nothing
_INLINE = {
    **PICTURES,
    ".html": "text/html; charset=utf-8",
    **dict.fromkeys((".txt", ".log", ".csv", ".md", ".py", ".yaml", ".yml", ".diff", ".ipynb", ".json", ".sha256"),
                    "text/plain; charset=utf-8"),
}  # fmt: skip
"""The files that a browser shows, and as what; every other is for saving. None of them may run a script."""
_SANDBOX = "sandbox; default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; font-src data:"


class _Project(JupyterHandler):
    """What is asked of one project."""

    auth_resource = RESOURCE
    is_gone = False

    def folder(self) -> Path:
        """Return the folder that ``path`` names, below the server's own."""
        return places.folder(self.root, self.get_query_argument("path", "", strip=False))

    @property
    def root(self) -> Path:
        """The server's own folder."""
        return Path(self.settings["server_root_dir"]).expanduser().resolve()

    def backend_of(self, folder: Path) -> Backend:
        """Return the backend of a folder's project."""
        backends: Backends = self.settings[BASE]["backends"]
        return backends.of(places.project(folder))


class Api(_Project, APIHandler):
    """A route: each of its methods is a question."""

    def initialize(self, verbs: dict[str, str]) -> None:
        """Take the route's verbs, by their methods."""
        self._verbs = verbs

    def on_connection_close(self) -> None:
        """Take note that nobody waits for the answer any more."""
        self.is_gone = True

    @web.authenticated
    @authorized
    async def get(self, **route: str) -> None:
        """Answer a question that changes nothing."""
        await self._answer(route)

    @web.authenticated
    @authorized
    async def post(self, **route: str) -> None:
        """Do something."""
        await self._answer(route)

    @web.authenticated
    @authorized
    async def delete(self, **route: str) -> None:
        """Delete something."""
        await self._answer(route)

    async def _answer(self, route: dict[str, str]) -> None:
        try:
            method = self.request.method or ""
            verb = self._verbs.get(method)
            if verb is None:
                self.set_header("Allow", ", ".join(self._verbs))
                raise Refused(405, f"{method} is not for this address: {', '.join(self._verbs)}")
            given = self._query() | (self._body() if method == "POST" else {})
            folder = self.folder()
            changes = method != "GET" and verb not in _LOOKS
            question = Question(verb, self.root, folder, route, given, changes)
            answer = await self.backend_of(folder).ask(question, lambda: self.is_gone)
            if answer is None:
                raise web.Finish
        except Refused as refused:
            answer = Response(refused.status, json.dumps({"message": refused.message}).encode())
        self.set_status(answer.status)
        self.set_header("Cache-Control", "no-store")
        if answer.file is None:
            self.finish(answer.body)
        else:
            await self._send(answer.file, is_temporary=answer.is_temporary)

    async def _send(self, file: Path, *, is_temporary: bool) -> None:
        """Send a file so that it is shown, or saved, and can do nothing in the page's name."""
        kind = _INLINE.get(file.suffix.lower())
        name = "".join(one if one.isascii() and (one.isalnum() or one in " ._-") else "_" for one in file.name)
        self.set_header("Content-Disposition", f'{"inline" if kind else "attachment"}; filename="{name}"')
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", _SANDBOX)
        self.set_header("Content-Type", kind or "application/octet-stream")
        try:
            with file.open("rb") as content:
                while some := content.read(_CHUNK):
                    self.write(some)
                    await self.flush()
            self.finish(set_content_type=kind or "application/octet-stream")
        except OSError as error:
            self.set_status(404)
            self.clear_header("Content-Disposition")
            self.finish(json.dumps({"message": f"{file.name} can't be read any more: {error.strerror}"}))
        except StreamClosedError:  # who has asked has gone
            raise web.Finish from None
        finally:
            if is_temporary:
                shutil.rmtree(file.parent, ignore_errors=True)

    def _query(self) -> dict[str, str]:
        found = {}
        for name, values in self.request.query_arguments.items():
            if len(values) > 1:
                raise Refused(400, f"{name[:40]} stands there twice: keep one")
            if name != "path" and name not in _IGNORED:
                try:
                    found[name] = values[0].decode()
                except UnicodeDecodeError:
                    raise Refused(400, f"{name[:40]} is not UTF-8") from None
        return found

    def _body(self) -> dict[str, Any]:
        body = self.request.body
        if len(body) > LARGEST:
            raise Refused(413, f"the body is of {len(body):,} bytes, and {LARGEST:,} are taken at most")
        if not body.strip():
            return {}
        try:
            found = json.loads(body, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body is not JSON: {str(error)[:200]}") from None
        if not isinstance(found, dict):
            raise Refused(400, f"the body is JSON, and no object: {type(found).__name__}")
        if _is_deep(found):
            raise Refused(400, f"the body is nested more than {DEEPEST} deep")
        return found


class Events(WebSocketMixin, WebSocketHandler, _Project):
    """What changes in a project, as it changes."""

    _watch: ProjectEvents | None = None
    _behind = 0

    def get_login_url(self) -> str:
        """Refuse who isn't known: there is no page to log in."""
        raise web.HTTPError(403)

    @web.authenticated
    @authorized
    async def get(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]  # said of what decorates it
        """Open the connection."""
        try:
            self._backend = self.backend_of(self.folder())
        except Refused as refused:
            self.set_status(refused.status)
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps({"message": refused.message}))
            return
        opened = super().get(*args, **kwargs)
        if opened is not None:
            await opened

    async def open(self, *args: Any, **kwargs: Any) -> None:
        """Begin to listen."""
        super().open(*args, **kwargs)
        watches: dict[Path, ProjectEvents] = self.settings[BASE]["watches"]
        backend = self._backend
        self._watch = watches.get(backend.root) or watches.setdefault(backend.root, ProjectEvents(backend, self.root))
        try:
            await self._watch.join(self, self.get_query_argument("since", "")[:100])
        except Refused as refused:
            self.hear(json.dumps({"event": "trouble", "message": refused.message}))
            self.close(1013, "the backend does not answer")

    def hear(self, text: str) -> None:
        """Send an event; a page that takes none any more is left, and comes back when it does."""
        if self._behind > BEHIND:
            self.close(1013, "too slow")
            return
        try:
            sent = self.write_message(text)
        except WebSocketClosedError:
            self.on_close()
            return
        self._behind += 1
        sent.add_done_callback(self._on_sent)

    def _on_sent(self, sent: Any) -> None:
        self._behind -= 1
        sent.exception()  # a page that has gone is no error

    def on_message(self, message: str | bytes) -> None:
        """Take nothing: a page only listens."""

    def on_close(self) -> None:
        """Listen no more."""
        if self._watch is not None:
            self._watch.leave(self)


def add_routes(app: web.Application) -> None:
    """Add the routes to a server."""
    app.settings[BASE] = {"backends": Backends(), "watches": {}}
    base = url_path_join(app.settings["base_url"], BASE)
    handlers: list[Any] = [
        (url_path_join(base, route), Api, {"verbs": verbs}) for route, verbs in ROUTES.items()
    ]  # fmt: skip
    app.add_handlers(".*$", [*handlers, (url_path_join(base, "events"), Events)])


def _no_constant(name: str) -> Callable[..., Any]:
    raise ValueError(f"{name} is no JSON")


def _is_deep(value: Any) -> bool:
    """Return whether a value is nested deeper than is taken: what writes it for the backend has a limit as well."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        if not inner:
            return False
        level = [one for each in inner for one in each]
    return True
