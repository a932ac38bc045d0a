import json
import os
import socket
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ml_experiment_nb import notices
from ml_experiment_nb.notices import message_of, tell
from ml_experiment_nb.notify import Notify
from ml_experiment_nb.records import Failure, Record, Records, Status

STARTED = datetime(2026, 11, 5, tzinfo=UTC)
GROUP = Record("g" * 32, "svm", "exp", "group", Status.FINISHED, {}, {}, STARTED, 185.2)
TRIAL = Record(
    "t" * 32, "svm 7", "exp", "trial", Status.FINISHED, {"C": 1.5, "password": "hush"}, {"acc": 0.97}, STARTED, 3.0
)
FAILED = replace(TRIAL, status=Status.FAILED, metrics={}, failure=Failure("ValueError", "key is hush"))


@pytest.fixture
def hook():
    """A server on the loopback; what it was sent stands in `got`, and it answers with `answer`."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
            time.sleep(server.delay)
            self.send_response(server.answer)
            if server.answer == 302:
                self.send_header("Location", f"{server.address}/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.delay, server.got = 200, 0.0, got
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_what_is_told_of_a_group():
    done = Records([TRIAL, FAILED, replace(FAILED, status=Status.PRUNED, failure=None)], GROUP, "acc", True)
    assert message_of(GROUP, done, ["C"]) == {
        "text": "svm finished in 3 min 05 s: 1 failed, 1 finished, 1 pruned; best acc=0.97 with C=1.5",
        "name": "svm",
        "experiment": "exp",
        "kind": "group",
        "run_id": "g" * 32,
        "status": "finished",
        "seconds": 185.2,
        "counts": {"failed": 1, "finished": 1, "pruned": 1},
        "best": {"run_id": "t" * 32, "name": "svm 7", "params": {"C": 1.5}, "metrics": {"acc": 0.97}},
        "error": None,
    }


def test_no_secret_is_told():
    lost = replace(GROUP, status=Status.FAILED, failure=Failure("TaskError", "hush", "hush"))
    for last, done in ((GROUP, [TRIAL, FAILED]), (lost, [FAILED]), (FAILED, [FAILED])):
        assert "hush" not in json.dumps(message_of(last, Records(done, last, "acc", True), ["C"]))
    assert message_of(FAILED, Records([FAILED]))["text"] == "svm 7 failed in 3.00 s: ValueError"


def test_numbers_that_are_none_are_told_as_json():
    odd = replace(TRIAL, metrics={"acc": 1.0, "loss": float("nan")})
    assert json.loads(json.dumps(message_of(GROUP, Records([odd], GROUP, "acc", True)), allow_nan=False))


def test_a_webhook_is_told(hook):
    message = message_of(GROUP, Records([TRIAL], GROUP, "acc", True), ["C"])
    assert tell(Notify(webhook=f"{hook.address}/T0/secret"), message) == []
    assert hook.got == [("/T0/secret", "application/json", message)]


def test_a_short_run_is_not_told(hook):
    message = message_of(GROUP, Records([]))
    assert tell(Notify(webhook=hook.address, after=186), message) == []
    assert hook.got == []
    assert tell(Notify(webhook=hook.address, after=185), message) == []
    assert len(hook.got) == 1


def test_a_webhook_that_refuses_or_points_elsewhere(hook):
    message = message_of(GROUP, Records([]))
    for answer in (404, 500, 302):
        hook.answer = answer
        assert tell(Notify(webhook=f"{hook.address}/secret"), message) == [
            f"the webhook was not told: it answers {answer}"
        ]
    assert [path for path, *_ in hook.got] == ["/secret"] * 3


def test_a_webhook_that_is_not_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        [problem] = tell(Notify(webhook=f"http://127.0.0.1:{taken.getsockname()[1]}/secret"), {"seconds": 1})
    assert problem.startswith("the webhook was not told: ")
    assert "secret" not in problem


def test_a_webhook_whose_variable_is_not_set(monkeypatch):
    monkeypatch.delenv("HOOK", raising=False)
    [problem] = tell(Notify(webhook="${env:HOOK}"), {"seconds": 1})
    assert "the variable HOOK is not set" in problem


def test_what_was_not_foreseen_is_no_timeout(monkeypatch):
    def fails(*_):
        raise UnicodeError("with an address in it")

    monkeypatch.setattr(notices, "_post", fails)
    began = time.monotonic()
    assert notices._in_time(lambda: notices._post("", {})) == "it failed: UnicodeError"
    assert time.monotonic() - began < notices.SECONDS


def test_a_webhook_that_never_answers_is_left(hook, monkeypatch):
    monkeypatch.setattr(notices, "SECONDS", 0.2)
    hook.delay = 5.0
    began = time.monotonic()
    [problem] = tell(Notify(webhook=hook.address), message_of(GROUP, Records([])))
    assert time.monotonic() - began < 4.5
    assert "timed out" in problem


def test_a_desktop_is_told(tmp_path, monkeypatch):
    program = "osascript" if sys.platform == "darwin" else "notify-send"
    (tmp_path / program).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/shown\nexit "${{CODE:-0}}"\n')
    (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    message = message_of(replace(GROUP, name="--$(touch x)"), Records([]))
    assert tell(Notify(desktop=True), message) == []
    assert (tmp_path / "shown").read_text().splitlines()[-2:] == ["--$(touch x)", message["text"]]
    monkeypatch.setenv("CODE", "3")
    assert tell(Notify(desktop=True), message) == [f"the desktop was not told: {program} failed with exit code 3"]


def test_there_is_no_desktop(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    [problem] = tell(Notify(desktop=True), message_of(GROUP, Records([])))
    assert problem.startswith("the desktop was not told: there is none here")
