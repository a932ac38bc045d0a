"""Runs side by side: ``diff`` and ``compare``."""

from __future__ import annotations

import click

from ml_experiment_nb.cli.look import say_closed
from ml_experiment_nb.cli.tables import print_json, print_table


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print it as a line of JSON.")
def diff(a: str, b: str, as_json: bool) -> None:
    """Say why two runs differ: parameters, metrics, source, packages, git, data, outputs. A and B are run ids."""
    from ml_experiment_nb.comparison.differences import differences
    from ml_experiment_nb.comparison.evidence import read_both
    from ml_experiment_nb.comparison.shown import as_text
    from ml_experiment_nb.looking import opened_archive

    found = differences(*read_both(opened_archive(closed=say_closed), a, b))
    click.echo(found.to_json() if as_json else as_text(found, _painted))


def _painted(text: str, colour: str) -> str:
    return click.style(text, bold=True) if colour == "bold" else click.style(text, fg=colour) if colour else text


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("-e", "--experiment", metavar="NAME", help="All runs of this experiment.")
@click.option("--maximize", multiple=True, metavar="METRIC", help="Compare by this metric; more is better.")
@click.option("--minimize", multiple=True, metavar="METRIC", help="Compare by this metric; less is better.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="At most so many, the newest, where no runs are named.",
)
@click.option("--json", "as_json", is_flag=True, help="Print each record as a line of JSON.")
def compare(
    runs: tuple[str, ...], experiment: str | None, maximize: tuple[str, ...], minimize: tuple[str, ...], limit: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Lay runs side by side, the best first. RUN is an id or its beginning; a group stands for its trials."""
    from ml_experiment_nb.comparison.view import compare as compared
    from ml_experiment_nb.looking import opened_archive

    store = opened_archive(closed=say_closed)
    wanted = dict.fromkeys(maximize, True) | dict.fromkeys(minimize, False)
    found = compared(
        *runs, store=store, experiment=experiment, metric=list(wanted) or None,
        maximize=list(wanted.values()) or None, limit=limit,
    )  # fmt: skip
    if as_json:
        print_json(found.ranked())
    else:
        print_table(found.ranked())
        if len(found) > 1 and not found.records.goals and any(one.metrics for one in found.records):
            click.echo("by their date: --maximize or --minimize METRIC puts the best first", err=True)
    if found.note:
        click.echo(found.note, err=True)
