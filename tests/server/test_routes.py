"""The routes of Jupyter's server, on a real one: who may ask, what is refused, and what is answered and done."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor, Request, build_opener

import nbformat
import psutil
import pytest
import services
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from ml_experiment_nb import submissions

pytest.importorskip("jupyter_server")
from jupyter_server.auth import AllowAllAuthorizer, Authorizer, IdentityProvider

pytestmark = pytest.mark.slow

NOBODY = "0" * 32
NOTHING = "0" * 12
WIRE = json.loads(Path(__file__).parents[1].joinpath("wire.json").read_text())
PATHS = [
    *("about", "runs", f"runs/{NOBODY}", f"runs/{NOBODY}/log", f"runs/{NOBODY}/metrics", f"runs/{NOBODY}/artifacts"),
    *(f"runs/{NOBODY}/artifacts/record/log.txt", f"runs/{NOBODY}/form", f"runs/{NOBODY}/mlflow", "compare", "diff"),
    *("jobs", f"jobs/{NOTHING}", f"jobs/{NOTHING}/log", "notebook-parameters", f"images/{NOTHING}", "events"),
]
CHANGES = [
    *(("POST", f"runs/{NOBODY}/{word}") for word in ("notebook", "mlflow", "stop", "resume", "replay", "restore")),
    *(("DELETE", f"runs/{NOBODY}"), ("POST", "jobs"), ("POST", f"jobs/{NOTHING}/stop")),
    *(("POST", "check"), ("POST", "images"), ("POST", "images/plan")),
]
EACH = [*(("GET", path) for path in PATHS), *CHANGES]
FREE = ("params", "metrics", "tags", "autologged", "plan", "result")  # whose keys are the user's own


@dataclass
class Server:
    url: str
    token: str
    root: Path
    process: subprocess.Popen | None = None

    def ask(self, route, verb="GET", *, token=True, body=None, headers=None, opener=None):
        """Return an answer's status, and its JSON."""
        status, _, text = self.fetch(route, verb, token=token, body=body, headers=headers, opener=opener)
        with suppress(ValueError):
            return status, json.loads(text)
        return status, {}

    def fetch(self, route, verb="GET", *, token=True, body=None, headers=None, opener=None):
        """Return an answer's status, headers and bytes."""
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        data = b"" if verb == "POST" and data is None else data
        asked = Request(f"{self.url}/ml-experiment-nb/{route}", data=data, method=verb, headers=headers or {})
        if token:
            asked.add_header("Authorization", f"token {self.token}")
        try:
            with (opener or build_opener()).open(asked, timeout=180) as answer:
                return answer.status, answer.headers, answer.read()
        except HTTPError as error:
            return error.code, error.headers, error.read()

    def answers(self):
        with suppress(OSError):
            return self.ask("runs?limit=0")[0] == 400
        return False

    def until(self, route, wanted, seconds=240):
        """Ask until the answer is as wanted."""
        limit = time.monotonic() + seconds
        while True:
            status, found = self.ask(route)
            assert status == 200, found
            if wanted(found):
                return found
            assert time.monotonic() < limit, found
            time.sleep(0.3)


def environment(home):
    folders = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    ours = ("MLFLOW", "JUPYTER", "ML_EXPERIMENT")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return env | folders | {"MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def serving(home, root):
    made = Server(f"http://127.0.0.1:{services.free_port()}", secrets.token_hex(16), root)
    words = [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={made.url.rpartition(':')[2]}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={made.token}", f"--ServerApp.root_dir={root}",
        "--ServerApp.allow_unauthenticated_access=False",
        "--ServerApp.jpserver_extensions={'ml_experiment_nb': True}",
    ]  # fmt: skip
    with services.running(words, home / "log", env=environment(home), ready=made.answers) as made.process:
        yield made
    unguarded = r"of (Api|Events) registered"  # Jupyter's warning of a verb that anybody may call
    assert not re.search(unguarded, (home / "log").read_text())


def project_of(folder, database):
    (folder / ".ml-experiment").mkdir(parents=True)
    shutil.copy(database, folder / ".ml-experiment" / "mlflow.db")
    return folder


def write_notebook(path, body, tagged=True):
    lead = "C = 0.5  # how much a mistake costs\nkernel = 'rbf'\nrows = len('four')"
    cells = [nbformat.v4.new_code_cell(lead), nbformat.v4.new_code_cell(body)]
    cells[0].metadata["tags"] = ["parameters"] if tagged else []
    kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), path)


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    home = tmp_path_factory.mktemp("server")
    root = home / "work"
    (root / "empty" / ".ml-experiment").mkdir(parents=True)
    project = project_of(root / "project", database)
    body = "from ml_experiment_nb import artifact, report\nfor k in range(3):\n    report(loss=C * k, step=k)\n"
    write_notebook(project / "svm.ipynb", body + "artifact('page.html', '<script>1</script>')\nprint('said', C)")
    write_notebook(project / "plain.ipynb", "1", tagged=False)
    shadows = project_of(root / "shadows", database)
    for name in ("json.py", "mlflow.py", "tornado.py"):
        (shadows / name).write_text("raise SystemExit('the user's own')")
    (root / "out").symlink_to("/")
    (root / "project" / "out.ipynb").symlink_to("/etc/hostname")
    with serving(home, root) as made:
        yield made


