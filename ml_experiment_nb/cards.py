"""A run's card: what it was given, what came of it and what changed since the run before, on a few lines.

Pure: of records are made HTML, Markdown and text, and nothing is looked up.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ml_experiment_nb import proofs
from ml_experiment_nb.markup import Column, Html, Table, as_html, as_markdown, escaped, in_markdown, picture_type
from ml_experiment_nb.quantities import difference, duration, number, signed, size, text_of, told_apart

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record

ROWS = 20  # parameters, or metrics, that a card shows
FILES = 8
HIDDEN_STATE: Final = "the session has hidden state"
"""How the note begins that a run depends on what its notebook's cells alone don't give."""
_NONE = "—"
_COLOURS = {
    "better": "var(--jp-success-color1, #1f883d)",
    "worse": "var(--jp-error-color1, #cf222e)",
    "failed": "var(--jp-error-color1, #cf222e)",
    "finished": "var(--jp-success-color1, #1f883d)",
    "warning": "var(--jp-warn-color1, #9a6700)",
}


@dataclass(frozen=True)
class File:
    """A file that the run has kept: its path there, how many bytes it has, and these where it is a small image."""

    name: str
    length: int
    image: bytes | None = None


@dataclass(frozen=True)
class Card:
    """What a card shows.

    Attributes:
        record: The run.
        before: The run of the same cell before it, if there is one.
        goals: Of some metrics, whether more of it is better. Of others, a change is neither better nor worse.
        files: What the run has kept.
        page: The address of the run in MLflow's page, where one is known to be there.
    """

    record: Record
    before: Record | None = None
    goals: Mapping[str, bool] = field(default_factory=dict)
    files: Sequence[File] = ()
    page: str | None = None


@dataclass(frozen=True)
class Change:
    """How a metric changed: an arrow, by how much, and ``better`` or ``worse`` where that is known."""

    arrow: str
    by: str = ""
    verdict: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.arrow, self.by, self.verdict)))


def change(before: Any, after: Any, more_is_better: bool | None) -> Change:
    """Return how a metric changed.

    Args:
        before: Its value in the run before; None where it had none.
        after: Its value now; None where it has none.
        more_is_better: Whether more of it is better; None where nobody has said.
    """
    if before is None or after is None:
        return Change("new" if after is not None else "gone")
    if before == after or (_is_nan(before) and _is_nan(after)):
        return Change("=")
    if _is_nan(before) or _is_nan(after):
        return Change("≠")
    rises = after > before
    grown = difference(before, after)
    verdict = "" if more_is_better is None else "better" if rises == more_is_better else "worse"
    return Change("▲" if rises else "▼", "" if grown is None else signed(grown), verdict)


def warnings_of(record: Record) -> list[str]:
    """Return what speaks against a run's being the same when it is run again, each in a few words."""
    found = [note.partition(": ")[2] for note in record.notes if note.startswith(HIDDEN_STATE)]
    told = [f"hidden state: {text}" for text in found]
    if unseeded := record.tags.get("mlexp.unseeded"):
        told.append(f"random numbers drawn without a seed: {unseeded} (with --seed 1 each run draws the same)")
    if preflight := record.tags.get("mlexp.preflight"):
        told.append(preflight)
    if record.tags.get("mlexp.git.dirty") == "true":
        told.append("files differ from the git commit")
    return told


def replays_of(record: Record) -> list[str]:
    """Return what came of doing a run again, or of this one where it is such a replay, each in a few words."""
    tags, found = record.tags, []
    if (told := tags.get("mlexp.replay.sentence")) is not None:
        found.append(f"replay of {tags.get('mlexp.replay.of', '')[:8]}: {told}")
    if (told := tags.get("mlexp.replayed")) is not None:
        found.append(f"replayed as {tags.get('mlexp.replayed.by', '')[:8]}: {told}")
    return found


