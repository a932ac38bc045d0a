"""Forked kernels as JupyterLab uses them: a real Jupyter server, its REST interface and its websockets."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid

import psutil
import pytest
from tornado.websocket import websocket_connect

from ml_experiment_nb.work.kernels import install_kernel

pytest.importorskip("jupyter_server")
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's"),
]
TOKEN = "a-token"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Jupyter server that has two kinds of forked kernels; its address and its process."""
    where = tmp_path_factory.mktemp("server")
    install_kernel("forked", display_name="Forked", preload=["json"], prefix=str(where))
    install_kernel("other", display_name="Other", preload=["colorsys"], prefix=str(where))
    env = {**os.environ, "JUPYTER_PATH": str(where / "share" / "jupyter"), "JUPYTER_RUNTIME_DIR": str(where)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--port={port}"]
    words += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={where}"]
    with (where / "log").open("wb") as log:
        process = subprocess.Popen(words, env=env, cwd=where, stdout=log, stderr=log)
    address = f"127.0.0.1:{port}"
    until = time.monotonic() + 120
    while True:
        try:
            ask(address, "GET", "api/status")
            break
        except OSError:
            assert process.poll() is None, (where / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
    yield address, psutil.Process(process.pid)
    process.terminate()
    process.wait(30)


def ask(address, method, path, **body):
    request = urllib.request.Request(
        f"http://{address}/{path}",
        method=method,
        data=json.dumps(body).encode() if body else (b"" if method == "POST" else None),
        headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read() or b"null")


class Kernel:
    """A kernel of a server, started as JupyterLab does it."""

    def __init__(self, address, name):
        self.address = address
        self.id = ask(address, "POST", "api/kernels", name=name)["id"]
        self._loop = asyncio.new_event_loop()
        self._connect()

    def _connect(self):
        url = f"ws://{self.address}/api/kernels/{self.id}/channels?token={TOKEN}"

        async def connect():
            return await websocket_connect(url)

        self._line = self._loop.run_until_complete(connect())

    def send(self, kind, content, channel="shell"):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": "s", "version": "5.3"}

        async def write(text):
            await self._line.write_message(text)

        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel}
        self._loop.run_until_complete(write(json.dumps(message | {"buffers": []})))
        return header["msg_id"]

    def until(self, wanted, timeout=90):
        """Return the messages up to the one that is wanted."""

        async def read():
            found = []
            while True:
                message = json.loads(await self._line.read_message())
                found.append(message)
                if wanted(message):
                    return found

        return self._loop.run_until_complete(asyncio.wait_for(read(), timeout))

    def ask_to_execute(self, code):
        # A kernel refuses for a moment what comes right after an error, unless that error is told to stop nothing.
        content = {"code": code, "silent": False, "allow_stdin": False, "stop_on_error": False}
        return self.send("execute_request", content)

    def execute(self, code):
        """Execute and return what was printed, when both the reply and the word that it is idle have come."""
        asked = self.ask_to_execute(code)
        waiting, printed = {"execute_reply", "idle"}, ""
        while waiting:
            (message,) = self.until(lambda m: True)[-1:]
            if message["parent_header"].get("msg_id") == asked:
                assert message["content"].get("status") != "aborted", message
                waiting -= {message["msg_type"], message["content"].get("execution_state")}
                printed += message["content"].get("text", "") if message["msg_type"] == "stream" else ""
        return printed

    def post(self, verb):
        ask(self.address, "POST", f"api/kernels/{self.id}/{verb}")

    def reconnect(self):
        """Connect anew, as JupyterLab does after a restart: the server answers when the kernel can be heard."""
        self._hang_up()
        self._connect()

    def _hang_up(self):
        async def hang_up():  # in a loop: another test may have left this thread without one
            self._line.close()

        self._loop.run_until_complete(hang_up())

    def close(self):
        self._hang_up()
        if any(one["id"] == self.id for one in ask(self.address, "GET", "api/kernels")):
            ask(self.address, "DELETE", f"api/kernels/{self.id}")
        self._loop.close()


def reply_to(asked, kind):
    return lambda message: message["msg_type"] == kind and message["parent_header"].get("msg_id") == asked


@pytest.fixture
def start(server):
    kernels = []

    def one(name="forked"):
        kernels.append(Kernel(server[0], name))
        return kernels[-1]

    yield one
    for kernel in kernels:
        if server[1].is_running():
            kernel.close()


WHO = "import os, sys; print(os.getpid(), os.getppid(), 'colorsys' in sys.modules)"


def test_execute_interrupt_restart_and_shutdown(server, start, has_ended):
    kernel = start()
    pid = int(kernel.execute(WHO).split()[0])
    asked = kernel.ask_to_execute("x = 1\nprint('up')\nimport time\nwhile True: time.sleep(60)")
    kernel.until(lambda m: m["msg_type"] == "stream" and "up" in m["content"]["text"])
    kernel.post("interrupt")
    reply = kernel.until(reply_to(asked, "execute_reply"))[-1]
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert kernel.execute("print(x)").strip() == "1"
    kernel.post("restart")
    assert has_ended(pid)
    kernel.reconnect()
    assert kernel.execute("print('x' in globals())").strip() == "False"
    again = int(kernel.execute(WHO).split()[0])
    assert again != pid
    ask(kernel.address, "DELETE", f"api/kernels/{kernel.id}")
    assert has_ended(again)
    assert ask(kernel.address, "GET", "api/kernels") == []


def test_two_kinds_at_once_have_servers_of_their_own(start):
    first, second, third = start("forked"), start("other"), start("other")
    (a, at_a, has_a), (b, at_b, has_b), (c, at_c, _) = (one.execute(WHO).split() for one in (first, second, third))
    assert len({a, b, c}) == 3
    assert at_b == at_c != at_a
    assert (has_a, has_b) == ("False", "True")


def test_a_kernel_that_crashes_is_restarted_by_the_server(start, has_ended):
    kernel = start()
    first = int(kernel.execute("here = 1\n" + WHO).split()[0])
    kernel.ask_to_execute("import os; os._exit(1)")
    kernel.until(lambda m: m["content"].get("execution_state") in ("restarting", "autorestarting"))
    assert has_ended(first)
    kernel.reconnect()
    assert kernel.execute("print('here' in globals())").strip() == "False"


def test_the_next_kernel_gets_a_new_server_where_one_was_killed(start):
    kernel, sibling = start(), start()
    _, parent, _ = kernel.execute(WHO).split()
    assert sibling.execute("there = 2\n" + WHO).split()[1] == parent
    kernel.execute("here = 1; import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    # They go on, also when ipykernel, which looks once in a second, would have seen that their parent is another.
    assert sibling.execute("import time; time.sleep(3); print(there)").strip() == "2"
    assert kernel.execute("print(here)").strip() == "1"
    _, other, _ = start().execute(WHO).split()
    assert other != parent


def test_the_debugger_answers_as_that_of_a_cold_kernel(start):
    def replies(kernel):
        kernel.execute("1")
        found = []
        for number, (command, arguments) in enumerate(
            [
                ("debugInfo", {}),
                ("initialize", {"clientID": "lab", "adapterID": "", "pathFormat": "path"}),
                ("attach", {}),
                ("dumpCell", {"code": "def f():\n    y = 2\n    return y\nf()"}),
            ],
            start=1,
        ):
            asked = kernel.send(
                "debug_request",
                {"type": "request", "seq": number, "command": command, "arguments": arguments},
                channel="control",
            )
            content = kernel.until(reply_to(asked, "debug_reply"))[-1]["content"]
            found.append((command, content.get("success"), body(command, content.get("body"))))
        return found

    assert replies(start("forked")) == replies(start("python3"))


def body(command, found):
    """Return what a reply says, without what differs from one kernel to the next."""
    if command == "debugInfo":
        return {name: value for name, value in found.items() if not name.startswith("tmpFile") and name != "hashSeed"}
    return sorted(found) if command == "dumpCell" else found


def test_a_server_that_ends_leaves_no_process(server, start, has_ended):
    """The last test of the module: it ends the server."""
    _, process = server
    pids = [int(start(name).execute(WHO).split()[0]) for name in ("forked", "other")]
    below = [one.pid for one in process.children(recursive=True)]
    assert set(pids) <= set(below)
    process.terminate()
    process.wait(60)
    assert [has_ended(pid) for pid in below] == [True] * len(below)