@pytest.fixture(scope="module")
def job(server):
    """A notebook that was run as an experiment by the route, to its end."""
    asked = {"kind": "experiment", "notebook": "project/svm.ipynb", "params": {"C": "2", "kernel": "7"}, "name": "N"}
    status, begun = server.ask("jobs?path=project", "POST", body=asked)
    assert status == 201, begun
    assert begun["state"] == "starting"
    found = server.until(f"jobs/{begun['id']}?path=project", lambda one: one["ended"])
    assert (found["state"], found["exit_code"], found["kind"]) == ("finished", 0, "experiment"), found
    return found


# --- who may ask ---


def test_each_route_that_there_is_is_asked_here():
    from tornado.web import Application

    from ml_experiment_nb.server.routes import add_routes

    app = Application(base_url="/")
    add_routes(app)
    rules = [rule for router in app.default_router.rules for rule in getattr(router.target, "rules", ())]
    there = [(verb, rule.matcher.regex) for rule in rules for verb in rule.target_kwargs.get("verbs", ("GET",))]
    assert len(there) > 25
    for verb, regex in there:
        assert any(one == verb and regex.fullmatch(f"/ml-experiment-nb/{path}") for one, path in EACH), (verb, regex)
    for one, path in EACH:
        assert any(one == verb and regex.fullmatch(f"/ml-experiment-nb/{path}") for verb, regex in there), (one, path)


@pytest.mark.parametrize(("verb", "route"), EACH)
def test_without_a_token_nothing_is_answered(server, verb, route):
    assert server.ask(route, verb, token=False)[0] == 403
    assert server.ask(route, verb, token=False, headers={"Authorization": "token wrong"})[0] == 403


@pytest.fixture(scope="module")
def logged_in(server):
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    opener.open(f"{server.url}/api/status?token={server.token}", timeout=60).read()
    opener.open(f"{server.url}/login?token={server.token}", timeout=60).read()
    return opener


@pytest.mark.parametrize(("verb", "route"), CHANGES)
def test_a_page_elsewhere_can_change_nothing_with_the_user_s_cookie(server, logged_in, verb, route):
    status, said = server.ask(route, verb, token=False, opener=logged_in)
    assert status == 403
    assert "_xsrf" in said["message"]


def test_a_page_elsewhere_can_read_nothing_with_the_user_s_cookie(server, logged_in):
    assert server.ask("runs?path=empty", token=False, opener=logged_in) == (200, {"runs": [], "more": False})
    away = {"Origin": "http://elsewhere.example"}
    assert server.ask("runs", token=False, opener=logged_in, headers=away)[0] in (403, 404)
    (jar,) = [one.cookiejar for one in logged_in.handlers if isinstance(one, HTTPCookieProcessor)]
    cookie = {"Cookie": "; ".join(f"{one.name}={one.value}" for one in jar)}

    async def listened(headers):
        heard = await listening(server, "empty", token=False, headers=headers)
        return json.loads(await heard.read_message())["event"]

    assert asyncio.run(listened(cookie)) == "hello"
    for headers in ({}, cookie | away):
        with pytest.raises(HTTPClientError, match="403"):
            asyncio.run(listened(headers))


async def listening(server, path, since=None, *, token=True, headers=None):
    """Open a connection for events."""
    words = [f"path={path}", *([f"since={since}"] if since else []), *([f"token={server.token}"] if token else [])]
    address = f"{server.url.replace('http', 'ws')}/ml-experiment-nb/events?{'&'.join(words)}"
    return await websocket_connect(HTTPRequest(address, headers=headers or {}, request_timeout=120))


