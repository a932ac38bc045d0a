"""The routes of Jupyter's server: who may ask, what is refused, and that the command's own answers come back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
import services

pytest.importorskip("jupyter_server")
pytestmark = pytest.mark.slow

NOBODY = "0" * 32
ROUTES = [("GET", "runs"), ("GET", f"runs/{NOBODY}"), ("GET", f"runs/{NOBODY}/log"), ("POST", f"runs/{NOBODY}/stop")]


@dataclass
class Server:
    url: str
    token: str
    root: Path

    def ask(self, route, verb="GET", *, token=True, body=None, headers=None, opener=None):
        """Return an answer's status, and its JSON."""
        body = b"" if verb == "POST" and body is None else body
        asked = Request(f"{self.url}/ml-experiment-nb/{route}", data=body, method=verb, headers=headers or {})
        if token:
            asked.add_header("Authorization", f"token {self.token}")
        try:
            with (opener or build_opener()).open(asked, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            text = error.read()
            with suppress(ValueError):
                return error.code, json.loads(text)
            return error.code, {}

    def answers(self):
        with suppress(OSError):
            return self.ask("runs?limit=0")[0] == 400
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    home = tmp_path_factory.mktemp("server")
    root = home / "work"
    (root / "empty" / ".ml-experiment").mkdir(parents=True)
    (root / "project").mkdir()
    (root / "project" / ".ml-experiment").mkdir()
    (root / "project" / ".ml-experiment" / "mlflow.db").write_bytes(database.read_bytes())
    (root / "project" / "job.py").write_text("x = 1\nprint('said', x)\n")
    (root / "shadows" / ".ml-experiment").mkdir(parents=True)
    (root / "shadows" / ".ml-experiment" / "mlflow.db").write_bytes(database.read_bytes())
    for name in ("json.py", "mlflow.py"):
        (root / "shadows" / name).write_text("raise SystemExit('the user's own')")
    (root / "out").symlink_to("/")
    made = Server(f"http://127.0.0.1:{services.free_port()}", secrets.token_hex(16), root)
    words = [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={made.url.rpartition(':')[2]}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={made.token}", f"--ServerApp.root_dir={root}",
        "--ServerApp.allow_unauthenticated_access=False",
        "--ServerApp.jpserver_extensions={'ml_experiment_nb': True}",
    ]  # fmt: skip
    folders = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "JUPYTER"))}
    with services.running(words, home / "log", env=env | folders, ready=made.answers):
        yield made
    unguarded = r"of (Runs|Run|Log|Stop) registered"  # Jupyter's warning of a verb that anybody may call
    assert not re.search(unguarded, (home / "log").read_text())


@pytest.fixture(scope="module")
def run(server):
    command = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "-q", "--name", "N", "job.py"]
    subprocess.run(command, cwd=server.root / "project", check=True, timeout=300, capture_output=True)
    status, found = server.ask("runs?path=project")
    assert status == 200
    return found["runs"][0]


@pytest.mark.parametrize(("verb", "route"), ROUTES)
def test_without_a_token_nothing_is_answered(server, verb, route):
    assert server.ask(route, verb, token=False)[0] == 403
    assert server.ask(route, verb, token=False, headers={"Authorization": "token wrong"})[0] == 403


def test_a_page_elsewhere_can_stop_nothing_with_the_user_s_cookie(server):
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    opener.open(f"{server.url}/api/status?token={server.token}", timeout=60).read()
    opener.open(f"{server.url}/login?token={server.token}", timeout=60).read()
    assert server.ask("runs?path=empty", token=False, opener=opener) == (200, {"runs": []})
    status, said = server.ask(f"runs/{NOBODY}/stop", "POST", token=False, opener=opener)
    assert status == 403
    assert "_xsrf" in said["message"]
    away = {"Origin": "http://elsewhere.example"}
    assert server.ask("runs", token=False, opener=opener, headers=away)[0] in (403, 404)


@pytest.mark.parametrize(
    ("route", "status", "said"),
    [
        ("runs?path=" + quote("../.."), 403, "leads out"),
        ("runs?path=out/etc", 403, "leads out"),
        ("runs?path=nowhere", 404, "there is no folder 'nowhere'"),
        ("runs?path=%7f", 400, "no folder's name"),
        ("runs?path=" + "a" * 5000, 400, "no folder's name"),
        ("runs?limit=5000", 400, "a number from 1 to 1000, not '5000'"),
        ("runs?limit=-1", 400, "a number from 1"),
        ("runs?limit=1&limit=2", 400, "stands there twice"),
        ("runs?order=x", 400, "'order' is not asked here: path, limit"),
        ("runs?group=--help", 400, "group is a run's id"),
        ("runs?status=--help", 400, "status is a word"),
        ("runs?path=project&status=done", 400, "done"),
        ("runs?path=project&experiment=--help", 400, "--help"),
        (f"runs/{NOBODY}?path=project", 400, NOBODY[:8]),
    ],
)
def test_what_is_asked_amiss_is_refused_and_says_why(server, route, status, said):
    got, answer = server.ask(route)
    assert got == status, answer
    assert said in answer["message"]


