"""The Docker engine: reached, asked for its images, told to fetch, build and push them. Nothing else talks to it.

What it says when it fails is said by `ml_experiment_nb.images.faults`. Containers are started by
`ml_experiment_nb.images.containers`, BuildKit's builds by `ml_experiment_nb.images.builds`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images.endpoints import Endpoint, endpoint
from ml_experiment_nb.images.names import Name
from ml_experiment_nb.quantities import line_of

try:
    import docker
    import requests
except ModuleNotFoundError as error:
    if error.name not in ("docker", "requests"):
        raise
    raise EngineError("Docker's client is not installed: pip install 'ml-experiment-nb[docker]'") from None

from ml_experiment_nb.images.faults import fault, fault_of_apt

OLDEST_API = (1, 41)
"""The oldest API that is spoken here: Docker 20.10's, whose BuildKit has all that our Dockerfiles need."""

_TIMEOUT = 120  # seconds for one answer of the engine

Progress = Callable[[str], None]
"""What is told of a long work, line by line."""


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    Attributes:
        id: Its id, ``sha256:…``: the digest of its configuration.
        name: The name that it was asked for by.
        names: Its names, ``team/svm:1``; none where another image has got them.
        digests: Its names in registries, ``team/svm@sha256:…``; none before it was pushed or pulled.
        size: Bytes of all its layers.
        labels: Its labels.
        env: Its environment variables.
        user: Who its containers run as; empty for root.
        platform: ``linux/amd64``.
    """

    id: str
    name: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str = ""
    platform: str = ""


@dataclass(frozen=True)
class Layer:
    """A step of an image's history.

    Attributes:
        size: Bytes that it adds.
        made_by: The instruction that made it.
    """

    size: int
    made_by: str


class Engine:
    """A Docker engine that answers. Use it as a context manager, or `close` it; `reach` opens one.

    Attributes:
        client: docker-py's client.
        endpoint: Where it is, and how it is asked.
    """

    def __init__(self, client: docker.DockerClient, endpoint: Endpoint) -> None:
        self.client = client
        self.endpoint = endpoint

    @property
    def address(self) -> str:
        """Where it is: ``unix:///var/run/docker.sock``."""
        return self.endpoint.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What the engine says of itself (``docker info``)."""
        with self.translated("the engine can't be asked about itself"):
            found: dict[str, Any] = self.client.info()
        return found

    @property
    def version(self) -> str:
        """Its version, and that of the API that it is spoken to by."""
        with self.translated("the engine can't be asked about itself"):
            found = self.client.version().get("Version", "?")
        return f"{found} (API {self.client.api.api_version})"

    @property
    def is_here(self) -> bool:
        """Whether it is reached over a socket of this machine, so that it may see its files."""
        return self.address.startswith("unix://")

    @property
    def is_rootless(self) -> bool:
        """Whether it runs without root: root in its containers is the user then."""
        return any("name=rootless" in one for one in self.info.get("SecurityOptions") or ())

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Raise what Docker's client raises in the block as errors of ours; `what` begins their sentence.

        Raises:
            EngineError: The engine can't be reached, or refused.
            ImageError: An image isn't there, or is not as it should be.
        """
        try:
            yield
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise fault(error, what, self.address) from error

    def find(self, name: str) -> Image | None:
        """Return an image that the engine has, by name or id; None if it has none such."""
        with self.translated(f"image {name!r} can't be looked at"):
            try:
                found = self.client.api.inspect_image(name)
            except docker.errors.ImageNotFound:
                return None
        config = found.get("Config") or {}
        pairs = [one.partition("=") for one in config.get("Env") or ()]
        return Image(
            id=found["Id"],
            name=name,
            names=tuple(found.get("RepoTags") or ()),
            digests=tuple(found.get("RepoDigests") or ()),
            size=found.get("Size") or 0,
            labels=config.get("Labels") or {},
            env={key: value for key, _, value in pairs},
            user=config.get("User") or "",
            platform=f"{found.get('Os', '')}/{found.get('Architecture', '')}",
        )

    def have(self, name: str, progress: Progress | None = None) -> Image:
        """Return an image, pulled if the engine hasn't got it.

        Raises:
            ImageError: It is neither here nor in its registry, or that can't be reached.
            EngineError: The engine can't fetch it.
        """
        return self.find(name) or told(self.pulling(name), progress)

    def pulling(self, name: str) -> Generator[str, None, Image]:
        """Fetch an image from its registry, with the user's own Docker credentials; yield what is said meanwhile.

        Raises:
            ImageError: It isn't there, or the registry can't be reached.
            EngineError: The engine can't fetch it.
        """
        read, what = Name.read(name), f"image {name!r} can't be pulled"
        reference = read.digest or read.tag
        with self.translated(what):
            for said in self.client.api.pull(read.repository, tag=reference, stream=True, decode=True):
                yield from self._heard(said, what)
        found = self.find(name)
        if found is None:
            raise ImageError(f"{what}: the engine hasn't got it afterwards")
        return found

    def push(self, name: str, progress: Progress | None = None) -> str:
        """Push an image to its registry, with the user's own Docker credentials; return its digest there.

        Raises:
            ImageError: The registry can't be reached, or doesn't allow it.
            EngineError: The engine can't send it.
        """
        read, what, digest = Name.read(name), f"image {name!r} can't be pushed", ""
        with self.translated(what):
            for said in self.client.api.push(read.repository, tag=read.tag, stream=True, decode=True):
                for line in self._heard(said, what):
                    if progress is not None:
                        progress(line)
                digest = (said.get("aux") or {}).get("Digest") or digest
        return digest

    def tag(self, image: str, name: str) -> None:
        """Give an image one more name."""
        read = Name.read(name)
        with self.translated(f"image {image!r} can't be named {name!r}"):
            self.client.api.tag(image, read.repository, read.tag)

    def remove(self, name: str, force: bool = False) -> None:
        """Remove an image by its name; one that isn't there is no mistake."""
        with self.translated(f"image {name!r} can't be removed"):
            try:
                self.client.api.remove_image(name, force=force)
            except docker.errors.ImageNotFound:
                return

    def drop(self, id: str) -> None:
        """Remove an image that has no name any more; one that has, or that is used, is left as it is."""
        found = self.find(id)
        if found is not None and not found.names:
            with suppress(EngineError):
                self.remove(id)

    def layers(self, name: str) -> list[Layer]:
        """Return an image's layers that add something, from the base up."""
        with self.translated(f"image {name!r} can't be looked at"):
            history = self.client.api.history(name)
        return [Layer(one["Size"], _instruction(one)) for one in reversed(history) if one["Size"]]

    def building(
        self,
        context: Path,
        *,
        dockerfile: str = "Dockerfile",
        tags: Sequence[str] = (),
        args: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        network: str | None = None,
    ) -> Generator[str, None, Image]:
        """Build an image with the engine's classic builder; see `ml_experiment_nb.images.builds.building`."""
        what, made, said = "the image can't be built", "", list[str]()
        with self.translated(what):
            stream = self.client.api.build(
                path=str(context), dockerfile=dockerfile, buildargs=dict(args or {}), labels=dict(labels or {}),
                network_mode=network, rm=True, forcerm=True, decode=True,
            )  # fmt: skip
            for one in stream:
                if "error" in one:
                    raise failed_build([*said, one["error"]])
                if text := (one.get("stream") or one.get("status") or "").rstrip():
                    said.append(text)
                    yield text
                made = (one.get("aux") or {}).get("ID") or made
        for name in tags:
            self.tag(made, name)
        found = self.find(made)
        if found is None:
            raise ImageError(f"{what}: the engine hasn't got it afterwards")
        return found

    def _heard(self, said: Mapping[str, Any], what: str) -> Iterator[str]:
        """Yield the progress of a layer as a line; raise what the engine says in the middle of its stream."""
        if "error" in said:
            raise fault(str(said["error"]), what, self.address)
        if text := " ".join(str(said[key]) for key in ("id", "status", "progress") if said.get(key)):
            yield text


