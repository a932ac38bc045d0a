"""A comparison of two runs as text, for a terminal, and as HTML, for a notebook."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ml_experiment_nb.comparison.texts import Hunk
from ml_experiment_nb.markup import TABLE
from ml_experiment_nb.quantities import told_apart
from ml_experiment_nb.records import Record, duration, number

if TYPE_CHECKING:
    from ml_experiment_nb.comparison.differences import Change, Diff, Section

MOST = 40  # lines of one text, or changes of one kind, that are shown
_NONE = "—"
Paint = Callable[[str, str], str]
"""Gives a text its colour: ``red``, ``green``, or ``bold`` for a title."""


def as_text(diff: Diff, paint: Paint = lambda text, _: text) -> str:
    """Return a comparison as lines of text.

    Args:
        diff: The comparison.
        paint: What gives a text a colour; none by default.
    """
    lines = [paint(f"a  {_head(diff.a)}", "red"), paint(f"b  {_head(diff.b)}", "green")]
    for section in diff.differing:
        lines += ["", paint(_title(section), "bold"), *_changes(section, paint)]
        for hunk in section.hunks:
            lines += [f"  {hunk.name}", *(f"    {_painted(line, paint)}" for line in _cut(hunk.lines))]
    lines += ["", *_unread(diff), _same(diff)]
    return "\n".join(lines)


def as_html(diff: Diff) -> str:
    """Return a comparison as HTML that stands for itself: what is equal is folded, nothing is fetched."""
    parts = [
        f"<div><span style='{_RED}'>a</span> {html.escape(_head(diff.a))}</div>",
        f"<div><span style='{_GREEN}'>b</span> {html.escape(_head(diff.b))}</div>",
    ]
    for section in diff.differing:
        inner = _table(section.changes) + "".join(map(_hunk, section.hunks))
        parts.append(f"<details open><summary><b>{html.escape(_title(section))}</b></summary>{inner}</details>")
    parts += [f"<div>{html.escape(line)}</div>" for line in _unread(diff)]
    parts.append(_equal(diff))
    return f"<div>{''.join(parts)}</div>"


def _equal(diff: Diff) -> str:
    """Return what is the same, folded."""
    line = html.escape(_same(diff))
    if not diff.equal or not diff:
        return f"<div>{line}</div>"
    counts = "".join(f"<li>{html.escape(one.title)}: {one.same}</li>" for one in diff.equal)
    return f"<details><summary>{line}</summary><ul>{counts}</ul></details>"


def _head(record: Record) -> str:
    started = record.started.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{(record.run_id or '')[:8]}  {record.name}  {record.status}  {started}  {duration(record.seconds)}"


def _title(section: Section) -> str:
    same = f", {section.same} the same" if section.same else ""
    return f"{section.title}: {section.count} {'differs' if section.count == 1 else 'differ'}{same}"


def _same(diff: Diff) -> str:
    equal = ", ".join(section.title for section in diff.equal)
    if not diff:
        return f"no difference was found, in: {equal}"
    return f"the same in both: {equal}" if equal else "no part is wholly the same in both"


def _unread(diff: Diff) -> list[str]:
    """Return a line for what could not be compared."""
    names = [name for section in diff.sections for name in section.unread]
    if not names:
        return []
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return [f"not compared, of the same size and too large to be read: {', '.join(names[:MOST])}{more}"]


def _changes(section: Section, paint: Paint) -> list[str]:
    rows = [(one.name, *_values(one), one.note) for one in section.changes[:MOST]]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    lines = [
        f"  {name:<{widths[0]}}  {paint(f'{a:<{widths[1]}}', 'red')}  {paint(f'{b:<{widths[2]}}', 'green')}  {note}"
        for name, a, b, note in rows
    ]
    more = len(section.changes) - len(rows)
    return [line.rstrip() for line in lines] + ([f"  … and {more} more"] if more else [])


def _values(change: Change) -> tuple[str, str]:
    if change.before is not None and change.after is not None:
        return told_apart(change.before, change.after)
    return _value(change.before), _value(change.after)


def _value(text: str | None) -> str:
    return _NONE if text is None else number(text)


def _painted(line: str, paint: Paint) -> str:
    return paint(line, {"-": "red", "+": "green"}.get(line[:1], ""))


def _cut(lines: tuple[str, ...]) -> list[str]:
    more = len(lines) - MOST
    return list(lines) if more <= 0 else [*lines[:MOST], f" … and {more} more lines"]


_WORD = "padding: 0 0.3em; overflow-wrap: anywhere"
_GREEN = f"background: rgba(46, 160, 67, 0.25); {_WORD}"
_RED = f"background: rgba(248, 81, 73, 0.25); {_WORD}"


def _table(changes: Iterable[Change]) -> str:
    rows = [
        f"<tr><th scope='row' style='text-align: left'>{html.escape(one.name)}</th>"
        f"<td style='text-align: left'><span style='{_RED}'>{html.escape(before)}</span></td>"
        f"<td style='text-align: left'><span style='{_GREEN}'>{html.escape(after)}</span></td>"
        f"<td style='text-align: left'>{html.escape(one.note)}</td></tr>"
        for one in changes
        for before, after in [_values(one)]
    ]
    if not rows:
        return ""
    head = "".join(f"<th scope='col' style='text-align: left'>{name}</th>" for name in ("", "a", "b", ""))
    return f"<table {TABLE}><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _hunk(hunk: Hunk) -> str:
    styles = {"-": _RED, "+": _GREEN}
    lines = [
        f"<div style='{styles.get(line[:1], '')}'>{html.escape(line) or '&nbsp;'}</div>" for line in _cut(hunk.lines)
    ]
    style = "margin: 0 0 0.5em 1em; overflow-x: auto"
    return f"<div>{html.escape(hunk.name)}</div><pre style='{style}'>{''.join(lines)}</pre>"
