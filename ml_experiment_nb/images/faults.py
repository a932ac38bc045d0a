"""What Docker's engine, its client and its registries say when they fail, as errors of ours: a sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterable

import docker
import requests

from ml_experiment_nb.errors import EngineError, ImageError

_ABSENT = r"no such image|manifest unknown|manifest for .* not found|pull access denied|repository does not exist"
_UNREACHED = (
    r"no such host|connection refused|i/o timeout|client\.timeout|network is unreachable|tls handshake|x509"
    r"|temporary failure in name resolution|failed to do request|server misbehaving|connection reset"
)
# What is found in a message, lower case; which error it is; what is said of it, with {what} that was being done.
_SENTENCES: list[tuple[str, type[EngineError], str]] = [
    (
        r"no space left on device|disk quota exceeded",
        EngineError,
        "{what}: the engine's disk is full; `docker system df` shows what takes its space, "
        "and `docker system prune` frees it",
    ),
    (
        r"could not select device driver|nvidia-container|unknown or invalid runtime name: nvidia",
        EngineError,
        "{what}: the engine gives no GPU to containers; install the NVIDIA Container Toolkit where it runs, "
        "or ask for gpu 0",
    ),
    (
        r"network bridge not found",
        EngineError,
        "{what}: the engine has no network for what a build runs, as Debian's packages need; "
        "--network host gives it that of its machine, as with `docker build`",
    ),
    (
        r"credentials store error",
        EngineError,
        "{what}: Docker's credential helper fails ({detail}); it is named by credsStore or credHelpers in Docker's "
        "config.json",
    ),
    (
        r"bind source path does not exist|invalid mount config",
        EngineError,
        "{what}: the engine doesn't see this machine's files ({detail}): it runs on another machine, "
        "or this is a container itself; share that folder with it",
    ),
    (
        r"exec format error|does not match the (?:specified|detected) host platform|no match for platform",
        ImageError,
        "{what}: the image is made for another kind of processor",
    ),
    (
        r"is a directory: (?:unknown|permission denied)|executable file not found|no such file or directory: unknown",
        ImageError,
        "{what}: the image doesn't have the program that is started in it ({detail})",
    ),
    (
        r"unauthorized|authentication required|no basic auth|denied: requested access|insufficient_scope",
        ImageError,
        "{what}: the registry doesn't allow it, or there is no such repository; `docker login` gives your credentials",
    ),
    (_ABSENT, ImageError, "{what}: there is no such image, neither here nor in its registry"),
    (
        _UNREACHED,
        ImageError,
        "{what}: the registry can't be reached ({detail}); with an image that is here already it isn't asked",
    ),
    (
        r"failed to resolve source metadata for .*: not found",
        ImageError,
        "{what}: there is no such image, neither here nor in its registry",
    ),
    (r"conflict.*(?:in use|is being used)", EngineError, "{what}: it is in use by a container"),
]


# The same of what Debian's installer says in a step of a build; what comes first is why the others come.
_OF_APT: list[tuple[str, str]] = [
    (
        r"apt-get: (?:command )?not found",
        "the base has no apt-get for Debian's packages: take one of Debian's",
    ),
    (
        r"(?:Temporary failure resolving|Could not resolve|Could not connect to|Network is unreachable).*",
        "Debian's packages can't be fetched, as the build's steps reach no network ({found}); "
        "--network host gives them that of the engine's machine",
    ),
    (
        r"(?:Unable to locate package|Couldn't find any package by \w+) '?([^\s']+)",
        "Debian has no package {found!r} for the base",
    ),
    (
        r"Package '([^']+)' has no installation candidate",
        "Debian has no package {found!r} for the base any more, or it is part of another one",
    ),
]


def fault(error: Exception | str, what: str, address: str = "") -> EngineError:
    """Return the error of ours that says what went wrong.

    Args:
        error: What Docker's client raised, or what the engine or the command wrote.
        what: What was being done, as the beginning of a sentence: ``image 'a:1' can't be pulled``.
        address: Where the engine is.
    """
    if isinstance(error, requests.exceptions.Timeout):
        return EngineError(f"{what}: the engine at {address} doesn't answer in time; is the machine overloaded?")
    if isinstance(error, requests.exceptions.ConnectionError):
        return _unreached(error, address)
    if isinstance(error, docker.errors.APIError):
        text = str(error.explanation or error)
    elif isinstance(error, docker.errors.DockerException) and "Error while fetching server API version" in str(error):
        return _unreached(error, address)
    else:
        text = str(error)
    return _said(text, what)


def fault_of_apt(lines: Iterable[str], what: str) -> ImageError | None:
    """Return the error that says why Debian's packages can't be installed; None where that isn't told.

    Args:
        lines: What the step of the build said.
        what: What was being done, as the beginning of a sentence.
    """
    text = "\n".join(lines)
    for pattern, sentence in _OF_APT:
        if found := re.search(pattern, text):
            return ImageError(f"{what}: {sentence.format(found=found[found.re.groups])}")
    return None


def _said(text: str, what: str) -> EngineError:
    flat = text.lower()
    detail = _detail(text)
    for pattern, kind, sentence in _SENTENCES:
        if re.search(pattern, flat):
            return kind(sentence.format(what=what, detail=detail))
    return EngineError(f"{what}: the engine says: {detail or 'nothing'}")


def _unreached(error: Exception, address: str) -> EngineError:
    text = str(error)
    if "Permission denied" in text or "EACCES" in text:
        return EngineError(
            f"this user may not use the Docker engine at {address}: "
            "be in the group that owns its socket (`sudo usermod -aG docker $USER`), and log in again"
        )
    return EngineError(f"no Docker engine answers at {address}: start it, or say by DOCKER_HOST where it is")


def _detail(text: str) -> str:
    """Return what of a message is said: its last line that says something, not too long."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    return line if len(line) <= 300 else "…" + line[-300:]
