"""Records on a terminal: as a table, or as lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record


_GAP = 2  # characters between two columns
_MANY = 500  # rows that are laid out for a terminal's width


def print_table(records: Iterable[Record], *, dated: bool = False) -> None:
    """Print a row for each record; a column for each parameter and metric that any of them has.

    Args:
        records: The records.
        dated: Whether a column says when each began.
    """
    from ml_experiment_nb.records import now, row

    rows = [(record, row(record)) for record in records]
    if not dated:
        print_rows([one for _, one in rows])
        return
    year = now().astimezone().year
    print_rows([{"run_id": one["run_id"], "started": _moment(record.started, year)} | one for record, one in rows])


def _moment(when: datetime, year: int) -> str:
    """Return a moment in the time of this machine, to the minute; its year where that isn't the present one."""
    local = when.astimezone()
    return local.strftime("%m-%d %H:%M" if local.year == year else "%Y-%m-%d")


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows; a column for each name that any of them has."""
    from ml_experiment_nb.records import number

    columns = list(dict.fromkeys(name for one in rows for name in one))
    short = [name.removeprefix("params.").removeprefix("metrics.") for name in columns]
    if not sys.stdout.isatty() or len(rows) > _MANY:
        heads = [brief if short.count(brief) == 1 else name for name, brief in zip(columns, short, strict=True)]
        _print_plain(heads, [["" if one.get(n) is None else number(one[n]) for n in columns] for one in rows])
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, emoji=False)
    titles = {name: brief if short.count(brief) == 1 else name for name, brief in zip(columns, short, strict=True)}
    texts = {name: ["" if one.get(name) is None else number(one[name]) for one in rows] for name in columns}
    shown = fitting({name: max(map(len, (titles[name], *texts[name]))) for name in columns}, console.width)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in shown:
        table.add_column(titles[name], overflow="fold", no_wrap=name == "run_id")
    for k in range(len(rows)):
        table.add_row(*(texts[name][k] for name in shown))
    console.print(table)
    if more := len(columns) - len(shown):
        click.echo(f"… and {more} columns more, for which there is no room", err=True)


def fitting(widths: Mapping[str, int], room: int) -> list[str]:
    """Return the columns that a terminal has room for; only metrics and parameters are left out.

    Those metrics go first that a library has told of its own fit, whose names MLflow has made; then the last ones. One
    of each stays. Parameters go after that, the last ones first.

    Args:
        widths: Each column's name and width, in characters.
        room: The terminal's width.
    """
    kept = list(widths)
    metrics = [name for name in kept if name.startswith("metrics.")]
    metrics.sort(key=lambda name: name.startswith("metrics.training_") or name.endswith("_unknown_dataset"))
    params = [name for name in kept if name.startswith("params.")]
    for names in (metrics, params):
        while len(names) > 1 and sum(widths[name] + _GAP for name in kept) - _GAP > room:
            kept.remove(names.pop())
    return kept


def _print_plain(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as they are, however wide: for a file, a pipe, or where there are thousands."""
    widths = [max([len(head), *(len(one[k]) for one in rows)]) for k, head in enumerate(heads)]
    for one in (heads, *rows):
        click.echo("  ".join(text.ljust(width) for text, width in zip(one, widths, strict=True)).rstrip())


def print_csv(records: Sequence[Record]) -> None:
    """Print a table for other programs: whole ids, times and numbers, and a column for each parameter and metric."""
    import csv

    params = sorted({name for one in records for name in one.params})
    metrics = sorted({name for one in records for name in one.metrics})
    lines = csv.writer(sys.stdout, lineterminator="\n")
    fixed = ("run_id", "name", "experiment", "kind", "status", "started", "seconds", "group", "trial")
    lines.writerow([*fixed, *(f"params.{name}" for name in params), *(f"metrics.{name}" for name in metrics)])
    for one in records:
        own = (one.run_id, one.name, one.experiment, one.kind, one.status.value, one.started.isoformat(), one.seconds)
        held = (*(one.params.get(name) for name in params), *(one.metrics.get(name) for name in metrics))
        lines.writerow([*own, one.parent_id, one.number, *held])


def print_json(records: Iterable[Record]) -> None:
    """Print a line for each record."""
    for record in records:
        click.echo(record.to_json())
