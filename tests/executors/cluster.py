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
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "6",
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
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.nodes = []
        self._last = 1
        port = self.address.partition(":")[2]
        words = ("--node-ip-address=127.0.0.1", "--num-cpus=0", "--include-dashboard=false")
        self.start("--head", f"--port={port}", f"--temp-dir={folder}/ray", *words)

    def add(self, cpus, *, gpus=0, hidden=None, wait=True):
        """Start a node; `hidden` is a folder of whose files it sees none."""
        before = () if hidden is None else ("unshare", "-m", "sh", "-c", HIDE, str(hidden))
        # An address of its own: of two raylets with the same one a driver takes either, and ends with it.
        self._last = self._last + 1
        words = (f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}")
        words += (f"--node-ip-address=127.0.0.{self._last}",)
        return self.start(*words, before=before, wait=wait)

    def start(self, *words, before=(), wait=True):
        """Start a node; again, where Ray's own 30 s for it were not enough on a busy machine."""
        for _ in range(4):
            node, path = self._start(words, before)
            while wait and node.poll() is None and STARTED not in path.read_text():
                time.sleep(0.1)
            if node.poll() is None:
                return node
            self.kill(node)
        raise AssertionError(path.read_text())

    def _start(self, words, before):
        path = self.folder / f"node-{secrets.token_hex(4)}.txt"
        env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words]
        common = ["--block", "--disable-usage-stats", "--object-store-memory=100000000"]
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
        return node, path

    def kill(self, node):
        """End a node as a power cut does: all of its processes at once, raylet and workers."""
        for pid in self._processes(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait(20)
        self.nodes.remove(node)

    def _processes(self, node):
        """Return a node's processes, all of them found before the first is ended: their parent comes first."""
        try:
            parent = psutil.Process(node.pid)
            return [node.pid, *(one.pid for one in parent.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def close(self):
        """End every node, the head last, and what one that has ended by itself may have left."""
        for node in reversed(list(self.nodes)):
            self.kill(node)
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.folder) in " ".join(one.cmdline()):
                    one.kill()


def can_hide():
    """Whether a process of ours may have mounts of its own."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
