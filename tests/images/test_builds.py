import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import engine as engines
import pytest

from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.builds import build, has_buildkit
from ml_experiment_nb.images.containers import Launch
from ml_experiment_nb.images.engine import reach


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
