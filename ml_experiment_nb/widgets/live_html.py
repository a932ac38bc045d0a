"""A group's progress as HTML without scripts: what a saved notebook has of a live view. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any

from ml_experiment_nb.records import Records, Status, number
from ml_experiment_nb.widgets.fallback import group_html, history_html
from ml_experiment_nb.widgets.live import SHOWN, LiveGroup

_COLOURS = {Status.FINISHED: "#1a7f37", Status.FAILED: "#cf222e", Status.KILLED: "#9a6700", Status.RUNNING: "#0b6bcb"}
_BAR = "width:100%;max-width:40em;height:8px;accent-color:{}"


def page(group: LiveGroup, *, table: bool = True, now: datetime | None = None) -> str:
    """Return a group's progress, its best trial and its failures; of one that runs, when that was and how to see more.

    Args:
        group: The group.
        table: With the trials as a table.
        now: The time of day that is told.
    """
    return with_trials(head(group, now=now), group.ended, table=table)


def head(group: LiveGroup, *, now: datetime | None = None) -> str:
    """Return what is told of a group above its trials."""
    parts, state = group.parts(), group.status
    colour = _COLOURS.get(state, "inherit")
    run = f" <code>{escape(group.run_id[:8])}</code>" if group.run_id else ""
    lines = [f"<b>{escape(group.name)}</b> <span style='color:{colour}'>{state}</span>{run}"]
    lines += [_bar(parts["counts"], colour), escape(group.numbers())]
    lines += [escape(group.why)] if group.why and state is not Status.FINISHED else []
    lines += [_best(parts["best"])] if parts["best"] is not None else []
    if len(group.goals) > 1 and group.front:
        names = ", ".join(one.name for one in group.front[:SHOWN]) + (", …" if len(group.front) > SHOWN else "")
        lines.append(f"front: {escape(names)}")
    lines += [_failure(kind) for kind in parts["failures"]]
    lines += [f"note: {escape(note)}" for note in parts["notes"][1]]
    if not state.ended:
        at = (now or datetime.now()).strftime("%H:%M:%S")
        look = f"<code>%attach {escape(group.run_id[:8])}</code>" if group.run_id else "<code>%attach</code>"
        lines.append(f"<small>As it was at {at}; {look} in any notebook of the project shows how it stands.</small>")
    return "".join(f"<div>{line}</div>" for line in lines if line)


def with_trials(told: str, ended: Records, *, table: bool) -> str:
    """Return a group's `head` with a picture of its trials that have ended, and their table: what takes time of it."""
    shown = group_html(ended) if table and len(ended) else history_html(ended)
    return f"<div>{told}{f'<div>{shown}</div>' if shown else ''}</div>"


def _bar(counts: Mapping[str, int | None], colour: str) -> str:
    if counts["total"] is None:
        return ""
    size = f"value='{counts['done']}' max='{max(1, counts['total'])}'"
    return f"<progress {size} style='{_BAR.format(colour)}'></progress>"


def _best(best: Mapping[str, Any]) -> str:
    params = ", ".join(f"{name}={text}" for name, text in best["params"])
    by = escape(best["name"] + (f": {params}" if params else ""))
    return f"best {escape(best['metric'])} <b>{escape(number(best['value']))}</b> by {by}"


def _failure(kind: Mapping[str, Any]) -> str:
    where = f" at {kind['where']}" if kind["where"] else ""
    return f"<b>{kind['count']} failed</b>{escape(where)}: {escape(kind['error'])}: {escape(kind['message'])}"