def card_text(card: Card) -> str:
    """Return a card as lines of text."""
    record = card.record
    name = record.run_id or "(not tracked)"
    lines = [f"{record.name}  {record.status.shown}  {duration(record.seconds)}  {name}"]
    if record.params:
        lines.append("  params   " + ", ".join(_param_text(card, one) for one in record.params))
    if record.metrics:
        lines.append("  metrics  " + ", ".join(_metric_text(card, one) for one in record.metrics))
    if record.failure:
        lines.append(f"  {record.failure}")
    if card.files:
        lines.append("  files    " + _files_text(card.files))
    lines += [f"  {line}" for line in replays_of(record)]
    lines += [f"  note: {note}" for note in _other_notes(record)]
    if proof := proofs.said(record.tags):
        lines.append(f"  proof    {proof}")
    if warnings := warnings_of(record):
        lines.append(f"  ⚠ {'; '.join(warnings)}")
    return "\n".join(lines)


def _param_text(card: Card, name: str) -> str:
    now = card.record.params
    if card.before is None or name not in card.before.params or _same(card.before.params, now, name):
        return f"{name}={number(now[name])}"
    before, value = told_apart(card.before.params[name], now[name])
    return f"{name}={value} (was {before})"


def _metric_text(card: Card, name: str) -> str:
    now = f"{name}={number(card.record.metrics[name])}"
    return now if card.before is None else f"{now} ({_change(card, name)})"


def _change(card: Card, name: str) -> Change:
    before = card.before.metrics.get(name) if card.before is not None else None
    return change(before, card.record.metrics.get(name), card.goals.get(name))


def card_html(card: Card) -> str:
    """Return a card as HTML that stands for itself."""
    record = card.record
    run = f" · run <code>{record.run_id[:8]}</code>" if record.run_id else " · not tracked"
    if card.page:
        run += f' · <a href="{escaped(card.page)}" target="_blank" rel="noopener">open in MLflow</a>'
    colour = _COLOURS.get(record.status.value, "inherit")
    status = f'<span style="color:{colour}">{escaped(record.status.shown)}</span>'
    parts = [f"<div><b>{escaped(record.name)}</b> · {status} in {duration(record.seconds)}{run}</div>"]
    if record.failure:
        parts.append(f'<div style="color:{_COLOURS["failed"]}">{escaped(number(str(record.failure)))}</div>')
    tables = [_metrics_html(card), _params_html(card)]
    if any(tables):
        parts.append(f'<div style="display:flex;flex-wrap:wrap;column-gap:2em">{_in_row(tables)}</div>')
    parts += _images_html(card.files)
    parts += [f"<div><small>{line}</small></div>" for line in _small_print(card)]
    parts += _proof_html(record)
    if warnings := warnings_of(record):
        sign = f'<span style="color:{_COLOURS["warning"]}">⚠</span>'
        parts.append(f"<div>{sign} {escaped('; '.join(warnings))}</div>")
    return f"<div>{''.join(parts)}</div>"


def _proof_html(record: Record) -> list[str]:
    if not (text := proofs.said(record.tags)):
        return []
    word, _, sentence = text.partition(": ")
    colour = _COLOURS["finished"] if word == proofs.ProofAnswer.CLEAN else _COLOURS["warning"]
    colour = "inherit" if word == proofs.RUNNING else colour
    told = f": {escaped(sentence)}" if sentence else ""
    return [f'<div>proof: <span style="color:{colour}">{escaped(word)}</span>{told}</div>']


def _in_row(tables: Iterable[str]) -> str:
    return "".join(f"<div>{one}</div>" for one in tables if one)


def _metrics_html(card: Card) -> str:
    gone = [name for name in card.before.metrics if name not in card.record.metrics] if card.before else []
    names = [*card.record.metrics, *gone]
    if not names:
        return ""
    columns, rows = [Column("metric"), Column("value", numeric=True)], []
    if card.before is not None:
        columns += [Column("before", numeric=True), Column("change")]
    for name in names[:ROWS]:
        row = [name, _value(card.record.metrics, name)]
        if card.before is not None:
            row += [_value(card.before.metrics, name), _change_html(_change(card, name))]
        rows.append(row)
    return as_html(_table(columns, rows, len(names)))


