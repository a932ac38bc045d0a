"""The routes of Jupyter's server: who may ask, what is refused, and that the command's own answers come back."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
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
