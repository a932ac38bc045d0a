import base64
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import engine as engines
import pytest

from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.builds import build, has_buildkit
from ml_experiment_nb.images.containers import Folder, Launch
from ml_experiment_nb.images.engine import reach


@pytest.fixture
def engine(docker):
    with reach() as found:
        yield found


@pytest.fixture
def context(tmp_path):
    """Write a build context."""

    def write(dockerfile, **files):
        (tmp_path / "Dockerfile").write_text(dockerfile)
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


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
@pytest.mark.parametrize("is_classic", [False, True], ids=["buildkit", "classic"])
def test_an_image_is_built_with_arguments_and_labels(engine, context, monkeypatch, is_classic):
    if is_classic:
        monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")  # where the command's plugins are
        monkeypatch.setattr(Path, "home", lambda: Path("/nonexistent"))
    assert has_buildkit(engine) is not is_classic
    folder = context(
        f"FROM {engines.BASE}\nARG GREETING\nCOPY hello.txt /hello.txt\nRUN echo $GREETING > /said.txt\n",
        **{"hello.txt": "x"},
    )
    lines = []
    made = build(
        engine, folder, tags=["mlexp/built:1", "mlexp/built:2"], args={"GREETING": "hello"}, labels={"a": "b"},
        network="none", progress=lines.append,
    )  # fmt: skip
    try:
        assert made.labels == {"a": "b"}
        assert engine.find("mlexp/built:1").id == engine.find("mlexp/built:2").id == made.id
        assert any("hello.txt" in line for line in lines)
        assert any("classic builder" in line for line in lines) is is_classic
        ended = containers.run(engine, Launch("mlexp/built:1", ("cat", "/said.txt")))
        assert ended == containers.Ended(0, "hello\n")
        steps = [layer.made_by for layer in engine.layers("mlexp/built:1")]
        assert len(steps) == 3
        assert "hello.txt" in steps[1]
        assert "echo" in steps[2]
    finally:
        engine.remove("mlexp/built:1")
        engine.remove("mlexp/built:2")
    assert engine.find(made.id) is None


@pytest.mark.docker
def test_a_build_that_fails_shows_the_end_of_what_it_said(engine, context):
    folder = context(f"FROM {engines.BASE}\nRUN echo a reason for it && exit 3\n")
    with pytest.raises(ImageError, match=r"can't be built; the end of what the build said:\n(?s:.*)a reason for it"):
        build(engine, folder, tags=["mlexp/failed:1"], network="none")
    assert engine.find("mlexp/failed:1") is None


APT = "RUN apt-get update && apt-get install -y {}\n"


@pytest.mark.docker
@pytest.mark.parametrize(
    ("package", "network", "sentence"),
    [
        ("no-such-package", "host", "Debian has no package 'no-such-package' for the base"),
        (
            "hello",
            "none",
            r"Debian's packages can't be fetched, .* \(Temporary failure .*\); --network host gives",
        ),
    ],
)
def test_debian_packages_that_can_not_be_had_are_one_sentence(engine, debian_base, context, package, network, sentence):
    with pytest.raises(ImageError, match=f"^the image can't be built: {sentence}") as caught:
        build(engine, context(f"FROM {debian_base}\n{APT.format(package)}"), network=network)
    assert "\n" not in str(caught.value)


@pytest.mark.docker
def test_debian_packages_on_another_base_are_one_sentence(engine, context):
    with pytest.raises(ImageError, match=r"can't be built: the base has no apt-get for Debian's packages"):
        build(engine, context(f"FROM {engines.BASE}\n{APT.format('hello')}"), network="none")


@pytest.mark.docker
def test_a_disk_that_is_full_is_one_sentence(docker, context, monkeypatch):
    """It is that of an engine of its own, which has little."""
    try:
        with engines.engine("64m") as small:
            monkeypatch.setenv("DOCKER_HOST", small.address)
            monkeypatch.setenv("DOCKER_CONFIG", small.config)
            with reach() as engine:
                folder = context("FROM scratch\nCOPY large /a\nCOPY large /b\n")
                (folder / "large").write_bytes(os.urandom(48 << 20))
                with pytest.raises(EngineError, match=r"the image can't be built: .*disk") as caught:
                    build(engine, folder, tags=["mlexp/large:1"])
                assert "\n" not in str(caught.value)
                assert engine.find("mlexp/large:1") is None
    except engines.Unavailable as why:
        pytest.skip(f"no engine with a disk of its own: {why}")