async def heard(socket, wanted):
    """Return all events up to the first that is wanted."""
    found = []
    async with asyncio.timeout(240):
        while not found or not wanted(found[-1]):
            text = await socket.read_message()
            assert text is not None, found
            found += [event for event in [json.loads(text)] if event["event"] != "alive"]
    return found


# --- what is refused ---

ASKED = {"kind": "experiment", "notebook": "project/svm.ipynb"}


@pytest.mark.parametrize(
    ("route", "status", "said"),
    [
        ("runs?path=" + quote("../.."), 403, "leads out"),
        ("runs?path=out/etc", 403, "leads out"),
        ("runs?path=nowhere", 404, "there is no folder 'nowhere'"),
        ("runs?path=%7f", 400, "is no path"),
        ("runs?path=%ff", 400, ""),
        ("runs?path=" + "a" * 5000, 400, "is no path"),
        ("runs?path=" + "a" * 400, 404, "there is no folder"),
        ("runs?limit=5000", 400, "limit: must be less than or equal to 1000, not '5000'"),
        ("runs?limit=-1", 400, "limit: must be greater"),
        ("runs?limit=1&limit=2", 400, "stands there twice"),
        ("runs?order=x", 400, "order: is no key"),
        ("runs?group=--help", 400, "group: "),
        ("runs?status=--help", 400, "status: must be 'running'"),
        ("runs?path=project&experiment=--help", 404, "no experiment is called '--help'"),
        ("runs?path=project&where=" + quote("name ilike '%x%' and"), 400, "can't be read"),
        (f"runs/{NOBODY}?path=project", 404, NOBODY[:8]),
        (f"runs/{NOBODY}/log?path=project", 404, NOBODY[:8]),
        (f"runs/{NOBODY}/artifacts?path=project", 404, NOBODY[:8]),
        (f"runs/{NOBODY}/form?path=project", 400, "as: is required"),
        (f"jobs/{NOTHING}?path=project", 404, "no job"),
        ("compare?path=project&runs=x", 400, "runs: "),
        (f"diff?path=project&a={NOBODY}&b={NOBODY}", 404, NOBODY[:8]),
        ("notebook-parameters?path=project&notebook=" + quote("../../etc/passwd.ipynb"), 403, "leads out"),
        ("notebook-parameters?path=project&notebook=out/etc/x.ipynb", 403, "leads out"),
        ("notebook-parameters?path=project&notebook=project/out.ipynb", 403, "leads out"),
        ("notebook-parameters?path=project&notebook=project/none.ipynb", 404, "save it first"),
        ("notebook-parameters?path=project&notebook=project", 400, "doesn't end in .ipynb"),
    ],
)
def test_what_is_asked_amiss_is_refused_and_says_why(server, route, status, said):
    got, answer = server.ask(route)
    assert got == status, answer
    assert said in answer["message"]
    assert "%%" not in answer["message"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[1]", 400, "no object: list"),
        (b'{"params": ' + b"[" * 900 + b"]" * 900 + b"}", 400, "nested more than 100 deep"),
        (b'{"params": {"C": NaN}}', 400, "NaN is no JSON"),
        (b"x" * 1_000_001, 413, "1,000,001 bytes"),
        ({}, 400, "is required"),
        (ASKED | {"colour": "red"}, 400, "colour: is no key"),
        (ASKED | {"run": NOBODY}, 400, "run: is no key"),
        (ASKED | {"notebook": "project/../../x.ipynb"}, 403, "leads out"),
        (ASKED | {"notebook": "/etc/x.ipynb"}, 404, "there is no notebook"),
        (ASKED | {"params": {"C;import os": 1}}, 400, "must be a Python name"),
        (ASKED | {"params": {"C": "\ud800"}}, 400, "can't be encoded"),
        (ASKED | {"params": {"D": 1}}, 400, "no such parameter"),
        (ASKED | {"params": {"C": "many"}}, 400, "is not a number"),
        (ASKED | {"params": {"C": "uniform(0, 1)"}}, 400, "is a distribution"),
        (ASKED | {"trials": 3}, 400, "trials: is for a group"),
        (ASKED | {"name": "--help", "kind": "group"}, 400, "something to search"),
        (ASKED | {"kind": "group", "params": {"C": "uniform(0, 1)"}, "sampler": "tpx"}, 400, "did you mean 'TPE'"),
        (ASKED | {"kind": "job"}, 400, "kind: must be 'experiment' or 'group'"),
    ],
)
def test_what_cannot_be_started_is_refused_and_leaves_nothing(server, job, body, status, said):
    before = server.ask("jobs?path=project")[1]
    got, answer = server.ask("jobs?path=project", "POST", body=body)
    assert got == status, answer
    assert said in answer["message"]
    assert server.ask("jobs?path=project")[1] == before


