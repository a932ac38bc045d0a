"""What a run's driver hears of its code, as it may be shown and recorded: without the secrets that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ml_experiment_nb import secrecy
from ml_experiment_nb.events import Ask, Cell, Done, Event, Log, Metrics, Note, Reads, Secrets, Tags
from ml_experiment_nb.masking import Stream, Veil
from ml_experiment_nb.secrecy import secrets_seen


def heard(event: Event, veil: Veil, printed: Stream, folder: Path) -> Event:
    """Return an event masked; this process learns the secrets that one tells.

    Args:
        event: What the code has said.
        veil: The run's.
        printed: What the run prints, masked on its way.
        folder: The run's folder, where the names of its secrets are left.
    """
    if isinstance(event, Secrets):
        secrets_seen.update({value: name for name, value in event.values.items()})
        veil.remark(secrecy.notes_of_short(event.values))
        secrecy.leave(folder, event.values)  # should this process die, and another close the run
    if not secrets_seen:
        return event
    match event:
        case Log(text):
            return Log(printed.feed(text))
        case Note(text):
            return Note(veil.text(text, "a note"))
        case Done(outcome):
            return Done(veil.outcome(outcome))
        case Metrics(values):
            return replace(event, values={veil.text(name, "a metric's name"): one for name, one in values.items()})
        case Tags(values):
            return Tags(veil.data(values, "a tag"))
        case Reads(inputs):
            return Reads(veil.data(inputs, "what it reads"))
        case Cell(title=title):
            return replace(event, title=veil.text(title, "a cell's first line"))
        case Ask("attr", given):
            return replace(event, given=veil.data(given, "an attribute of the trial"))
    return event
