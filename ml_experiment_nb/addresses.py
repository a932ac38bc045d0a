"""Addresses: as they may be shown and kept, without the passwords and tokens that stand in them, and as paths."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_WITH_PASSWORD = re.compile(r"://([^:/@\s]*):\S*@")
_IN_QUERY = re.compile(r"([?&](?:password|passwd|pwd|token|access_token|secret)=)[^&\s]*", re.IGNORECASE)


def without_password(uri: str) -> str:
    """Return an address, or a text with some, with ``***`` for each password: as it may be shown."""
    return _IN_QUERY.sub(r"\1***", _WITH_PASSWORD.sub(r"://\1:***@", uri))


def password_of(address: str) -> str | None:
    """Return the password in an address, as it stands there; None without one, or if the address has it elsewhere too.

    What stands elsewhere is no secret (``mlflow:mlflow@host/mlflow``), and would take words out of what is shown.
    """
    found = re.search(r"://[^/:@]*:([^/]+)@", address)
    return found[1] if found and found[1] not in address.replace(f":{found[1]}@", "@") else None


def without_credentials(url: str) -> str:
    """Return `url` without a password or token: ``https://user:token@host/x`` becomes ``https://host/x``.

    The user of an ssh URL stays: it is part of the address (``ssh://git@host/x``, ``git@host:x``).
    """
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*://)([^/?#]*@)?(.*)", url, re.IGNORECASE | re.DOTALL)
    if found is None:
        return url
    scheme, user, rest = found[1], found[2] or "", found[3]
    if "ssh" in scheme.lower():
        return scheme + re.sub(r":.*@", "@", user) + rest
    return scheme + re.sub(r"\?[^#]*", "", rest)


def local_path(uri: str | None) -> Path | None:
    """Return the path of this machine that an address means, a ``file:`` one or a path; None for one of elsewhere."""
    address = urlsplit(uri or "")
    if address.scheme == "file":
        return Path(unquote(address.path)) if address.netloc in ("", "localhost") else None
    return Path(uri) if uri and not address.scheme else None
