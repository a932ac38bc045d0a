"""Servers that tests start for themselves: a real PostgreSQL and a real S3, on free ports of this machine alone."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "hush-4f1c"
KEY, SECRET = "tester", "secret-77d0"
BUCKET = "runs"


@dataclass(frozen=True)
class S3:
    """A server that speaks S3."""

    url: str

    def environment(self) -> dict[str, str]:
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).resolve().parent if other else None


def find_s3() -> str | None:
    """Return the program of SeaweedFS; None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL and yield the address of its server, without a database; it refuses to be run by root."""
    programs = find_postgres()
    assert programs is not None
    user = "nobody" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="mlexp-pg-", dir="/tmp"))  # of a temporary folder of pytest's, nobody sees
    try:
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        words = [programs / "initdb", "-D", folder / "data", "-U", "team", "-A", "scram-sha-256", "--no-sync"]
        words += ["--pwfile", folder / "password", "-E", "UTF8", "--locale", "C"]
        subprocess.run(words, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        words = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-c", "fsync=off"]
        with running(words, folder / "log", user=user, stop=signal.SIGINT, ready=lambda: accepts(port)):
            yield f"postgresql://team:{PASSWORD}@127.0.0.1:{port}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def s3(folder: Path) -> Iterator[S3]:
    """Run a SeaweedFS with one bucket."""
    program = find_s3()
    assert program is not None
    identity = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "data").mkdir(parents=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    words = [program, "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    words += [f"-{name}.port={port}" for name, port in ports.items()]
    words += [f"-{name}.port.grpc={free_port()}" for name in ports]
    words += [f"-s3.config={folder}/s3.json", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    words += ["-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"]
    found = S3(f"http://127.0.0.1:{ports['s3']}")
    try:
        with running(words, folder / "log", stop=signal.SIGKILL, ready=lambda: has_bucket(found)):  # it takes its time
            yield found
    finally:
        for name in ("filer", "s3"):
            for left in Path("/tmp").glob(f"seaweedfs-{name}*-{ports[name]}.sock"):
                left.unlink(missing_ok=True)


def has_bucket(server: S3) -> bool:
    """Make the bucket, and return whether it is there and can be written."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3", endpoint_url=server.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1",
        config=Config(connect_timeout=2, read_timeout=20, retries={"max_attempts": 0}),
    )  # fmt: skip
    with suppress(BotoCoreError, ClientError):
        with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="begun", Body=b"1")
        return True
    return False


class Gate:
    """Stands before a server and lets its clients through, or nobody."""

    def __init__(self, port: int) -> None:
        self._server, self._open = ("127.0.0.1", port), set[socket.socket]()
        self._listening: socket.socket | None = None
        self.port = free_port()
        self.open()

    def open(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listening], daemon=True).start()

    def shut(self) -> None:
        """Refuse whoever comes, and cut off whoever has come."""
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        self._listening = None
        for one in [*self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = listening.accept()[0]
                server = socket.create_connection(self._server)
                self._open |= {client, server}
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open -= {source, target}


@contextmanager
def running(
    words, log, *, ready, user=None, stop=signal.SIGTERM, env=None, timeout=180.0
) -> Iterator[subprocess.Popen]:
    """Run a server until the block ends, which begins when it is ready."""
    with log.open("a") as file:
        made = subprocess.Popen(
            [str(word) for word in words], stdout=file, stderr=file, user=user, cwd=log.parent, env=env,
            start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + timeout
        while not ready():
            if made.poll() is not None or time.monotonic() > until:
                raise AssertionError(log.read_text()[-4000:])
            time.sleep(0.1)
        yield made
    finally:
        with suppress(ProcessLookupError):
            made.send_signal(stop)
        try:
            made.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(made.pid, signal.SIGKILL)
            made.wait()


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def answers(port: int) -> bool:
    """Whether MLflow answers on a port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as found:
            return bool(found.status == 200)
    except OSError:
        return False
