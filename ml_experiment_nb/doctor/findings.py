"""What a check finds, as data."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import unquote

from ml_experiment_nb.addresses import password_of, without_password
from ml_experiment_nb.patterns import Patterns
from ml_experiment_nb.secrecy import SHORTEST

_ADDRESSES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "RAY_ADDRESS",
    "DOCKER_HOST",
)
_SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "PGPASSWORD",
)


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """A line of what was found.

    Attributes:
        check: What was looked at.
        level: How bad it is.
        text: What there is.
        advice: What to do about it; empty where nothing is to be done.
    """

    check: str
    level: Level
    text: str
    advice: str = ""


def without_secrets(finding: Finding) -> Finding:
    """Return a finding in which no password stands, whatever a library's error says."""
    return replace(finding, text=_masked(finding.text), advice=_masked(finding.advice))


def _masked(text: str) -> str:
    values = [os.environ.get(name, "") for name in _SECRETS]
    values += [unquote(found) for name in _ADDRESSES if (found := password_of(os.environ.get(name, "")))]
    secrets = Patterns({one: one for one in values if len(one) >= SHORTEST})
    return without_password(secrets.sub(text, lambda name: None, lambda name: "***"))
