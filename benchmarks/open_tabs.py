"""What open pages cost Jupyter's server, a group running or ended: ``python benchmarks/open_tabs.py [TABS] [SECONDS]``.

A Jupyter server is started on an empty project, and a group of short trials by its route. So many pages (20 by default)
ask what is listed and listen to the project's events, each over a connection of its own, as the panel does. What is
taken is the processor time of the server and of its backend, over so many seconds (60): while the group runs, and after
it was stopped.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
from tornado.websocket import websocket_connect

GOAL = 5.0  # percent of a core
WARM = 20.0  # seconds in which the backend loads MLflow, before anything is taken
SETTLED = 5.0  # seconds after the end of a group


def main():
    tabs, seconds = [*map(int, sys.argv[1:]), *(20, 60)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "work")
        (root / ".ml-experiment").mkdir(parents=True)
        write_notebook(root / "trial.ipynb")
        process, url, token = serve(Path(folder), root)
        try:
            asyncio.run(measure(process, url, token, tabs, seconds))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def write_notebook(path):
    cells = [nbformat.v4.new_code_cell("C = 0.5", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell(
        "import time\nfrom ml_experiment_nb import report\n"
        "for k in range(10):\n    report(loss=C / (k + 1), step=k)\n    time.sleep(0.1)"
    ))  # fmt: skip
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)


def serve(home, root):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    words = [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
        "--ServerApp.jpserver_extensions={'ml_experiment_nb': True}",
    ]  # fmt: skip
    folders = {f"JUPYTER_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    with Path(home, "log").open("wb") as log:
        process = subprocess.Popen(words, env=os.environ | folders, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with suppress(OSError):
            ask(url, token, "about")
            return process, url, token
        time.sleep(0.3)
    process.kill()
    raise SystemExit("the server did not start")


def ask(url, token, route, body=None):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"{url}/ml-experiment-nb/{route}", data=data)
    asked.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(asked, timeout=120) as answer:
        return json.loads(answer.read())


async def measure(process, url, token, tabs, seconds):
    body = {"kind": "group", "notebook": "trial.ipynb", "params": {"C": "uniform(0, 1)"}, "trials": 5000}
    body |= {"slots": 1, "metric": "loss"}
    job = await asyncio.to_thread(ask, url, token, "jobs", body)
    try:
        while not (await asyncio.to_thread(ask, url, token, f"jobs/{job['id']}"))["progress"]:
            await asyncio.sleep(1)
        heard = [0] * tabs
        pages = [asyncio.create_task(listen(url, token, heard, k)) for k in range(tabs)]
        await asyncio.sleep(WARM)
        await spend(process, heard, seconds, "while a group runs")
        done = (await asyncio.to_thread(ask, url, token, f"jobs/{job['id']}"))["progress"]["done"]
        print(f"  trials      {done} until then")
        await asyncio.to_thread(ask, url, token, f"jobs/{job['id']}/stop", {})
        await asyncio.sleep(SETTLED)
        await spend(process, heard, seconds, "when it has ended")
        for one in pages:
            one.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
    finally:
        with suppress(OSError):  # it may have ended
            await asyncio.to_thread(ask, url, token, f"jobs/{job['id']}/stop", {})


async def spend(process, heard, seconds, when):
    """Print what is spent from now on."""
    before, began, heard[:] = cost(process), time.monotonic(), [0] * len(heard)
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    shares = [100 * (b - a) / took for a, b in zip(before, cost(process), strict=True)]
    print(f"{len(heard)} pages, {took:.0f} s, {when}")
    print(f"  events      {sum(heard) / len(heard):.0f} for each page")
    print(f"  server      {shares[0]:.1f} % of a core")
    print(f"  backend     {shares[1]:.1f} % of a core")
    print(f"  together    {sum(shares):.1f} % of a core (the goal: {GOAL:.0f})")


async def listen(url, token, heard, k):
    page = await websocket_connect(f"{url.replace('http', 'ws')}/ml-experiment-nb/events?token={token}")
    while (said := await page.read_message()) is not None:
        heard[k] += 1
        if json.loads(said)["event"] == "hello":
            for route in ("about", "runs", "jobs"):
                await asyncio.to_thread(ask, url, token, route)


def cost(process):
    """Return the seconds of processor time that the server has taken, and its backend."""
    server = psutil.Process(process.pid)
    backend = next(one for one in server.children() if "ml_experiment_nb.backend" in one.cmdline())
    return [sum(one.cpu_times()[:2]) for one in (server, backend)]


if __name__ == "__main__":
    main()
