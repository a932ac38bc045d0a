"""Two runs compared, given what is known of each: pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ml_experiment_nb.capture.packages import DIGEST
from ml_experiment_nb.comparison.shown import as_html, as_text
from ml_experiment_nb.comparison.texts import Hunk, cell_hunks, code_of, is_notebook, output_hunks, text_hunks
from ml_experiment_nb.records import Record, number

_GIT = {
    "commit": "mlflow.source.git.commit",
    "branch": "mlflow.source.git.branch",
    "remote": "mlflow.source.git.repoURL",
    "dirty": "mlexp.git.dirty",
}
_OURS = ("mlexp.", "mlflow.")
_SYSTEM = "mlexp.system."
_SEEDS = "mlexp.seeds"


@dataclass(frozen=True)
class Evidence:
    """What is known of a run.

    Attributes:
        record: Its record.
        sources: The text of each file that ran, by name.
        notebooks: The text of each executed notebook that it left, by name.
        packages: The version of each package that was installed.
        git_diff: What was not committed.
        data: The digest of each of its data sets.
        files: What tells the content of each file that it left, by path.
        unread: Those of them that may be the other run's or not: of the same size, and too large to be read.
    """

    record: Record
    sources: Mapping[str, str] = field(default_factory=dict)
    notebooks: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    git_diff: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """Something with a name that is not the same in both runs; None where a run hasn't got it.

    `note` says how far apart they are, where that can be said.
    """

    name: str
    before: str | None
    after: str | None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """What runs differ in, of one kind.

    Attributes:
        title: The kind.
        changes: Values that differ.
        hunks: Texts that differ.
        same: How many are the same.
        unread: The names of what has the same size, and was too large to be compared.
    """

    title: str
    changes: tuple[Change, ...] = ()
    hunks: tuple[Hunk, ...] = ()
    same: int = 0
    unread: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many differ."""
        return len(self.changes) + len(self.hunks)


@dataclass(frozen=True)
class Diff:
    """What differs between two runs; true if anything does.

    Attributes:
        a: The one run.
        b: The other.
        sections: What was compared, of each kind; kinds that neither run has anything of are left out.
    """

    a: Record
    b: Record
    sections: tuple[Section, ...]

    def __bool__(self) -> bool:
        return any(section.count for section in self.sections)

    def __getitem__(self, title: str) -> Section:
        """Return what differs of a kind, such as ``diff(a, b)["parameters"]``."""
        for section in self.sections:
            if section.title == title:
                return section
        raise KeyError(title)

    @property
    def differing(self) -> list[Section]:
        """The kinds in which they differ."""
        return [section for section in self.sections if section.count]

    @property
    def equal(self) -> list[Section]:
        """The kinds in which they don't."""
        return [section for section in self.sections if not section.count and section.same]

    def to_json(self) -> str:
        """Return it as a line of JSON."""
        sections = {one.title: {k: v for k, v in asdict(one).items() if k != "title"} for one in self.sections}
        return json.dumps({"a": self.a.run_id, "b": self.b.run_id, "sections": sections})

    def __str__(self) -> str:
        return as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return as_html(self)


def differences(a: Evidence, b: Evidence) -> Diff:
    """Compare two runs by what is known of them."""
    first, second = a.record, b.record
    found = [
        _section("run", _facts(first), _facts(second)),
        _section("parameters", _texts(first.params), _texts(second.params)),
        _metrics(first, second),
        _sources(a, b),
        _section("seeds", _seeds(first), _seeds(second)),
        _section("data", a.data, b.data),
        _section("packages", *_comparable(a.packages, b.packages)),
        _section("machine", _machine(first), _machine(second)),
        _git(a, b),
        _section("tags", _tags(first), _tags(second)),
        _outputs(a, b),
        _files(a, b),
    ]
    return Diff(first, second, tuple(one for one in found if one.count or one.same or one.unread))


def _section(title: str, a: Mapping[str, str], b: Mapping[str, str]) -> Section:
    names = dict.fromkeys([*a, *b])
    changes = tuple(Change(name, a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name))
    return Section(title, changes, same=len(names) - len(changes))


def _files(a: Evidence, b: Evidence) -> Section:
    found = _section("files", a.files, b.files)
    unread = tuple(name for name in a.files if name in b.files and name in a.unread & b.unread)
    return replace(found, same=found.same - len(unread), unread=unread)


