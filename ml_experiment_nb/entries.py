"""What MLflow takes of a run: names, texts and how many of them at once."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.masking import masked
from ml_experiment_nb.records import Status

if TYPE_CHECKING:
    from mlflow.entities import RunTag

PARAM_LENGTH = 6000
METRICS, PARAMS, TAGS = 800, 100, 100  # what MLflow takes in one batch: 1,000 entities, of them so many
TAG_LENGTH = 5000
TO_MLFLOW = {
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.PRUNED: "KILLED",
    Status.KILLED: "KILLED",
    Status.RUNNING: "RUNNING",
}


def snapshot_tags(snapshot: Snapshot) -> dict[str, str]:
    """Return what was taken of code and machine, as tags."""
    tags = snapshot.system.as_tags()
    git = snapshot.git
    if git is not None:
        tags |= {
            "mlflow.source.git.commit": git.commit or "",
            "mlflow.source.git.branch": git.branch or "",
            "mlflow.source.git.repoURL": git.remote or "",
            "mlexp.git.dirty": str(git.dirty).lower(),
        }
    tags |= snapshot.basis.tags() if snapshot.basis is not None else {}
    return {"mlflow.user": snapshot.system.user} | {key: value for key, value in tags.items() if value}


def run_tags(tags: Mapping[str, str]) -> Sequence[RunTag]:
    """Return tags as MLflow takes them, without the secrets that are known."""
    from mlflow.entities import RunTag  # who only reads runs asks for names alone

    return [RunTag(key_of(name), masked(value)[:TAG_LENGTH]) for name, value in tags.items()]


def notes_text(notes: Sequence[str]) -> str:
    """Return notes as JSON that fits into a tag; the first ones stay."""
    kept = list(notes)
    text = json.dumps(kept)
    while len(text) > TAG_LENGTH:
        kept = kept[:-1] if len(kept) > 1 else [kept[0][: len(kept[0]) // 2]]
        text = json.dumps([*kept, "…"])
    return text


def key_of(name: str) -> str:
    """Return a name as MLflow takes it: letters, digits, and ``_ - . : / space``, in the form of a relative path."""
    text = re.sub(r"[^/\w.\- :]", "_", masked(name))[:250]
    return "/".join(part for part in text.split("/") if part not in ("", ".", "..")) or "_"


def known_as(name: str, known: Container[str]) -> str:
    """Return the name by which something is known: its own, or MLflow's key for it where only that is there."""
    return name if name in known or key_of(name) not in known else key_of(name)


def is_plain(value: Any) -> bool:
    """Return whether a value can be told from another by looking: a number but NaN, a text, None."""
    return value is None or (isinstance(value, str | int | float | bool) and value == value)
