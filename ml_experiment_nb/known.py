"""What is known already of what a plan asks for: records that succeeded with the same code, parameters, data, packages.

Pure: which records there are is looked up by `needs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ml_experiment_nb.capture.basis import ENVIRONMENT, MODULES, VALUES
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.containment import CONTAINED
from ml_experiment_nb.records import Record
from ml_experiment_nb.trials import DRAWN

TAKEN_FROM: Final = "mlexp.taken_from"
"""The tag that names the run whose result a run has, which ran nothing itself."""

REPLAY_OF: Final = "mlexp.replay.of"
"""The tag of a replay that names its original."""

TAKEN: Final = "taken from"
"""How the note begins that says so."""

DATA: Final = "mlexp.data"
_SHOWN = 3
_DIGEST = re.compile(r"\) ([0-9a-f]{32})(?=; |$)")


@dataclass(frozen=True)
class Known:
    """What is known of a plan's tasks.

    Attributes:
        records: The records that count, by the digest of what was asked; the newest of several.
        compared: What was compared, in words.
        apart: Why other records of the same code don't count, each in a few words.
        whole: The records of all that the plan asks for, its own last, where nothing is left to do.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    compared: str = ""
    apart: tuple[str, ...] = ()
    whole: tuple[Record, ...] = ()


def compared(tags: Mapping[str, str], inputs: Sequence[Input]) -> str:
    """Return what is compared of records, in words: the tags are those of the plan's own runs."""
    modules, values = tags[MODULES], tags.get(VALUES, "none")
    files = "" if modules == "none" else f" with {modules.rpartition(' ')[0]} that it imports"
    parts = [f"code{files}", "parameters"]
    parts += [f"data ({', '.join(one.name for one in inputs)})"] if inputs else []
    parts += ["what it reads of the notebook"] if values != "none" else []
    return ", ".join([*parts, tags[ENVIRONMENT].replace("; ", ", ")])


def differences(record: Record, tags: Mapping[str, str], inputs: Sequence[Input]) -> list[str]:
    """Return what sets a record apart from a plan's runs, besides what is asked; nothing where it is all the same.

    Args:
        record: A record with all of its tags.
        tags: Those that the plan's own runs get.
        inputs: The data that they read, as it is now.
    """
    had = record.tags
    if MODULES not in had or ENVIRONMENT not in had:
        return ["it doesn't say what its code imported"]
    found = []
    if had[MODULES] != tags[MODULES]:
        found.append("the files that its code imports were others")
    if had[ENVIRONMENT] != tags[ENVIRONMENT]:
        found.append(_environments(had[ENVIRONMENT], tags[ENVIRONMENT]))
    if VALUES not in had:
        found.append("it doesn't say what its code read of the notebook")
    elif had[VALUES] != tags.get(VALUES):
        found.append("what its code read of the notebook was something else")
    there = digests_of(record)
    found += [f"{one.name} was another, or not recorded" for one in inputs if one.digest not in there]
    return found


def digests_of(record: Record) -> list[str]:
    """Return the digests of the data that a run has read."""
    return _DIGEST.findall(record.tags.get(DATA, ""))


def counts(record: Record, goals: Iterable[str] = ()) -> bool:
    """Return whether a record can stand for a run.

    It finished, it is of a run that ran, whose code drew no parameters besides those it was given, and it has the
    metrics that are asked for. A replay and a run in a container had another environment than the one their tags tell.
    """
    apart = {TAKEN_FROM, DRAWN, REPLAY_OF, CONTAINED} & record.tags.keys()
    return record.ok and not apart and all(name in record.metrics for name in goals)


def taken(record: Record) -> Record:
    """Return a record as that of what is asked now, saying where it is from."""
    note = taken_note(record)
    notes = (note, *(one for one in record.notes if not one.startswith(TAKEN)))
    return replace(record, notes=notes, tags={**record.tags, TAKEN_FROM: str(record.run_id)})


def taken_note(record: Record) -> str:
    """Return what the record says of a run whose result is that of another one."""
    return f"{TAKEN} {source_text(record)}; nothing was run"


def taken_of_group(done: Sequence[Record]) -> list[str]:
    """Return what the record of a group says of those of its runs whose results are those of others."""
    found = [(one.name, one.tags[TAKEN_FROM][:8]) for one in done if TAKEN_FROM in one.tags]
    if not found:
        return []
    told = ", ".join(f"{name} from {run}" for name, run in found[:_SHOWN])
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return [f"{len(found)} of {len(done)} runs were not run, and are {TAKEN} earlier ones: {told}{more}"]


def source_text(record: Record) -> str:
    """Return a run and when it began, as people read it."""
    return f"{str(record.run_id)[:8]} ({record.started.astimezone():%Y-%m-%d %H:%M})"


def facts(known: Known) -> list[tuple[str, str]]:
    """Return what a plan says of what is known, as names and lines of text."""
    lines = [("known", f"all of it: {TAKEN} {source_text(known.whole[-1])}")] if known.whole else []
    if not lines:
        count = len(known.records)
        told = f"{count} run{'' if count == 1 else 's'}: what is asked again is taken from there"
        lines = [("known", told if count else "nothing of it yet")]
        newest = sorted(known.records.values(), key=lambda one: one.started, reverse=True)
        lines += [("", f"{one.name}, {source_text(one)}") for one in newest[:_SHOWN]]
        lines += [("", f"and {count - _SHOWN} more")] if count > _SHOWN else []
        lines += [("", one) for one in known.apart]
    return [*lines, ("compared", known.compared)]


def _environments(then: str, now: str) -> str:
    before, after = then.split("; "), now.split("; ")
    gone = ", ".join(one for one in before if one not in after)
    new = ", ".join(one for one in after if one not in before)
    return f"it had {gone or 'no ' + new}" + (f", and now it is {new}" if gone and new else "")
