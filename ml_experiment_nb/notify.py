"""Who is told when a run has ended: what a spec asks under ``notify``, and what is typed behind ``--notify``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator, model_validator

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.fields import Flag, Frozen
from ml_experiment_nb.secrecy import learn_those_set, secrets_seen

DESKTOP = "desktop"
_VARIABLE = re.compile(r"\$\{env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}")
_CUT = "/…"  # what stands for the rest of an address, which is as good as a password


class Notify(Frozen):
    """Who is told.

    Attributes:
        webhook: An address that is sent a short JSON; ``${env:NAME}`` in it is read when it is sent.
        desktop: Whether the desktop shows it.
        after: Only of what took so many seconds.
    """

    webhook: str | None = None
    desktop: Flag = False
    after: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {DESKTOP: True} if value == DESKTOP else {"webhook": value}
        if isinstance(value, Mapping) and str(value.get("webhook", "")).endswith(_CUT):
            return {**value, "webhook": None}  # as a record has kept it: the rest of it isn't known
        return value

    @field_validator("webhook")
    @classmethod
    def _check_webhook(cls, address: str | None) -> str | None:
        if address is not None and not _VARIABLE.search(address):
            _check(address)
        return address

    @field_serializer("webhook")
    def _without_secret(self, address: str | None) -> str | None:
        """Return what is kept of an address in a record or a file: all of it only where it says nothing itself."""
        if address is None or _VARIABLE.search(address):
            return address
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.hostname}{_CUT}"

    @property
    def address(self) -> str | None:
        """The webhook's address as it is now.

        Raises:
            SpecError: A variable isn't set, or it is no address.
        """
        if self.webhook is None:
            return None
        address = _VARIABLE.sub(lambda found: _variable(found[1]), self.webhook)
        _check(address)
        return address

    @property
    def words(self) -> tuple[str, ...]:
        """What is typed for it behind ``--notify``, as far as that can be typed."""
        kept = self._without_secret(self.webhook)
        return ((kept,) if kept else ()) + ((DESKTOP,) if self.desktop else ())


def read_words(words: Iterable[str]) -> Notify | None:
    """Return what is asked by words behind ``--notify``: an address, and ``desktop``; None where there are none.

    Raises:
        SpecError: One is no address, or there are two.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, value = (DESKTOP, True) if word == DESKTOP else ("webhook", word)
        if key in found:
            raise SpecError(f"--notify {word}: it is given twice; one address, and {DESKTOP}, can be told")
        found[key] = value
    return Notify.model_validate(found) if found else None


def hide(asked: Notify | None) -> None:
    """Take an address out of all that this process records, as a secret is taken out: typed, or a variable's value."""
    if asked is None or asked.webhook is None:
        return
    if names := _VARIABLE.findall(asked.webhook):
        learn_those_set(names)
    else:
        secrets_seen.setdefault(asked.webhook, "notify")


def _variable(name: str) -> str:
    if not (value := os.environ.get(name)):
        raise SpecError(f"the variable {name} is not set", key="notify.webhook")
    return value


def _check(address: str) -> None:
    try:
        parts = urlsplit(address)
        is_one = (
            not re.search(r"\s", address)
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        is_one = False
    if not is_one:
        raise SpecError(
            "is no address that can be told: write https://…, ${env:NAME} for a variable that has one, or desktop",
            key="notify.webhook",
        )