@pytest.mark.parametrize(("verb", "route"), EACH)
def test_no_route_leads_out_of_the_server_s_folder(server, verb, route):
    for path in (quote("../.."), "out/etc", quote("project/../../..")):
        status, said = server.ask(f"{route}?path={path}", verb)
        assert (status, "leads out" in said["message"]) == (403, True), (path, said)


@pytest.mark.parametrize("route", [route for verb, route in CHANGES if verb == "POST"])
def test_no_route_takes_a_body_that_is_malformed_or_oversized(server, route):
    for body, status in ((b"{", 400), (b"[1]", 400), (b'{"a": NaN}', 400), (b"\xff", 400), (b"x" * 1_000_001, 413)):
        got, said = server.ask(f"{route}?path=empty", "POST", body=body)
        assert (got, bool(said["message"])) == (status, True), (body[:20], said)


@pytest.mark.parametrize("run_id", ["x", "..", "%2e%2e%2f", "--help", "A" * 32, NOBODY + "0"])
def test_what_is_no_id_has_no_route(server, run_id):
    assert server.ask(f"runs/{run_id}")[0] == 404


def test_another_verb_is_refused_with_those_that_there_are(server):
    status, headers, text = server.fetch("runs", "DELETE")
    assert (status, headers["Allow"]) == (405, "GET")
    assert "GET" in json.loads(text)["message"]


@pytest.mark.parametrize("path", ["../../../../etc/passwd", "..%2f..%2fmlflow.db", "%2fetc%2fpasswd", "a%00b", "a%5cb"])
def test_a_run_s_files_are_all_that_can_be_had(server, job, path):
    status, said = server.ask(f"runs/{job['run_id']}/artifacts/{path}?path=project")
    assert status in (400, 403, 404), said


# --- what is answered ---


def test_each_answer_has_the_form_that_the_fixture_has(server, job):
    run = job["run_id"]
    ids = {"runs/3f2a9c0d5b7e4a1f8c6d2e9b0a4f7c15": f"runs/{run}", "5e8a1c3b7d90": job["id"]}
    skipped = ("resume", "replay", "start", "start mlflow", "build image", "image", "compare", "diff")
    for one in WIRE["answers"]:
        if one["name"] in skipped:
            continue
        route = one["route"].replace("runs?limit=2&status=finished", "runs?limit=1")
        for example, mine in ids.items():
            route = route.replace(example, mine)
        with_path = route + ("&" if "?" in route else "?") + "path=project"
        body = one.get("body")
        if body and "job" in body:
            body = {"job": body["job"] | {"metric": "loss"}}
        status, found = server.ask(with_path, one["method"], body=body)
        assert status == one["status"], (one["name"], found)
        assert differs(one["answer"], found) is None, (one["name"], differs(one["answer"], found))
    for name, query in (("compare", f"runs={run}"), ("diff", f"a={run}&b={run}")):
        assert "<table" in server.ask(f"{name}?path=project&{query}")[1]["html"] or name == "diff"


def differs(example, found, key="", at=""):
    """Return where the form of an answer is another than its example's; None where it isn't."""
    if example is None or found is None or key in FREE:
        return None
    if isinstance(example, dict):
        if not isinstance(found, dict) or example.keys() != found.keys():
            return f"{at}: {sorted(example)} and {sorted(found) if isinstance(found, dict) else found}"
        each = (differs(example[name], found[name], name, f"{at}.{name}") for name in example)
        return next(filter(None, each), None)
    if isinstance(example, list):
        pairs = zip(example[:1], found[:1], strict=False)
        return next(filter(None, (differs(a, b, key, f"{at}[]") for a, b in pairs)), None)
    kinds = [float if type(one) is int else type(one) for one in (example, found)]
    return None if kinds[0] is kinds[1] else f"{at}: {example!r} and {found!r}"


