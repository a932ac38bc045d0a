"""Whether a run that was done again has given the same: metrics compared, and a verdict with what differs first. Pure.

There are four answers: *identical*; *within tolerance*, where all that differs are metrics and each by no more than is
allowed; *differs*; *could not run*, where there is nothing to compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.quantities import number, signed

Curve: TypeAlias = Sequence[tuple[int, float]]
"""The values that a metric had, each with its step, in their order."""

ALL: Final = "*"
"""The pattern of a tolerance that is for every metric."""

_SHOWN = 20  # differences that a verdict's text tells
_PLURALS = {"metric": "metrics", "output": "outputs", "file": "files"}


class VerdictAnswer(StrEnum):
    """What a verdict says."""

    IDENTICAL = "identical"
    WITHIN = "within tolerance"
    DIFFERS = "differs"
    COULD_NOT_RUN = "could not run"

    @property
    def is_same(self) -> bool:
        """Whether the run may be taken for reproduced."""
        return self in (VerdictAnswer.IDENTICAL, VerdictAnswer.WITHIN)


@dataclass(frozen=True)
class Tolerance:
    """How far a metric may be from what it was, either way: `absolute`, or as a share of what it was."""

    absolute: float = 0.0
    relative: float = 0.0

    def allows(self, before: float, after: float) -> bool:
        """Return whether a value is near enough; what is no number is so only to itself."""
        if _same(before, after) or math.isinf(self.absolute):
            return True
        gap = abs(after - before)
        return math.isfinite(gap) and gap <= max(self.absolute, self.relative * abs(before)) * (1 + 1e-12)

    def __str__(self) -> str:
        return f"{self.relative:.6%}".rstrip("0%").rstrip(".") + "%" if self.relative else number(self.absolute)


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in both runs.

    Attributes:
        kind: What it is: ``metric``, ``output``, ``file``, ``status`` …; of a cause ``data``, ``packages`` ….
        name: Which one.
        before: What it was; None where it wasn't there.
        after: What it is now; None where it isn't there any more.
        note: More of it, such as how far apart they are.
        tolerated: Whether it is a metric's that is allowed to differ so much.
    """

    kind: str
    name: str
    before: str | None = None
    after: str | None = None
    note: str = ""
    tolerated: bool = False

    def __str__(self) -> str:
        if self.before is None and self.after is None:
            values = ""
        elif self.before is None:
            values = f"is new ({self.after})"
        elif self.after is None:
            values = f"is not there any more (it was {self.before})"
        else:
            values = f"{self.before} → {self.after}"
        return " ".join(filter(None, (self.kind, self.name, values, f"({self.note})" if self.note else "")))


