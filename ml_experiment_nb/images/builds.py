"""Images built by BuildKit, through ``docker buildx``: docker-py knows the engine's classic builder only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images import commands
from ml_experiment_nb.images.caches import working
from ml_experiment_nb.images.endpoints import Endpoint
from ml_experiment_nb.images.engine import RULE, Engine, Image, Progress, failed_build, told

_KEPT = 200  # lines of what a build says, for its error
_BOUND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
os.getppid() == int(sys.argv[1]) or os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Becomes a command that gets SIGTERM when the process that waits for it is killed: no image is made for nobody."""

_PATIENCE = 10.0  # seconds that a build that is stopped may take to tell the engine


def build(
    engine: Engine,
    context: Path,
    *,
    dockerfile: Path | None = None,
    tags: Sequence[str] = (),
    args: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    network: str | None = None,
    options: Sequence[str] = (),
    progress: Progress | None = None,
) -> Image:
    """Build an image and tell `progress` each line of what is said meanwhile; see `building`."""
    work = building(
        engine, context, dockerfile=dockerfile, tags=tags, args=args, labels=labels, network=network, options=options
    )
    with closing(work):
        return told(work, progress)


def building(
    engine: Engine,
    context: Path,
    *,
    dockerfile: Path | None = None,
    tags: Sequence[str] = (),
    args: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    network: str | None = None,
    options: Sequence[str] = (),
) -> Generator[str, None, Image]:
    """Build an image, give it its names, and yield each line of what is said meanwhile.

    A build that fails, or is interrupted or closed, leaves no image. Without ``docker buildx`` on this machine it is
    built by the engine's classic builder, and the first line says so.

    Args:
        engine: The engine.
        context: The folder that is sent to it.
        dockerfile: The Dockerfile; by default the one in the context.
        tags: Its names.
        args: Values of its ``ARG`` instructions; they can be read in its history.
        labels: Its labels.
        network: The network of its ``RUN`` instructions: ``host``, ``none``, or the engine's own by default.
        options: Further options for ``docker buildx build``: such as ``--secret``.

    Raises:
        ImageError: It can't be built: it says why, or shows the end of what the build said.
        EngineError: The engine can't build.
    """
    if not has_buildkit(engine):
        if options:
            raise ImageError("the image can't be built: it needs BuildKit, and there is no `docker buildx` here")
        yield "there is no `docker buildx` here: the engine's classic builder is used"
        inside = _inside(context, dockerfile)
        return (
            yield from engine.building(context, dockerfile=inside, tags=tags, args=args, labels=labels, network=network)
        )
    with working() as folder:
        made = folder / "id"
        words = ["docker", "buildx", "build", "--builder", "default", "--load", "--progress", "plain"]
        words += ["--iidfile", str(made), *(["--file", str(dockerfile)] if dockerfile else [])]
        words += [word for name in tags for word in ("--tag", name)]
        words += [word for name, value in (args or {}).items() for word in ("--build-arg", f"{name}={value}")]
        words += [word for name, value in (labels or {}).items() for word in ("--label", f"{name}={value}")]
        words += [*(["--network", network] if network else []), *options, str(context)]
        yield from _said(words, _environment(engine.endpoint))
        found = engine.find(made.read_text().strip())
    if found is None:
        raise ImageError("the image can't be built: the engine hasn't got it afterwards")
    return found


def has_buildkit(engine: Engine) -> bool:
    """Whether this machine has the command that builds with BuildKit."""
    program = shutil.which("docker")
    return program is not None and _has_buildx(program, os.environ.get("DOCKER_CONFIG", ""), engine.endpoint)


@lru_cache(maxsize=8)
def _has_buildx(program: str, config: str, endpoint: Endpoint) -> bool:
    """Ask the command once: it takes a moment to say so."""
    asked = subprocess.run([program, "buildx", "version"], env=_environment(endpoint), capture_output=True)
    return asked.returncode == 0


def _environment(endpoint: Endpoint) -> dict[str, str]:
    # Its own context, and a builder that somebody has chosen for other engines, are not asked.
    told = ("DOCKER_CONTEXT", "BUILDX_BUILDER", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
    kept = {name: value for name, value in os.environ.items() if name not in told}
    return {**kept, **endpoint.environment, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def _inside(context: Path, dockerfile: Path | None) -> str:
    if dockerfile is None:
        return "Dockerfile"
    try:
        return str(dockerfile.absolute().relative_to(context.absolute()))
    except ValueError:
        return str(dockerfile.absolute())  # docker-py sends it along


def _said(words: Sequence[str], env: Mapping[str, str]) -> Iterator[str]:
    """Run a build and yield its lines, without what it sums a failure up by; it ends with its reader's interest."""
    kept: deque[str] = deque(maxlen=_KEPT)
    is_summed_up = False
    bound = [sys.executable, "-I", "-c", _BOUND, str(os.getpid())] if sys.platform == "linux" else []
    with commands.begun([*bound, *words], env, patience=_PATIENCE) as process:
        for line in commands.lines(process):
            kept.append(line)
            is_summed_up = is_summed_up or line.strip() == RULE
            if line and not is_summed_up:
                yield line
        code = process.wait()
    if code:
        raise failed_build(list(kept))