@pytest.mark.parametrize("run_id", ["x", "..", "%2e%2e%2f", "--help", "A" * 32, NOBODY + "0"])
def test_what_is_no_id_has_no_route(server, run_id):
    assert server.ask(f"runs/{run_id}")[0] == 404


def test_a_body_that_is_too_large_is_refused(server):
    status, said = server.ask(f"runs/{NOBODY}/stop", "POST", body=b"x" * 2000)
    assert (status, said["message"]) == (413, "stopping a run takes no body")


def test_a_project_s_runs_are_listed_and_one_is_shown(server, run):
    assert (run["experiment"], run["status"], run["kind"]) == ("N", "finished", "experiment")
    assert server.ask(f"runs/{run['run_id']}?path=project")[1]["run_id"] == run["run_id"]
    assert server.ask("runs?path=project&status=failed") == (200, {"runs": []})
    log = server.ask(f"runs/{run['run_id']}/log?path=project")[1]
    assert log["whole"]
    assert "said 1" in log["text"]


def test_files_that_are_called_as_libraries_are_none(server):
    assert server.ask("runs?path=shadows") == (200, {"runs": []})
    status, said = server.ask(f"runs/{NOBODY}?path=shadows")
    assert (status, f"no run '{NOBODY}'" in said["message"]) == (400, True), said


@asynccontextmanager
async def places(root, monkeypatch):
    """Serve the routes here, and yield their address, what is being answered, and what lets the answers go on."""
    from jupyter_server.auth import AllowAllAuthorizer, IdentityProvider
    from tornado.web import Application

    from ml_experiment_nb import server

    begun, goes_on = asyncio.Queue(), {word: asyncio.Event() for word in ("ls", "stop", "logs")}

    async def answered(words, folder, keep):
        begun.put_nowait(words[0])
        await goes_on[words[0]].wait()
        return server.Answer(0, "", True, "")

    monkeypatch.setattr(server, "_answered", answered)
    app = Application(
        base_url="/", server_root_dir=str(root), identity_provider=IdentityProvider(token="t"),
        authorizer=AllowAllAuthorizer(), allow_unauthenticated_access=True, disable_check_xsrf=True,
        cookie_secret="s",
    )  # fmt: skip
    server._load_jupyter_server_extension(SimpleNamespace(web_app=app))
    port = services.free_port()
    http = app.listen(port, "127.0.0.1")
    try:
        yield port, begun, goes_on
    finally:
        http.stop()
        await http.close_all_connections()


async def sent(port, verb, route):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"{verb} /ml-experiment-nb/{route} HTTP/1.1", "Host: 127.0.0.1", "Authorization: token t"]
    writer.write("\r\n".join([*head, "Content-Length: 0", "Connection: close", "", ""]).encode())
    return reader, writer


def test_stops_that_wait_keep_no_list_waiting(tmp_path, monkeypatch):
    async def check():
        async with places(tmp_path, monkeypatch) as (port, begun, goes_on), asyncio.timeout(20):
            stops = [await sent(port, "POST", f"runs/{NOBODY}/stop") for _ in range(4)]
            assert [await begun.get() for _ in range(3)] == ["stop"] * 3
            goes_on["ls"].set()
            reader, _ = await sent(port, "GET", "runs")
            assert (await reader.read()).endswith(b'{"runs": []}')
            assert await begun.get() == "ls"
            stops.pop()[1].close()  # a stop is done all the same
            goes_on["stop"].set()
            for reader, _ in stops:
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
            assert await begun.get() == "stop"

    asyncio.run(check())


def test_nobody_is_answered_who_has_gone(tmp_path, monkeypatch):
    async def check():
        async with places(tmp_path, monkeypatch) as (port, begun, goes_on), asyncio.timeout(20):
            shown = [await sent(port, "GET", f"runs/{NOBODY}/log") for _ in range(3)]
            assert [await begun.get() for _ in range(3)] == ["logs"] * 3
            gone = [await sent(port, "GET", "runs") for _ in range(5)]
            stop = await sent(port, "POST", f"runs/{NOBODY}/stop")
            assert await begun.get() == "stop"
            for _, writer in gone:
                writer.close()
            for _ in range(2):  # by the second answer the server knows that they have gone
                reader, _ = await sent(port, "GET", "runs?limit=0")
                assert (await reader.read()).startswith(b"HTTP/1.1 400")
            goes_on["logs"].set()
            goes_on["ls"].set()
            for reader, _ in shown:
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
            reader, _ = await sent(port, "GET", "runs?limit=7")
            assert (await reader.read()).endswith(b'{"runs": []}')
            assert begun.qsize() == 1
            goes_on["stop"].set()
            await stop[0].read()

    asyncio.run(check())


def test_a_run_is_stopped(server):
    project = server.root / "project"
    (project / "long.py").write_text("import time\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "ml_experiment_nb.cli", "run", "-q", "long.py"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 120
            while not (found := server.ask("runs?path=project&status=running")[1]["runs"]):
                assert time.monotonic() < until
                time.sleep(0.3)
            status, said = server.ask(f"runs/{found[0]['run_id']}/stop?path=project", "POST")
            assert (status, "has ended: killed" in said["text"]) == (200, True), said
            process.wait(60)
        finally:
            process.kill()