@dataclass(frozen=True)
class Verdict:
    """What came of doing a run again.

    Attributes:
        answer: One of the four.
        differences: What differs in what came of it, what weighs most first.
        compared: How many metrics, outputs, files … were compared, by their kind.
        causes: What was not as it was before it ran: data, packages, code ….
        reason: Why it could not run.
        notes: What was not compared, each in a few words.
    """

    answer: VerdictAnswer
    differences: tuple[Difference, ...] = ()
    compared: Mapping[str, int] = field(default_factory=dict)
    causes: tuple[Difference, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Difference | None:
        """What differs first; None where nothing does that isn't tolerated."""
        return next((one for one in self.differences if not one.tolerated), None)

    @property
    def sentence(self) -> str:
        """The verdict in a line."""
        match self.answer:
            case VerdictAnswer.COULD_NOT_RUN:
                return f"{self.answer}: {self.reason}"
            case VerdictAnswer.IDENTICAL:
                return "; ".join([f"{self.answer}: {_counted(self.compared)}", *self.notes])
            case VerdictAnswer.WITHIN:
                return f"{self.answer}: {_and_more(self.differences)}"
        data = "".join(f"{one.kind} {one.name} is another, " for one in self.causes if one.kind == "data")
        return f"{self.answer}: {data}{_and_more([one for one in self.differences if not one.tolerated])}"

    def to_json(self) -> str:
        """Return it as a line of JSON; `from_json` reads it back."""
        return json.dumps({**asdict(self), "answer": self.answer.value, "sentence": self.sentence})

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """Read what `to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        return cls(
            VerdictAnswer(data["answer"]),
            tuple(Difference(**one) for one in data["differences"]),
            data["compared"],
            tuple(Difference(**one) for one in data["causes"]),
            data["reason"],
            tuple(data.get("notes", ())),
        )

    def __str__(self) -> str:
        lines = [self.sentence]
        lines += [f"  not compared   {one}" for one in self.notes if self.answer is not VerdictAnswer.IDENTICAL]
        lines += [f"  before it ran  {one}" for one in self.causes[:_SHOWN]]
        if len(self.causes) > _SHOWN:
            lines.append(f"  before it ran  … and {len(self.causes) - _SHOWN} more")
        lines += [f"  {'tolerated' if one.tolerated else 'differs':<13}  {one}" for one in self.differences[:_SHOWN]]
        if len(self.differences) > _SHOWN:
            lines.append(f"  {'differs':<13}  … and {len(self.differences) - _SHOWN} more")
        return "\n".join(lines)


def judged(
    differences: Iterable[Difference],
    compared: Mapping[str, int],
    causes: Iterable[Difference] = (),
    notes: Iterable[str] = (),
) -> Verdict:
    """Return the verdict on a run that ran, from all that differs in what came of it, in the order of its weight.

    Args:
        differences: What differs.
        compared: How many things were compared, by their kind.
        causes: What was not as it was before it ran.
        notes: What was not compared, each in a few words.
    """
    found = tuple(differences)
    answer = (
        VerdictAnswer.IDENTICAL
        if not found
        else VerdictAnswer.WITHIN
        if all(one.tolerated for one in found)
        else VerdictAnswer.DIFFERS
    )
    counts = {kind: count for kind, count in compared.items() if count}
    return Verdict(answer, found, counts, tuple(causes), notes=tuple(notes))


def could_not_run(reason: str, causes: Iterable[Difference] = ()) -> Verdict:
    """Return the verdict on a run that could not be done again, or failed where it had not.

    Args:
        reason: Why, in a line.
        causes: What was not as it was before it ran.
    """
    return Verdict(VerdictAnswer.COULD_NOT_RUN, causes=tuple(causes), reason=" ".join(reason.split()))


# --- metrics ---


def metric_differences(
    before: Mapping[str, float | Curve],
    after: Mapping[str, float | Curve],
    tolerances: Mapping[str, Tolerance] | None = None,
) -> list[Difference]:
    """Return which metrics differ, those that are not tolerated first.

    Args:
        before: What they were, by name: a value, or all values that one had with their steps.
        after: What they are now.
        tolerances: How far those may be, by name or by a pattern of names such as ``val_*``.
    """
    found = [
        _metric(name, before.get(name), after.get(name), _tolerance(name, tolerances or {}))
        for name in dict.fromkeys([*before, *after])
    ]
    return sorted((one for one in found if one is not None), key=lambda one: one.tolerated)


def read_tolerances(words: Iterable[str], known: Iterable[str] | None = None) -> dict[str, Tolerance]:
    """Read ``val_accuracy=0.01``, ``loss=1%``, ``val_*=0.01``, and ``0.01`` or ``1%`` for every metric.

    ``seconds=inf`` lets a metric be whatever it is.

    Args:
        words: What was typed.
        known: The names of metrics that there are; one that is named and isn't among them is a mistake.

    Raises:
        SpecError: One can't be read, or names no metric.
    """
    found = {}
    for word in words:
        name, equals, text = word.rpartition("=")
        pattern = name.strip() if equals else ALL
        if not pattern:
            raise SpecError(f"--tolerance {word}: write it as METRIC=VALUE, such as val_accuracy=0.01 or loss=1%")
        names = None if known is None else list(known)
        if names is not None and pattern != ALL and not any(fnmatchcase(one, pattern) for one in names):
            told = nearest(pattern, names) or f": it has {', '.join(sorted(names)) or 'none'}"
            raise SpecError(f"--tolerance {word}: the run has no metric {pattern!r}{told}")
        found[pattern] = _read_tolerance(word, text.strip())
    return found


def _read_tolerance(word: str, text: str) -> Tolerance:
    share = text.endswith("%")
    try:
        value = float(text.rstrip("% "))
    except ValueError:
        value = math.nan
    if not value >= 0:  # nan is no tolerance either
        raise SpecError(f"--tolerance {word}: {text!r} is no number from 0 on, such as 0.01, 1% or inf")
    return Tolerance(relative=value / 100) if share and math.isfinite(value) else Tolerance(absolute=value)


def _tolerance(name: str, tolerances: Mapping[str, Tolerance]) -> Tolerance:
    """Return a metric's tolerance: its own, else that of the first pattern that fits, else none."""
    if name in tolerances:
        return tolerances[name]
    fitting = (one for pattern, one in tolerances.items() if pattern != ALL and fnmatchcase(name, pattern))
    return next(fitting, tolerances.get(ALL, Tolerance()))


def _metric(name: str, before: float | Curve | None, after: float | Curve | None, may: Tolerance) -> Difference | None:
    a, b = _curve(before), _curve(after)
    if not a or not b:
        tolerated = math.isinf(may.absolute)
        told = [number(one[-1][1]) if one else None for one in (a, b)]
        return Difference("metric", name, told[0], told[1], tolerated=tolerated) if a or b else None
    several = len(a) > 1 or len(b) > 1
    unlike = [(x, y) for x, y in zip(a, b, strict=False) if x[0] != y[0] or not _same(x[1], y[1])]
    beyond = [pair for pair in unlike if pair[0][0] != pair[1][0] or not may.allows(pair[0][1], pair[1][1])]
    if math.isinf(may.absolute):
        beyond = []
    elif len(a) != len(b) and not beyond:
        return Difference("metric", name, f"{len(a)} values", f"{len(b)} values", "as far as both go they agree")
    if not unlike and len(a) == len(b):
        return None
    # What differs first says most; of what is tolerated, what is farthest.
    pairs = beyond or sorted(unlike, key=lambda pair: -abs(pair[1][1] - pair[0][1])) or [(a[-1], b[-1])]
    (step, old), (other, new) = pairs[0]
    notes = [f"at step {step}" if step == other else f"at step {step}, then {other}"] if several else []
    notes += [_gap(old, new)] if math.isfinite(new - old) else []
    notes += [f"allowed: {may}"] if may != Tolerance() else []
    shown = number(old), number(new)
    if shown[0] == shown[1]:  # as people read them they are the same
        shown = repr(old), repr(new)
    return Difference("metric", name, *shown, ", ".join(notes), tolerated=not beyond)


def _curve(value: float | Curve | None) -> Curve:
    if value is None:
        return ()
    return value if isinstance(value, Sequence) else ((0, float(value)),)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _gap(before: float, after: float) -> str:
    share = f" or {(after - before) / abs(before):+.2%}" if before else ""
    return f"{signed(after - before)}{share}"


# --- words ---


def _counted(compared: Mapping[str, int]) -> str:
    """Return ``3 metrics and 1 file are the same``."""
    told = [f"{count} {kind if count == 1 else _PLURALS.get(kind, f'{kind}s')}" for kind, count in compared.items()]
    if not told:
        return "it ended as it had, and has nothing else to compare"
    listed = " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
    return f"{listed} {'is' if listed.startswith('1 ') and len(told) == 1 else 'are'} the same"


def _and_more(differences: Sequence[Difference]) -> str:
    more = f"; and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{differences[0]}{more}" if differences else ""
