import base64
import http.server
import json
import socketserver
import threading
from contextlib import contextmanager

import engine as engines
import pytest

from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images.builds import build
from ml_experiment_nb.images.engine import reach

# ------------------------------------------------------------------------------------------------ no engine


def test_no_engine_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineError, match=r"no Docker engine answers at unix://.*none\.sock: start it, or say by"):
        reach()


def test_an_address_that_is_none_is_said(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "carrier-pigeon://x")
    with pytest.raises(EngineError, match="carrier-pigeon"):
        reach()


def test_an_engine_of_another_machine_is_not_reached(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(EngineError, match=r"no Docker engine answers at tcp://127\.0\.0\.1:1"):
        reach()


@contextmanager
def old_engine(folder):
    """Something that answers as an engine of 2017 does."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"Version": "17.05.0-ce", "ApiVersion": "1.29"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

        def address_string(self):
            return "unix"

    path = f"{folder}/old.sock"
    with socketserver.UnixStreamServer(path, Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"unix://{path}"
        server.shutdown()
        thread.join()


def test_an_engine_that_is_too_old_says_its_version(monkeypatch):
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as folder, old_engine(folder) as address:  # a socket's path is short
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(
            EngineError, match=r"too old: 17\.05\.0-ce speaks API 1\.29, and 1\.41 \(20\.10\) is needed"
        ):
            reach()


# --------------------------------------------------------------------------------------------------- images


@pytest.mark.docker
def test_an_image_is_found_with_what_it_says_of_itself(engine):
    found = engine.find(engines.BASE)
    assert found is not None
    assert found.id.startswith("sha256:")
    assert found.size > 10_000_000
    assert found.env["LANG"] == "C.UTF-8"
    assert found.platform.startswith("linux/")
    assert engine.find("nothing/of-that-name:1") is None
    assert engine.is_here
    assert not engine.is_rootless


@pytest.mark.docker
def test_an_image_that_is_nowhere_is_one_sentence(engine):
    with pytest.raises(ImageError, match=r"image 'localhost:1/none:1' can't be pulled: the registry can't be reached"):
        engine.have("localhost:1/none:1")


@pytest.mark.docker
def test_what_can_not_be_pushed_is_said(engine):
    engine.tag(engines.BASE, "localhost:1/base:1")
    try:
        with pytest.raises(
            ImageError, match="image 'localhost:1/base:1' can't be pushed: the registry can't be reached"
        ):
            engine.push("localhost:1/base:1")
    finally:
        engine.remove("localhost:1/base:1")


ACCOUNT = "me:$2b$04$Cg.feYy/OU6jWQY/bb.mXuE/xXasYY8KJxoWG5NiBnjKsppmh.y1S\n"
PASSWORD = "correct-horse-0123"


@pytest.fixture
def login(docker, tmp_path, monkeypatch):
    """Write Docker's configuration of a user, who has a password for a registry or a helper that has it."""

    def write(address, password=None, **keys):
        (tmp_path / "config").mkdir(exist_ok=True)
        auth = base64.b64encode(f"me:{password}".encode()).decode()
        auths = {"auths": {address: {"auth": auth}}} if password else {}
        (tmp_path / "config/config.json").write_text(json.dumps({**auths, **keys}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))

    return write


@pytest.mark.docker
def test_an_image_is_pushed_with_the_users_own_credentials_and_fetched_again(docker, context, login, tmp_path):
    (tmp_path / "registry").mkdir()
    with engines.registry(tmp_path / "registry", ACCOUNT) as address:
        name, said = f"{address}/team/tiny:1", []

        def push():
            with reach() as engine:
                return engine.push(name, said.append)

        with reach() as engine:
            made = build(engine, context("FROM scratch\nCOPY hello.txt /\n", **{"hello.txt": "x"}), tags=[name])
        for password in (None, "wrong-horse-4567"):
            login(address, password)
            with pytest.raises(ImageError, match=r"the registry doesn't allow it.*`docker login`") as refused:
                push()
            assert "\n" not in str(refused.value)
        login(address, PASSWORD)
        digest = push()
        with reach() as engine:
            assert f"{address}/team/tiny@{digest}" in engine.find(name).digests
            engine.remove(name)
            engine.remove(f"{address}/team/tiny@{digest}")
            assert engine.find(name) is None
            assert engine.have(f"{address}/team/tiny@{digest}").id == engine.have(name).id == made.id
            engine.remove(made.id, force=True)
        assert not any(one in line for one in (PASSWORD, "wrong-horse-4567") for line in said)
        login(address, credsStore="of-nobody")
        with pytest.raises(EngineError, match=r"Docker's credential helper fails .*docker-credential-of-nobody"):
            push()
        login(address, auths={address: {"auth": "none"}})
        with pytest.raises(EngineError, match="your Docker credentials can't be read: `docker login`"):
            push()
