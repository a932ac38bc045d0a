"""Records on a terminal: as a table, or as lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record


def print_table(records: Iterable[Record]) -> None:
    """Print a row for each record; a column for each parameter and metric that any of them has."""
    from ml_experiment_nb.records import row

    print_rows([row(record) for record in records])


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows; a column for each name that any of them has."""
    from rich.console import Console
    from rich.table import Table

    from ml_experiment_nb.records import number

    columns = list(dict.fromkeys(name for one in rows for name in one))
    short = [name.removeprefix("params.").removeprefix("metrics.") for name in columns]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, brief in zip(columns, short, strict=True):
        table.add_column(brief if short.count(brief) == 1 else name, overflow="fold")
    for one in rows:
        table.add_row(*("" if one.get(name) is None else number(one[name]) for name in columns))
    Console(width=None if sys.stdout.isatty() else 10_000, markup=False, emoji=False).print(table)


def print_json(records: Iterable[Record]) -> None:
    """Print a line for each record."""
    for record in records:
        click.echo(record.to_json())
