"""A Ray cluster on this machine: a head without CPUs, and nodes that come and go."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import psutil

STARTED = "Ray runtime started"
QUICK = {  # a lost node is noticed within a few seconds
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
HIDE = 'mount -t tmpfs none "$0" && exec "$@"'


class Cluster:
    """Nodes, each the tree of a `ray start --block`; they are ended by their process ids."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "token").write_text(secrets.token_hex(32))
        self.env = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_PROCESS_SPAWN_IN_NEW_SESSION": "0",
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.nodes = []
        port = self.address.partition(":")[2]
        self.start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}/ray")

    def add(self, cpus, *, gpus=0, hidden=None, wait=True):
        """Start a node; `hidden` is a folder of whose files it sees none."""
        before = () if hidden is None else ("unshare", "-m", "sh", "-c", HIDE, str(hidden))
        words = (f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}")
        return self.start(*words, before=before, wait=wait)

    def start(self, *words, before=(), wait=True):
        path = self.folder / f"node-{len(self.nodes)}.txt"
        env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words]
        common = ["--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]
        with path.open("w") as out:
            node = subprocess.Popen(
                [*before, *command, *common],
                env={**env, **self.env, **QUICK},
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.append(node)
        until = time.monotonic() + 90
        while wait and STARTED not in path.read_text():
            assert node.poll() is None, path.read_text()
            assert time.monotonic() < until, path.read_text()
            time.sleep(0.1)
        return node

    def kill(self, node):
        """End a node as a power cut does: all of its processes at once, raylet and workers."""
        tree = [node.pid] if node.poll() is None else []
        with suppress(psutil.NoSuchProcess):
            tree += [one.pid for one in psutil.Process(node.pid).children(recursive=True)]
        for pid in tree:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait(20)
        self.nodes.remove(node)

    def close(self):
        """End every node, the head last."""
        for node in reversed(list(self.nodes)):
            self.kill(node)


def can_hide():
    """Whether a process of ours may have mounts of its own."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