def test_a_job_s_run_is_listed_and_shown_with_its_files(server, job):
    run = job["run_id"]
    condition = quote("name ilike 'n%'")
    listed = server.ask(f"runs?path=project&where={condition}&limit=1")[1]
    assert [one["run_id"] for one in listed["runs"]] == [run]
    found = server.ask(f"runs/{run}?path=project")[1]
    assert (found["name"], found["params"], found["status"]) == ("N", {"C": 2, "kernel": "7"}, "finished")
    curve = server.ask(f"runs/{run}/metrics?path=project")[1]["metrics"]["loss"]
    assert (curve["steps"], curve["values"], curve["count"]) == ([0, 1, 2], [0.0, 2.0, 4.0], 3)
    assert "said 2" in server.ask(f"runs/{run}/log?path=project")[1]["text"]
    assert "said 2" in server.ask(f"jobs/{job['id']}/log?path=project")[1]["text"]
    assert "C: 2" in server.ask(f"runs/{run}/form?path=project&as=yaml")[1]["text"]
    paths = {one["path"]: one["size"] for one in server.ask(f"runs/{run}/artifacts?path=project")[1]["artifacts"]}
    assert {"page.html", "record/log.txt", "svm.ipynb"} <= paths.keys()


def test_a_run_s_files_can_do_nothing_in_the_page_s_name(server, job):
    status, headers, text = server.fetch(f"runs/{job['run_id']}/artifacts/page.html?path=project")
    assert (status, text) == (200, b"<script>1</script>")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox;")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    _, headers, _ = server.fetch(f"runs/{job['run_id']}/artifacts/svm.ipynb?path=project")
    assert headers["Content-Type"].startswith("text/plain")


def test_an_executed_notebook_is_put_where_jupyterlab_opens_it(server, job):
    status, said = server.ask(f"runs/{job['run_id']}/notebook?path=project", "POST")
    assert status == 200, said
    opened = nbformat.read(server.root / said["path"], 4)
    assert "said 2" in opened.cells[-1].outputs[0].text
    assert (server.root / said["path"]).with_name(".gitignore").read_text() == "*\n"
    (server.root / said["path"]).write_text("edited")
    assert server.ask(f"runs/{job['run_id']}/notebook?path=project", "POST")[1] == said
    assert (server.root / said["path"]).read_text() == "edited"


def test_a_run_is_deleted_and_restored(server, job):
    route = f"runs/{job['run_id']}"
    assert server.ask(f"{route}?path=project", "DELETE") == (200, {"runs": [job["run_id"]]})
    assert server.ask(f"{route}?path=project")[0] == 404
    assert server.ask("runs?path=project&experiment=N")[1]["runs"] == []
    assert server.ask(f"{route}/restore?path=project", "POST") == (200, {"runs": [job["run_id"]]})
    assert server.ask(f"{route}?path=project")[1]["run_id"] == job["run_id"]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"base": "no name"}, 400, "base: 'no name' is no name of an image: it has no spaces"),
        ({"tag": "Team/SVM"}, 400, "tag: 'Team/SVM' is no name of an image"),
        ({"tag": "--push"}, 400, "tag: '--push' is no name of an image"),
        ({"context": "../away"}, 400, "context: leads out of the server's folder"),
        ({"context": "project"}, 400, "is there already: name a folder that isn't"),
        ({"context": "project/new", "push": True}, 400, "leave out push"),
        ({"tolerances": ["loss=1%"]}, 400, "leave out tolerances"),
        ({"network": "bridge"}, 400, "network"),
        ({"notebook": "out/etc/x.ipynb"}, 403, "leads out"),
        ({"notebook": None, "run": NOBODY}, 404, NOBODY[:8]),
        ({"run": NOBODY}, 400, "give notebook, or run"),
        ({"exclude": ["a\nb"]}, 400, "can't be shown"),
        ({"only_imports": "yes"}, 400, "only_imports"),
    ],
)
def test_an_image_that_is_asked_for_amiss_is_refused_and_leaves_nothing(server, job, fields, status, said):
    body = {"notebook": "project/svm.ipynb"} | fields
    before = server.ask("jobs?path=project")[1]
    got, answer = server.ask("images?path=project", "POST", body={k: v for k, v in body.items() if v is not None})
    assert (got, said in answer["message"]) == (status, True), answer
    assert server.ask("jobs?path=project")[1] == before


@pytest.mark.parametrize("tolerance", ["los=1%", "loss=much", "=1"])
def test_a_tolerance_that_fits_no_metric_of_the_run_is_said_at_its_field(server, job, tolerance):
    body = {"image": {"run": job["run_id"], "tolerances": ["loss=1%", tolerance]}}
    status, found = server.ask("check?path=project", "POST", body=body)
    assert (status, [one["key"] for one in found["errors"]]) == (200, ["tolerances"]), found
    assert found["errors"][0]["message"].startswith(f"{tolerance}: ")


