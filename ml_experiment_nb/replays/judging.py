"""What differs between a run and its replay, made a verdict; and what was not as it was before it ran. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import zip_longest
from typing import Final

from ml_experiment_nb.comparison.differences import Diff, Evidence, Section, differences
from ml_experiment_nb.quantities import line_of
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.verdicts import Curve, Difference, Tolerance, Verdict, could_not_run, judged, metric_differences

_VOLATILE: Final = (
    (re.compile(r"\b0x[0-9a-fA-F]{6,}\b"), "0x…"),
    (re.compile(r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?"), "DATE"),
    (re.compile(r"\b\d\d:\d\d(:\d\d([.,]\d+)?)?\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? ?(ns|us|µs|ms|s|sec|secs|seconds|min|minutes|it/s|s/it)\b"), "DURATION"),
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "CELL"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
)
"""What is printed of the moment, and not of what was computed."""

_MODEL: Final = re.compile(
    rb"^.*\b(run_id|utc_time_created|model_uuid|model_id|artifact_path|model_size_bytes)\b.*\n?", re.MULTILINE
)
_MODEL_FILE: Final = "MLmodel"
_MACHINE: Final = frozenset({"os", "cpu", "gpus", "gpu_driver", "cuda", "python"})
_DATA: Final = "its content is another than in that run"
_SHOWN: Final = 4  # names that a cause tells of many


def causes_of(
    before: Evidence, here: Evidence, changed: Sequence[str] = (), notes: Sequence[str] = ()
) -> list[Difference]:
    """Return what is not as it was before a run is done again: data first, then code, packages, machine, seeds.

    Args:
        before: What the run's record says of its data, packages and machine.
        here: What there is now.
        changed: The files that were taken as they are today, and have changed since.
        notes: What could not be had as it was.
    """
    found = {section.title: section for section in differences(before, here).sections}
    causes = [_shortened(one) for one in _of(found.get("data"), "data")]
    told = {one.name for one in causes}
    changed = [name for name in changed if name not in told]
    causes += [Difference("code", note=note, name="") for note in notes]
    if changed:
        named = sorted(changed, key=lambda name: not name.endswith(".py"))
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        text = f"{'was' if len(named) == 1 else 'were'} changed since that run and not kept with it: as today"
        causes.append(Difference("files", f"{', '.join(named[:_SHOWN])}{more}", note=text))
    causes += _of(found.get("packages"), "package")
    causes += [one for one in _of(found.get("machine"), "machine") if one.name in _MACHINE]
    if unseeded := before.record.tags.get("mlexp.unseeded"):
        causes.append(Difference("seed", unseeded, note="random numbers were drawn without a seed"))
    return causes


def verdict_of(
    before: Evidence,
    after: Evidence,
    *,
    curves: tuple[Mapping[str, Curve], Mapping[str, Curve]],
    logs: tuple[str, str] = ("", ""),
    alike: Container[str] = (),
    tolerances: Mapping[str, Tolerance] | None = None,
    ignored: Sequence[str] = (),
    causes: Sequence[Difference] = (),
    elsewhere: bool = False,
    notes: Sequence[str] = (),
) -> Verdict:
    """Return the verdict on a replay.

    Args:
        before: What is known of the run.
        after: What is known of its replay.
        curves: The values of each one's metrics.
        logs: What each has printed.
        alike: Files whose bytes differ, and that are the same; see `is_alike`.
        tolerances: How far metrics may be apart.
        ignored: Patterns of names, or kinds, that are not compared.
        causes: What was not as it was before it ran.
        elsewhere: Whether it ran in a container, whose packages are known only now.
        notes: What was not compared, each in a few words.
    """
    old, new = before.record, after.record
    if old.status is Status.FINISHED and new.status is not Status.FINISHED:
        return could_not_run(_why(new), causes)
    before, after = _settled(before), _settled(after)
    diff = differences(before, after)
    later = [_shortened(one) for one in _of(_section(diff, "data"), "data") if one.name not in {c.name for c in causes}]
    later += _of(_section(diff, "packages"), "package") if elsewhere else []
    metrics = metric_differences(*curves, tolerances)
    own = [one for one in metrics if not one.tolerated]
    found = [*_status(old, new), *own, *_files(diff, alike), *_outputs(before, after, diff, logs)]
    found = [one for one in [*found, *(one for one in metrics if one.tolerated)] if not _is_ignored(one, ignored)]
    unread = {one for one in _unread(diff) if not _fits("file", one, ignored)}
    if unread:
        several = f"the file {min(unread)} was" if len(unread) == 1 else f"{len(unread)} files were"
        notes = [*notes, f"{several} too large to be read, and of the same size"]
    compared = {
        "metric": len([name for name in dict.fromkeys([*curves[0], *curves[1]]) if not _fits("metric", name, ignored)]),
        "file": len([one for one in {*before.files, *after.files} - unread if not _fits("file", one, ignored)]),
        "output": 0 if _fits("output", "output", ignored) else len(before.notebooks) or int(any(logs)),
    }
    return judged(found, compared, [*later, *causes], notes)


def _why(record: Record) -> str:
    if record.status is Status.FAILED:
        return f"it failed with {record.failure}" if record.failure else "it failed"
    return f"it was stopped ({record.failure})" if record.failure else f"it was {record.status}"


def _status(old: Record, new: Record) -> list[Difference]:
    if old.status is not new.status:
        return [Difference("status", "", old.status.value, new.status.value, str(old.failure or ""))]
    a, b = (" ".join(_plain(str(one.failure)).split()) if one.failure else None for one in (old, new))
    return [Difference("error", "", a, b)] if a != b else []


def _of(section: Section | None, kind: str) -> list[Difference]:
    return [Difference(kind, one.name, one.before, one.after, one.note) for one in section.changes] if section else []


def _shortened(one: Difference) -> Difference:
    """Return what differs of data with as much of the digests as tells them apart."""
    before, after = (None if text is None else text[:12] for text in (one.before, one.after))
    return replace(one, before=before, after=after, note=_DATA if before and after else one.note)


def _section(diff: Diff, title: str) -> Section | None:
    return next((one for one in diff.sections if one.title == title), None)


# --- files ---


def _settled(evidence: Evidence) -> Evidence:
    """Return evidence without what stands for itself elsewhere, or is of the moment: a notebook's page, its texts."""
    pages = {f"{name.removesuffix('.ipynb')}.html" for name in evidence.notebooks}
    notebooks = {name: _plain(text) for name, text in evidence.notebooks.items()}
    return replace(
        evidence, files={name: one for name, one in evidence.files.items() if name not in pages}, notebooks=notebooks
    )


