"""Where the Docker engine in use is, told as Docker's own command tells it: by ``DOCKER_HOST``, or by a Docker context.

docker-py reads contexts too, but where there is no ``config.json`` it looks for them in the working directory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb.errors import EngineError

LOCAL: Final = "unix:///var/run/docker.sock"
"""The engine of this machine."""

_NAMES: Final = {"ca_cert": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


@dataclass(frozen=True)
class Endpoint:
    """Where an engine is.

    Attributes:
        address: Its address.
        told_by: What has told it: ``DOCKER_HOST``, or ``the Docker context 'x'``; empty for the engine of this machine.
        certificates: The folder with what it is asked with over TLS: ``ca.pem``, ``cert.pem``, ``key.pem``.
        is_verified: Whether its own certificate is checked.
    """

    address: str
    told_by: str = ""
    certificates: Path | None = None
    is_verified: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """What tells Docker's command of it."""
        found = {"DOCKER_HOST": self.address}
        if self.certificates is not None:
            found["DOCKER_CERT_PATH"] = str(self.certificates)
            found |= {"DOCKER_TLS_VERIFY": "1"} if self.is_verified else {"DOCKER_TLS": "1"}
        return found

    @property
    def tls(self) -> dict[str, Any] | None:
        """What docker-py is told of its certificates."""
        if self.certificates is None:
            return None
        files = {name: str(self.certificates / file) for name, file in _NAMES.items()}
        there = {name: file for name, file in files.items() if os.path.exists(file)}
        client = (there["cert"], there["key"]) if {"cert", "key"} <= there.keys() else None
        return {"client_cert": client, "ca_cert": there.get("ca_cert"), "verify": self.is_verified}


def endpoint(env: Mapping[str, str] = os.environ) -> Endpoint:
    """Return where the engine in use is: by ``DOCKER_HOST``, ``DOCKER_CONTEXT``, ``docker context use``, in this order.

    Args:
        env: The environment.

    Raises:
        EngineError: ``DOCKER_HOST`` is no address, or there is no such context, or it can't be read.
    """
    if told := env.get("DOCKER_HOST"):
        if ":" not in told:
            raise EngineError(
                f"DOCKER_HOST is {told!r}, which is no address such as {LOCAL}: "
                "a Docker context is named by DOCKER_CONTEXT"
            )
        folder, is_verified = env.get("DOCKER_CERT_PATH"), bool(env.get("DOCKER_TLS_VERIFY"))
        if is_verified and not folder:
            folder = str(_folder(env))
        return Endpoint(told, "DOCKER_HOST", Path(folder) if folder else None, is_verified)
    name, how = env.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
    if not name:
        name, how = _current(_folder(env)), "`docker context use`"
    return Endpoint(LOCAL) if name in ("", "default") else _of_context(_folder(env), name, how)


def _folder(env: Mapping[str, str]) -> Path:
    return Path(env.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _current(folder: Path) -> str:
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a configuration that can't be read is Docker's own to complain of
        return ""
    return str(said.get("currentContext") or "") if isinstance(said, dict) else ""


def _of_context(folder: Path, name: str, how: str) -> Endpoint:
    id = hashlib.sha256(name.encode()).hexdigest()
    file = folder / "contexts/meta" / id / "meta.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))["Endpoints"]["docker"]
        address, is_verified = said.get("Host") or LOCAL, not said.get("SkipTLSVerify")
    except FileNotFoundError:
        raise EngineError(
            f"there is no Docker context {name!r}, which {how} names: `docker context ls` shows those that there are"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"the Docker context {name!r}, which {how} names, can't be read: {file} ({error})") from None
    certificates = folder / "contexts/tls" / id / "docker"
    has_any = certificates.is_dir() and any(certificates.iterdir())
    return Endpoint(address, f"the Docker context {name!r}", certificates if has_any else None, is_verified)