def test_a_folder_that_an_image_is_built_from_is_written_by_a_job_and_its_result_is_kept(server, job):
    """It fails at once, for the package is nowhere; what is built to the end is seen on a real engine."""
    body = {"notebook": "project/svm.ipynb", "context": "project/context", "only_imports": True}
    (server.root / "project" / "requirements.txt").write_text("mlexp-there-is-no-such-package==1.0\n")
    try:
        status, begun = server.ask("images?path=project", "POST", body=body)
        assert (status, begun["kind"], begun["name"]) == (201, "image", "svm"), begun
        ended = server.until(f"jobs/{begun['id']}?path=project", lambda one: one["ended"])
    finally:
        (server.root / "project" / "requirements.txt").unlink()
    assert (ended["state"], ended["exit_code"]) == ("failed", 2), ended
    assert "mlexp-there-is-no-such-package" in ended["message"]
    assert ended["progress"]["text"]
    status, found = server.ask(f"images/{begun['id']}?path=project")
    assert (status, found) == (200, {"job": ended, "made": None})
    assert not (server.root / "project" / "context").exists()
    assert server.ask(f"images/{job['id']}?path=project")[0] == 404


def test_a_spec_s_text_is_checked_with_the_line(server):
    def checked(text):
        return server.ask("check?path=project", "POST", body={"text": text, "file": "project/new.yaml"})[1]

    assert checked("name: N\nrun: svm.ipynb\nparams: {C: 1}\n")["errors"] == []
    (error,) = checked("name: N\nrun: svm.ipynb\nparms: {C: 1}\n")["errors"]
    assert (error["line"], error["key"]) == (3, "parms")
    (error,) = checked("name: N\nrun: svm.ipynb\nparams:\n  C: 1\n  D: 1\n")["errors"]
    assert (error["line"], error["key"]) == (5, "params.D")
    errors = checked("name: N\nrun: svm.ipynb\nparms: {C: 1}\nslots: 0\nparams: {D: 1}\n")["errors"]
    assert [(one["line"], one["key"]) for one in errors] == [(3, "parms"), (4, "slots")]
    (error,) = checked("name: [\n")["errors"]
    assert "is not YAML" in error["message"]


def test_files_that_are_called_as_libraries_are_none(server):
    assert server.ask("runs?path=shadows") == (200, {"runs": [], "more": False})
    status, said = server.ask(f"runs/{NOBODY}?path=shadows")
    assert (status, f"no run '{NOBODY}'" in said["message"]) == (404, True), said


# --- jobs, and what ends under them ---


@contextmanager
def all_ended(project):
    """Stop, after this block, whatever was started in a project and goes on."""
    try:
        yield
    finally:
        for one in submissions.listed(project):
            submissions.stop(project, one.id)


def test_a_group_outlives_its_server_and_the_next_one_stops_it_and_goes_on_with_it(tmp_path, database):
    root = tmp_path / "work"
    project = project_of(root / "project", database)
    body = "import time\nfrom ml_experiment_nb import report\ntime.sleep(1)\nreport(loss=C)"
    write_notebook(project / "trial.ipynb", body)
    asked = {"kind": "group", "notebook": "project/trial.ipynb", "params": {"C": "uniform(0, 1)"}}
    asked |= {"trials": 5000, "metric": "loss", "slots": 1, "name": "G"}
    with all_ended(project):
        with serving(tmp_path, root) as first:
            status, begun = first.ask("jobs?path=project", "POST", body=asked)
            assert status == 201, begun
            running = first.until(f"jobs/{begun['id']}?path=project", lambda one: one["progress"])
            assert (running["state"], running["progress"]["total"]) == ("running", 5000)
        with serving(tmp_path, root) as second:
            (found,) = second.ask("jobs?path=project")[1]["jobs"]
            assert (found["id"], found["state"], found["run_id"]) == (begun["id"], "running", running["run_id"])
            group = found["run_id"]
            trials = second.ask(f"runs?path=project&group={group}&status=finished")[1]["runs"]
            assert {one["parent_id"] for one in trials} == {group}
            assert second.ask(f"runs/{group}/resume?path=project", "POST")[0] == 409
            assert second.ask(f"runs/{group}?path=project", "DELETE")[0] == 409
            status, stopped = second.ask(f"jobs/{begun['id']}/stop?path=project", "POST")
            assert (status, stopped["state"], stopped["exit_code"]) == (200, "stopped", 130), stopped
            assert second.ask(f"runs/{group}?path=project")[1]["status"] == "killed"
            assert second.ask(f"jobs/{begun['id']}/stop?path=project", "POST")[1]["state"] == "stopped"
            status, resumed = second.ask(f"runs/{group}/resume?path=project", "POST", body={})
            assert (status, resumed["kind"], resumed["run_id"]) == (201, "resume", group), resumed
            second.until(f"jobs/{resumed['id']}?path=project", lambda one: one["progress"])
            status, said = second.ask(f"runs/{group}/stop?path=project", "POST")
            assert (status, "has ended: killed" in said["text"]) == (200, True), said
            ended = second.until(f"jobs/{resumed['id']}?path=project", lambda one: one["ended"])
            assert ended["exit_code"] == 130, ended