def _comparable(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return packages without the digests of their files, but where both have one and nothing else differs."""

    def told(name: str, own: Mapping[str, str], others: Mapping[str, str]) -> str:
        (plain, _, digest), (other, _, others_digest) = (
            own[name].partition(DIGEST),
            others.get(name, "").partition(DIGEST),
        )
        differs = plain == other and digest and others_digest and digest != others_digest
        return f"{plain} (files sha256:{digest[:12]})" if differs else plain

    return {name: told(name, a, b) for name in a}, {name: told(name, b, a) for name in b}


def _facts(record: Record) -> dict[str, str]:
    facts = {"name": record.name, "experiment": record.experiment, "kind": record.kind, "status": str(record.status)}
    return facts | ({"error": str(record.failure)} if record.failure else {})


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _metrics(a: Record, b: Record) -> Section:
    names = dict.fromkeys([*a.metrics, *b.metrics])
    changes = [_metric(name, a.metrics.get(name), b.metrics.get(name)) for name in names]
    found = tuple(change for change in changes if change is not None)
    return Section("metrics", found, same=len(names) - len(found))


def _metric(name: str, a: float | None, b: float | None) -> Change | None:
    if a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b)):
        return None
    note = ""
    if a is not None and b is not None and math.isfinite(b - a):
        share = f" ({(b - a) / abs(a):+.2%})" if a else ""
        note = f"{'+' if b > a else ''}{number(b - a)}{share}"
    before, after = (None if one is None else number(one) for one in (a, b))
    if before == after:  # as people read it they are the same
        before, after = repr(a), repr(b)
    return Change(name, before, after, note)


def _sources(a: Evidence, b: Evidence) -> Section:
    names = dict.fromkeys([*a.sources, *b.sources])
    if len(a.sources) == len(b.sources) == 1 and len(names) == 2:  # a file that has got another name
        (old, before), (new, after) = *a.sources.items(), *b.sources.items()
        if is_notebook(old) == is_notebook(new):
            return Section("source", (Change("file", old, new),), tuple(text_hunks(new, before, after)))
        first, second = (code_of(text) if is_notebook(name) else [text] for name, text in ((old, before), (new, after)))
        if first is not None and second is not None:  # a cell's run and its notebook's
            name = new if is_notebook(new) else old
            return Section("source", (Change("file", old, new),), tuple(cell_hunks(name, first, second)))
    hunks = {name: text_hunks(name, a.sources.get(name), b.sources.get(name)) for name in names}
    same = sum(not found for found in hunks.values())
    return Section("source", hunks=tuple(hunk for found in hunks.values() for hunk in found), same=same)


def _seeds(record: Record) -> dict[str, str]:
    try:
        found = json.loads(record.tags.get(_SEEDS, "{}"))
    except ValueError:
        return {}
    return _texts(found) if isinstance(found, dict) else {}


def _machine(record: Record) -> dict[str, str]:
    return {name.removeprefix(_SYSTEM): text for name, text in record.tags.items() if name.startswith(_SYSTEM)}


def _git(a: Evidence, b: Evidence) -> Section:
    first, second = (
        {key: e.record.tags[tag] for key, tag in _GIT.items() if tag in e.record.tags} | _uncommitted(e.git_diff)
        for e in (a, b)
    )
    return _section("git", first, second)


def _uncommitted(diff: str) -> dict[str, str]:
    """Return of each file in a work tree's diff how many lines were added and removed, and what tells the change."""
    found = {}
    for part in re.split(r"^diff --git ", diff, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        content = [line for line in body.splitlines() if not line.startswith(("index ", "+++", "---"))]
        added, removed = (sum(line.startswith(mark) for line in content) for mark in "+-")
        mark = hashlib.sha256("\n".join(content).encode()).hexdigest()[:8]
        found[f"uncommitted {head.rpartition(' b/')[2]}"] = f"+{added} -{removed} lines ({mark})"
    return found


def _tags(record: Record) -> dict[str, str]:
    return {name: text for name, text in record.tags.items() if not name.startswith(_OURS)}


def _outputs(a: Evidence, b: Evidence) -> Section:
    """Compare what the cells of notebooks have shown that both runs have executed."""
    names = [name for name in a.notebooks if name in b.notebooks]
    pairs = [(name, a.notebooks[name], b.notebooks[name]) for name in names]
    if not names and len(a.notebooks) == len(b.notebooks) == 1:  # the one has got another name
        [before], [(name, after)] = a.notebooks.values(), b.notebooks.items()
        pairs = [(name, before, after)]
    found = [output_hunks(*pair) for pair in pairs]
    return Section("outputs", hunks=tuple(hunk for one in found for hunk in one), same=sum(not one for one in found))
