"""``ml-experiment check``: what is wrong with code that can be known before it runs."""

from __future__ import annotations

import json
import sys

import click


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("--strict", is_flag=True, help="Exit with 1 if anything is found.")
@click.option("--ignore", metavar="RULE", multiple=True, help="Leave a rule out; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print each finding as a line of JSON.")
def check(targets: tuple[str, ...], strict: bool, ignore: tuple[str, ...], as_json: bool) -> None:
    """Look through notebooks, scripts and specs before they run: nothing is run, imported or fetched.

    Finds parameters without effect, cells that don't run from top to bottom, randomness without a seed, absolute
    paths, secrets, and code that git doesn't have.
    """
    from ml_experiment_nb.preflight import check as look_through

    count = 0
    for target in targets:
        for finding in look_through(target, ignore=ignore):
            count += 1
            if as_json:
                click.echo(json.dumps(finding.to_json()))
                continue
            rule = click.style(f"[{finding.rule}]", fg="red" if strict else "yellow")
            click.echo(f"{finding.place}: {rule} {finding.text}")
            click.echo(f"  -> {finding.advice}")
    if not as_json:
        click.echo(f"{count or 'nothing'} found", err=True)
    sys.exit(1 if strict and count else 0)
