"""``ml-experiment replay``: a run done again, and the verdict on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.cli.look import say_closed

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.replays import Env
    from ml_experiment_nb.updates import Update

DIFFERS, COULD_NOT_RUN = 1, 7


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--env", type=click.Choice(["recorded", "here"]), default="recorded", show_default=True,
    help="An environment with the recorded packages, made by uv unless this one has them; or this one as it is.",
)  # fmt: skip
@click.option("--in-image", "image", metavar="IMAGE", help="Run it in a container of this image, not an environment.")
@click.option(
    "--tolerance", multiple=True, metavar="METRIC=VALUE",
    help="How far a metric may be from what it was: val_accuracy=0.01, loss=1%, val_*=0.01, 0.01 for all; seconds=inf.",
)  # fmt: skip
@click.option("--ignore", multiple=True, metavar="NAME", help="Don't compare it: a metric, a file, outputs; a pattern.")
@click.option("--all", "every", is_flag=True, help="Of a group every trial that finished, not its best alone.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Stop it after that.")
@click.option("--cold", is_flag=True, help="Make the recorded environment anew, whatever an earlier replay has left.")
@click.option("--keep", "leave", is_flag=True, help="Leave the copy of the project that it ran in.")
@click.option("--json", "as_json", is_flag=True, help="Print each verdict as a line of JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing of what the code prints.")
def replay(run_id: str, every: bool, as_json: bool, quiet: bool, env: Env, **options: Any) -> None:
    """Run it again from its record, and say whether it is the same. RUN is a run's id, or the beginning of it.

    It runs in a copy of the project, with the code as it is recorded. A group stands for its best trial. Exit codes: 0
    identical or within tolerance, 1 it differs, 7 it could not run.
    """
    from ml_experiment_nb.replays import chosen
    from ml_experiment_nb.replays import replay as replayed
    from ml_experiment_nb.sweeps import opened_store
    from ml_experiment_nb.verdicts import VerdictAnswer

    store = opened_store(closed=say_closed)

    def shown(plan: Plan, updates: Iterator[Update]) -> Iterator[Record]:
        from ml_experiment_nb.cli.showing import shown_updates

        return shown_updates(plan, updates, as_json=False, aside=True, quiet=quiet, cells=not quiet)

    codes = {VerdictAnswer.DIFFERS: DIFFERS, VerdictAnswer.COULD_NOT_RUN: COULD_NOT_RUN}
    worst = 0
    for record in chosen(store, run_id, every=every):
        found = replayed(
            record, env=env, store=store, shown=shown, say=lambda text: click.echo(f"note: {text}", err=True), **options
        )
        click.echo(found.to_json() if as_json else str(found))
        worst = max(worst, codes.get(found.verdict.answer, 0))
    sys.exit(worst)