def told(work: Generator[str, None, Image], progress: Progress | None) -> Image:
    """Do a long work to its end, tell `progress` each line of what it says, and return the image that it makes."""
    while True:
        try:
            line = next(work)
        except StopIteration as end:
            image: Image = end.value
            return image
        if progress is not None:
            progress(line)


def reach(address: str | None = None, *, timeout: float = _TIMEOUT) -> Engine:
    """Reach the Docker engine: the one of ``DOCKER_HOST``, or of the user's Docker context, or of this machine.

    Args:
        address: Another engine's address.
        timeout: Seconds that one of its answers may take.

    Raises:
        EngineError: None answers there, this user may not use it, or it is too old.
    """
    where = _at(address) if address else endpoint()
    try:
        client = docker.DockerClient(
            base_url=where.address, version="auto", timeout=timeout, tls=_tls(where),
            use_ssh_client=where.address.startswith("ssh://"),
        )  # fmt: skip
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        raise _unreached(error, where) from error
    try:
        _check_version(client, where.address)
    except BaseException:
        client.close()
        raise
    return Engine(client, where)


def _at(address: str) -> Endpoint:
    """Return where an engine is whose address another process has told: with certificates where it is ours, too."""
    with suppress(EngineError):
        if (where := endpoint()).address == address:
            return where
    return Endpoint(address)