def test_every_page_hears_what_changes_and_what_it_has_missed(server, job):
    async def check():
        pages = [await listening(server, "project") for _ in range(20)]
        for one in pages:
            (hello,) = await heard(one, lambda event: True)
            assert differs(WIRE["events"][0], hello) is None
        status, begun = server.ask("jobs?path=project", "POST", body=ASKED | {"name": "heard"})
        assert status == 201
        ended = lambda event: any(one["id"] == begun["id"] and one["ended"] for one in event.get("changed", []))  # noqa: E731
        jobs = lambda event: event["event"] == "jobs" and ended(event)  # noqa: E731
        each = [await heard(one, jobs) for one in pages]
        assert all(one == each[0] for one in each)
        for event in each[0]:
            example = next(one for one in WIRE["events"] if one["event"] == event["event"])
            assert differs(example, event) is None
        states = [one["state"] for event in each[0] if event["event"] == "jobs" for one in event["changed"]]
        assert states[0] in ("starting", "running")
        assert states[-1] == "finished"
        runs = [one for event in each[0] if event["event"] == "runs" for one in event["changed"]]
        assert {"heard"} == {one["name"] for one in runs}
        again = await listening(server, "project", since=hello["id"])
        assert await heard(again, jobs) == each[0]
        (newest,) = await heard(await listening(server, "project", since="0000-7"), lambda event: True)
        assert newest["event"] == "hello"
        run = runs[-1]["run_id"]
        server.ask(f"runs/{run}?path=project", "DELETE")
        last = (await heard(pages[0], lambda event: run in event.get("removed", [])))[-1]
        assert last["event"] == "runs"
        for one in [*pages, again]:
            one.close()

    asyncio.run(check())


def test_pages_hear_it_when_the_backend_has_died_and_look_anew(server, job):
    async def check():
        page = await listening(server, "project")
        (first,) = await heard(page, lambda event: True)
        [one.kill() for one in backends(server) if one.cmdline()[-1].endswith("project")]
        hello = (await heard(page, lambda event: event["event"] == "hello"))[-1]
        assert hello["id"].split("-")[0] != first["id"].split("-")[0]
        page.close()

    asyncio.run(check())


def backends(server):
    return [one for one in psutil.Process(server.process.pid).children() if "ml_experiment_nb.backend" in one.cmdline()]


def test_a_backend_that_was_killed_is_started_again_and_none_outlives_its_server(tmp_path, database):
    root = tmp_path / "work"
    project_of(root / "project", database)
    with serving(tmp_path, root) as server:
        assert server.ask("runs?path=project")[0] == 200
        (backend,) = [one for one in backends(server) if one.cmdline()[-1].endswith("project")]
        backend.kill()
        assert server.ask("runs?path=project")[0] == 200
        left = backends(server)
        assert left
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(20)
        _, alive = psutil.wait_procs(left, timeout=20)
        assert not alive


# --- a fuzz ---

TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("kind", "notebook", "params", "sampler", "pruner", "trials", "metric", "direction", "slots", "timeout"),
        *("name", "seed", "text", "file", "job", "limit", "offset", "where", "order_by", "group", "as", "runs", "a"),
    ]
)
SOUND = st.sampled_from(
    ["experiment", "group", "project/svm.ipynb", {"C": "uniform(0, 1)"}, {"C": 1}, "x.yaml", "name: a\nrun: b.py", 1]
)
BODIES = st.dictionaries(FIELDS, SOUND | JSON, max_size=6)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    route=st.sampled_from([("GET", path) for path in PATHS if path != "events"] + CHANGES),
    query=st.dictionaries(FIELDS | TEXT, TEXT | st.integers().map(str), max_size=3),
    body=BODIES | JSON,
    path=st.sampled_from(["project", "project", "project", "", "empty"]) | TEXT,
)
def test_nothing_that_is_asked_breaks_the_server(server, route, query, body, path):
    verb, where = route
    starts = ("jobs", "images", "images/plan", f"runs/{NOBODY}/mlflow")
    if where in starts and verb == "POST" and isinstance(body, dict):
        body = body | {"colour": "red"}  # nothing is to be started by chance
    words = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in ({"path": path} | query).items()]
    status, said = server.ask(f"{where}?{'&'.join(words)}", verb, body=json.dumps(body).encode())
    assert status < 500 or status in (501, 503), (status, said)
    assert status < 400 or said.get("message"), (status, said)