def _unread(diff: Diff) -> tuple[str, ...]:
    section = _section(diff, "files")
    return section.unread if section is not None else ()


def _files(diff: Diff, alike: Container[str]) -> list[Difference]:
    return [one for one in _of(_section(diff, "files"), "file") if one.name not in alike]


def is_alike(path: str, before: bytes, after: bytes, names: Mapping[str, str]) -> bool:
    """Return whether a file of a replay is the original's but for what names the run: its id, its folders.

    Libraries write these into what they save. Of what MLflow says of a model, its id and its moment don't count either.

    Args:
        path: The file's path.
        before: What the original has.
        after: What the replay has.
        names: What stands in the replay's files, and in its place in the original's.
    """
    for new, old in names.items():
        after = after.replace(new.encode(), old.encode())
    if path.rpartition("/")[2] == _MODEL_FILE:
        before, after = _MODEL.sub(b"", before), _MODEL.sub(b"", after)
    return before == after


# --- outputs ---


def _outputs(before: Evidence, after: Evidence, diff: Diff, logs: tuple[str, str]) -> list[Difference]:
    """Return what was shown otherwise: by cells of notebooks, else what was printed, where that first differs."""
    if before.notebooks and after.notebooks:
        section = _section(diff, "outputs")
        return [_hunk(hunk.name, hunk.lines) for hunk in (section.hunks if section else ())]
    old, new = (_plain(text).splitlines() for text in logs)
    for number, (a, b) in enumerate(zip_longest(old, new), start=1):
        if a != b:
            return [Difference("output", f"line {number}", _cut(a), _cut(b))]
    return []


def _hunk(name: str, lines: Sequence[str]) -> Difference:
    gone = next((line[1:] for line in lines if line.startswith("-")), None)
    new = next((line[1:] for line in lines if line.startswith("+")), None)
    return Difference("output", name, _cut(gone), _cut(new))


def _plain(text: str) -> str:
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return text


def _cut(line: str | None) -> str | None:
    if line is None:
        return None
    return json.dumps(line_of(line, 80), ensure_ascii=False)


# --- what is not compared ---


def _is_ignored(one: Difference, ignored: Sequence[str]) -> bool:
    return _fits(one.kind, one.name, ignored)


def _fits(kind: str, name: str, patterns: Sequence[str]) -> bool:
    return any(pattern in (kind, f"{kind}s") or fnmatchcase(name, pattern) for pattern in patterns)