def failed_build(lines: Sequence[str]) -> EngineError:
    """Return the error of a build that failed, from what it said: of a step that failed, the end of that."""
    said, what = [line for line in lines if line.strip()], "the image can't be built"
    full = any("no space left on device" in line.lower() for line in said[-_SHOWN:])
    last = said[-1] if said else ""
    failed = _STEP.search(last)
    known = fault("no space left on device" if full else failed[2] if failed else last, what)
    if full or "the engine says" not in str(known):
        return known
    shown = _of_step(lines)
    if failed and "apt-get" in (failed[1] or "") and (of_apt := fault_of_apt(shown or said, what)):
        return of_apt
    if failed and failed[1] and not shown:
        return ImageError(f"{what}: {_shortened(failed[1])} says nothing and fails: {failed[2]}")
    return ImageError(f"{what}; the end of what the build said:\n" + "\n".join(shown or said[-_SHOWN:]))


RULE = "------"
"""The line at both ends of what BuildKit says of a step that failed, when all is over."""

_STEP = re.compile(r'(?:process "(?:/bin/sh -c )?(.*)" )?(?:did not complete successfully|a non-zero code): (.+)')
"""One of the Dockerfile's own commands that failed: the command, in BuildKit's words, and how."""


def _of_step(lines: Sequence[str]) -> list[str]:
    """Return the end of what the step said that failed, which BuildKit shows between two rules, below the step."""
    rules = [number for number, line in enumerate(lines) if line.strip() == RULE]
    if len(rules) < 2 or not lines[rules[-2] + 1].lstrip().startswith(">"):
        return []
    shown = (re.sub(r"^\d+\.\d+ ", "", line).rpartition("\r")[2] for line in lines[rules[-2] + 2 : rules[-1]])
    return [line for line in shown if line.strip()][-_SHOWN:]


def _shortened(step: str) -> str:
    return repr(line_of(step, 120))


_SHOWN = 15  # lines of a build that failed


def _tls(where: Endpoint) -> Any:
    """Return what docker-py is told of certificates; False where there are none."""
    return docker.tls.TLSConfig(**where.tls) if where.tls is not None else False


def _check_version(client: docker.DockerClient, address: str) -> None:
    api = client.api.api_version
    if tuple(int(part) for part in api.split(".")) < OLDEST_API:
        version = client.version().get("Version", "?")
        needed = ".".join(map(str, OLDEST_API))
        raise EngineError(
            f"the Docker engine at {address} is too old: {version} speaks API {api}, and {needed} (20.10) is needed"
        )


def _unreached(error: Exception, where: Endpoint) -> EngineError:
    if isinstance(error, ValueError):  # of docker's configuration, or of the address itself
        try:
            docker.auth.load_config()
        except ValueError:
            return EngineError("your Docker credentials can't be read: `docker login` writes them anew")
        told_by = where.told_by or "this"
        return EngineError(f"{told_by} is no address of an engine: {where.address!r} ({error})")
    said = fault(error, "the engine can't be reached", where.address)
    return said if where.told_by in ("", "DOCKER_HOST") else type(said)(f"{said} (it is that of {where.told_by})")


def _instruction(step: Mapping[str, Any]) -> str:
    text = str(step.get("CreatedBy") or step.get("Comment") or "")
    return text.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").removesuffix(" # buildkit").strip()
