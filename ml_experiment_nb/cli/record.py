"""One run's record on a terminal: what was asked and what came of it first, then how it ran, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record

_READ = ("mlexp.autologged", "mlexp.metrics", "mlexp.kind", "mlexp.status", "mlexp.error", "mlexp.notes", "mlexp.trial")
"""Tags that a record's own fields are read from."""
_IN_WORDS = (
    *("mlexp.cwd", "mlexp.git.dirty", "mlexp.unseeded", "mlexp.preflight", "mlexp.environment"),
    *("mlexp.replay.of", "mlexp.replay.sentence", "mlexp.replayed", "mlexp.replayed.by", "mlflow.source.name"),
)
_INTERNAL = (
    *("mlexp.asked_hash", "mlexp.code_hash", "mlexp.spec_hash", "mlexp.driver", "mlexp.modules", "mlexp.values"),
    *("mlexp.texts", "mlexp.cell", "mlflow.source.type"),
)
_SYSTEM = "mlexp.system."


def print_record(record: Record, files: Sequence[str], *, every: bool = False) -> None:
    """Print a run's record.

    Args:
        record: The record.
        files: The paths of its artifacts.
        every: With all that it is tagged with, as it stands in the store, and all that libraries have of themselves.
    """
    from ml_experiment_nb.records import number

    rows = [*_facts(record), *_results(record, files, every), *_circumstances(record, every)]
    width = max(len(name) for name, _ in rows)
    for name, value in ((name, number(value) if isinstance(value, float) else value) for name, value in rows):
        click.echo(f"{name:<{width}}  {value}".rstrip())


def _facts(record: Record) -> Iterator[tuple[str, Any]]:
    from ml_experiment_nb.records import duration

    yield "run", record.run_id
    yield "name", record.name
    yield "experiment", record.experiment
    yield "kind", record.kind
    yield "status", record.status
    yield "started", record.started.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    yield "took", duration(record.seconds)
    if record.parent_id:
        yield "group", record.parent_id
    if record.failure:
        yield "error", record.failure


def _results(record: Record, files: Sequence[str], every: bool) -> Iterator[tuple[str, Any]]:
    yield from _listed("params", record.params)
    yield from _listed("metrics", record.metrics)
    if record.autologged and every:
        yield from _listed("libraries", record.autologged)
    elif record.autologged:
        yield "libraries", f"{len(record.autologged)} parameters that a library has of itself (--all lists them)"
    yield "files", record.artifact_uri
    yield from (("", path) for path in sorted(files, key=lambda path: (path.startswith("record/"), path)))


def _listed(title: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield title, ""
    yield from ((f"  {name}", value) for name, value in values.items())


def _circumstances(record: Record, every: bool) -> Iterator[tuple[str, Any]]:
    from ml_experiment_nb.cards import replays_of, warnings_of

    yield from (("note", note) for note in record.notes)
    yield from (("warning", text) for text in warnings_of(record) if not text.startswith("hidden state"))  # a note
    yield from (("replay", text) for text in replays_of(record))
    tags = record.tags
    if source := tags.get("mlflow.source.name"):
        commit = tags.get("mlflow.source.git.commit", "")[:10]
        yield "source", f"{source}, commit {commit}" if commit else source
    if "mlexp.cwd" in tags:
        yield "ran in", tags["mlexp.cwd"]
    if machine := _machine(tags):
        yield "machine", machine
    for name, text in sorted(tags.items()):
        if _is_worth_showing(name) and (every or not _is_told(name)):
            yield name.removeprefix("mlexp."), text


def _machine(tags: Mapping[str, str]) -> str:
    """Return in words what a run ran on."""
    from ml_experiment_nb.quantities import size

    cores, memory, python = (tags.get(_SYSTEM + name, "") for name in ("cores_logical", "memory", "python"))
    parts = [tags.get(_SYSTEM + "hostname", ""), tags.get(_SYSTEM + "cpu", "")]
    parts += [f"{cores} cores" if cores else "", size(int(memory)) if memory.isdigit() else ""]
    parts += [tags.get(_SYSTEM + "gpus", ""), f"Python {python}" if python else ""]
    return ", ".join(part for part in parts if part)


def _is_worth_showing(tag: str) -> bool:
    return tag.startswith(("mlexp.", "mlflow.source.", "mlflow.docker.")) and tag not in _READ


def _is_told(tag: str) -> bool:
    """Return whether a tag is said in words, or tells people nothing."""
    return tag.startswith((_SYSTEM, "mlflow.source.git.")) or tag in (*_IN_WORDS, *_INTERNAL)