# --- who waits for whom ---


@asynccontextmanager
async def places(root, monkeypatch, authorizer=None):
    """Serve the routes here, and yield their port, what is being answered, and what lets the answers go on."""
    from tornado.web import Application

    from ml_experiment_nb import server
    from ml_experiment_nb.server import backends

    begun, goes_on = asyncio.Queue(), {word: asyncio.Event() for word in ("runs", "stop", "log")}

    async def answered(self, question):
        begun.put_nowait(question.verb)
        await goes_on[question.verb].wait()
        return backends.Response(200, b"{}")

    monkeypatch.setattr(backends.Backend, "_answer", answered)
    app = Application(
        base_url="/", server_root_dir=str(root), identity_provider=IdentityProvider(token="t"),
        authorizer=authorizer or AllowAllAuthorizer(), allow_unauthenticated_access=True, disable_check_xsrf=True,
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


def test_who_may_not_is_refused_by_the_server_s_authoriser(tmp_path, monkeypatch):
    asked = []

    class Nobody(Authorizer):
        def is_authorized(self, handler, user, action, resource):
            asked.append((action, resource))
            return False

    async def check():
        async with places(tmp_path, monkeypatch, Nobody()) as (port, begun, _), asyncio.timeout(60):
            for verb, route in EACH:
                reader, _ = await sent(port, verb, route)
                assert (await reader.read()).startswith(b"HTTP/1.1 403"), route
            assert begun.empty()

    asyncio.run(check())
    assert {*asked} == {("read", "ml_experiment_nb"), ("write", "ml_experiment_nb")}
    assert len(asked) == len(PATHS) + len(CHANGES)


async def sent(port, verb, route):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"{verb} /ml-experiment-nb/{route} HTTP/1.1", "Host: 127.0.0.1", "Authorization: token t"]
    writer.write("\r\n".join([*head, "Content-Length: 0", "Connection: close", "", ""]).encode())
    return reader, writer


def test_stops_that_wait_keep_no_list_waiting(tmp_path, monkeypatch):
    async def check():
        async with places(tmp_path, monkeypatch) as (port, begun, goes_on), asyncio.timeout(60):
            stops = [await sent(port, "POST", f"runs/{NOBODY}/stop") for _ in range(5)]
            assert [await begun.get() for _ in range(4)] == ["stop"] * 4
            goes_on["runs"].set()
            reader, _ = await sent(port, "GET", "runs")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            assert await begun.get() == "runs"
            stops.pop()[1].close()  # a stop is done all the same
            goes_on["stop"].set()
            for reader, _ in stops:
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
            assert await begun.get() == "stop"

    asyncio.run(check())


def test_nobody_is_answered_who_has_gone(tmp_path, monkeypatch):
    async def check():
        async with places(tmp_path, monkeypatch) as (port, begun, goes_on), asyncio.timeout(60):
            shown = [await sent(port, "GET", f"runs/{NOBODY}/log") for _ in range(4)]
            assert [await begun.get() for _ in range(4)] == ["log"] * 4
            gone = [await sent(port, "GET", "runs") for _ in range(5)]
            stop = await sent(port, "POST", f"runs/{NOBODY}/stop")
            assert await begun.get() == "stop"
            for _, writer in gone:
                writer.close()
            for _ in range(2):  # by the second answer the server knows that they have gone
                reader, _ = await sent(port, "GET", "runs?path=nowhere")
                assert (await reader.read()).startswith(b"HTTP/1.1 404")
            goes_on["log"].set()
            goes_on["runs"].set()
            for reader, _ in shown:
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
            reader, _ = await sent(port, "GET", "runs?limit=7")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            assert begun.qsize() == 1
            goes_on["stop"].set()
            await stop[0].read()

    asyncio.run(check())