def _params_html(card: Card) -> str:
    params, before = card.record.params, card.before.params if card.before is not None else None
    gone = [name for name in before if name not in params] if before is not None else []
    names = [*params, *gone]
    if not names:
        return ""
    changed = {name for name in names if before is not None and not _same(before, params, name)}
    if len(names) > ROWS:
        names = sorted(names, key=lambda name: name not in changed)
    columns, rows = [Column("parameter"), Column("value")], []
    if changed:
        columns.append(Column("before"))
    for name in names[:ROWS]:
        was, value = _both(before or {}, params, name)
        row = [name, Html(f"<b>{escaped(value)}</b>") if name in changed else value]
        if changed:
            row.append(was if name in changed else "")
        rows.append(row)
    return as_html(_table(columns, rows, len(names)))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], count: int) -> Table:
    return Table("", tuple(columns), tuple(map(tuple, rows)), count - len(rows), len(rows))


def _same(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    """Return whether a parameter is what it was; a store has the earlier one as text."""
    if name not in before or name not in now:
        return False
    return text_of(before[name]) == text_of(now[name])


def _value(values: Mapping[str, Any], name: str) -> str:
    return number(values[name]) if name in values else _NONE


def _both(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> tuple[str, str]:
    if name in before and name in now:
        return told_apart(before[name], now[name])
    return _value(before, name), _value(now, name)


def _change_html(one: Change) -> str:
    text = str(one)
    return Html(f'<span style="color:{_COLOURS[one.verdict]}">{escaped(text)}</span>') if one.verdict else text


def _images_html(files: Iterable[File]) -> list[str]:
    shown = [one for one in files if one.image is not None]
    if not shown:
        return []
    images = "".join(
        f'<img alt="{escaped(one.name)}" title="{escaped(one.name)}" height="140" style="margin:0 8px 4px 0" '
        f'src="data:{picture_type(one.name)};base64,{base64.b64encode(one.image or b"").decode()}">'
        for one in shown
    )
    return [f"<div>{images}</div>"]


def _small_print(card: Card) -> list[str]:
    record = card.record
    lines = []
    if card.before is not None:
        told = f"before: run <code>{(card.before.run_id or '')[:8]}</code> of this cell"
        if (seconds := (record.started - card.before.started).total_seconds()) > 0:
            told += f", {duration(seconds)} earlier"
        lines.append(told)
    if card.files:
        lines.append(f"files: {escaped(_files_text(card.files))}")
    if record.autologged:
        lines.append(f"and {len(record.autologged)} parameters that a library has of itself")
    lines += [escaped(line) for line in replays_of(record)]
    lines += [f"note: {escaped(note)}" for note in _other_notes(record)]
    if record.run_id and not card.page:
        lines.append("<code>ml-experiment ui</code> opens it in MLflow's page")
    return lines


def _files_text(files: Sequence[File]) -> str:
    told = ", ".join(f"{one.name} ({size(one.length)})" for one in files[:FILES])
    return f"{told} and {len(files) - FILES} more" if len(files) > FILES else told


def _other_notes(record: Record) -> list[str]:
    return [note for note in record.notes if not note.startswith(HIDDEN_STATE)]


def card_markdown(card: Card) -> str:
    """Return a card as Markdown."""
    record = card.record
    run = f" · run `{record.run_id[:8]}`" if record.run_id else " · not tracked"
    parts = [f"**{in_markdown(record.name)}** · {record.status.shown} in {duration(record.seconds)}{run}"]
    if record.failure:
        parts.append(in_markdown(number(str(record.failure))))
    columns = (Column(""), Column("value"))
    if rows := _rows(record):
        parts.append(as_markdown(Table("", columns, tuple(rows[: 2 * ROWS]), max(0, len(rows) - 2 * ROWS), 2 * ROWS)))
    parts += [in_markdown(line) for line in replays_of(record)]
    parts += [f"note: {in_markdown(note)}" for note in _other_notes(record)]
    if proof := proofs.said(record.tags):
        parts.append(f"proof: {in_markdown(proof)}")
    if warnings := warnings_of(record):
        parts.append(f"⚠ {in_markdown('; '.join(warnings))}")
    return "\n\n".join(parts)


def _rows(record: Record) -> list[tuple[str, str]]:
    """Return metrics and parameters with what each is, where a name is in both."""
    both = record.metrics.keys() & record.params.keys()
    groups = (("metrics", record.metrics), ("params", record.params))
    return [
        (f"{group}.{name}" if name in both else name, number(value))
        for group, values in groups
        for name, value in values.items()
    ]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