@pytest.mark.docker
def test_a_missing_base_is_one_sentence(engine, context):
    with pytest.raises(ImageError, match="the image can't be built: ") as caught:
        build(engine, context("FROM localhost:1/none:1\n"))
    assert "registry can't be reached" in str(caught.value)


@pytest.mark.docker
def test_a_build_that_is_interrupted_leaves_nothing(engine, context):
    def stop(line):
        if "sleep 600" in line:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build(
            engine,
            context(f"FROM {engines.BASE}\nRUN sleep 600\n"),
            tags=["mlexp/half:1"],
            network="none",
            progress=stop,
        )
    assert time.monotonic() - began < 60
    assert engine.find("mlexp/half:1") is None
    assert not engine.client.api.containers(all=True)


KILLED = """
import sys
from functools import partial
from pathlib import Path
from ml_experiment_nb.images.builds import build
from ml_experiment_nb.images.engine import reach

with reach() as engine:
    build(engine, Path(sys.argv[1]), tags=["mlexp/orphan:1"], network="none", progress=partial(print, flush=True))
"""


@pytest.mark.docker
def test_a_build_ends_with_the_process_that_waits_for_it(engine, context):
    folder = context(f"FROM {engines.BASE}\nRUN sleep 600\n")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert any("sleep 600" in line for line in process.stdout)
        process.kill()
    until = time.monotonic() + 120
    while any(b"mlexp/orphan:1" in words for words in command_lines()):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert engine.find("mlexp/orphan:1") is None


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()


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


# ------------------------------------------------------------------------------------------------ containers


@pytest.mark.docker
def test_a_container_has_its_limits_and_folders(engine, tmp_path):
    code = (
        "import os; open('made.txt', 'w').write('x'); print(os.getcwd(), os.getuid(), os.environ['A']);"
        "[print(open(p).read().strip()) for p in ('/sys/fs/cgroup/memory/memory.limit_in_bytes',"
        "'/sys/fs/cgroup/memory.max') if os.path.exists(p)]"
    )
    launch = Launch(
        engines.BASE, ("python", "-c", code), env={"A": "1"}, user="12:34", cwd=str(tmp_path),
        folders=(Folder.same(tmp_path, writable=True),), memory=64 << 20, cpus=0.5, network="none",
    )  # fmt: skip
    tmp_path.chmod(0o777)
    ended = containers.run(engine, launch)
    assert ended == containers.Ended(0, f"{tmp_path} 12 1\n{64 << 20}\n")
    assert (tmp_path / "made.txt").stat().st_uid == 12
    assert containers.labelled(engine, {}) == []


@pytest.mark.docker
def test_a_container_over_its_memory_says_so(engine):
    ended = containers.run(engine, Launch(engines.BASE, ("python", "-c", "x = b'x' * (256 << 20)"), memory=64 << 20))
    assert ended.out_of_memory
    assert ended.code == 137


@pytest.mark.docker
@pytest.mark.parametrize(
    ("launch", "kind", "why"),
    [
        (Launch("mlexp/none:1", ("python",)), ImageError, "there is no such image"),
        (
            Launch(engines.BASE, ("true",), folders=(Folder.same("/nowhere/x"),)),
            EngineError,
            "doesn't see this machine",
        ),
        (Launch(engines.BASE, ("true",), gpus=1), EngineError, "gives no GPU to containers"),
        (Launch(engines.BASE, ("true",), memory=1024), EngineError, "[Mm]inimum memory limit"),
    ],
)
def test_a_container_that_can_not_start_is_one_sentence_and_leaves_nothing(engine, launch, kind, why):
    with pytest.raises(kind, match=why) as caught:
        containers.start(engine, launch)
    assert "\n" not in str(caught.value)
    assert containers.labelled(engine, {}) == []


@pytest.mark.docker
def test_a_container_is_stopped_by_a_signal_and_removed(engine):
    with containers.started(engine, Launch(engines.BASE, ("sleep", "600"), labels={"mine": "yes"})) as container:
        assert [id for id, _ in containers.labelled(engine, {"mine": "yes"})] == [container.id]
        assert Path(f"/proc/{container.pid}").exists()
        container.kill("TERM")
        assert container.wait() == 128 + 15
        container.kill("TERM")  # it has ended: no mistake
    containers.remove(engine, [container.id])  # it is gone: no mistake
    assert containers.labelled(engine, {"mine": "yes"}) == []
    assert os.getpid() != container.pid
