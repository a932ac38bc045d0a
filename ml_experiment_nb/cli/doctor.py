"""``ml-experiment doctor``: what is reachable, and what to do about what isn't."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict

import click

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print each finding as a line of JSON.")
@click.option("--timeout", type=click.FloatRange(1), default=30.0, show_default=True, help="Seconds for all of it.")
def doctor(as_json: bool, timeout: float) -> None:
    """Say what is reachable: the store, where files go, Ray, Docker, GPUs. Nothing lasting is changed.

    Exits with 1 if there is a problem.
    """
    from ml_experiment_nb.doctor import Level, examine
    from ml_experiment_nb.projects import find_root

    warnings.simplefilter("ignore")  # what is wrong here stands in the findings
    problems = 0
    for finding in examine(find_root(), seconds=timeout):
        problems += finding.level is Level.PROBLEM
        if as_json:
            click.echo(json.dumps(asdict(finding)))
            continue
        level = click.style(f"{finding.level.value:<8}", fg=_COLOURS[finding.level.value])
        click.echo(f"{level} {finding.check:<10} {finding.text}")
        if finding.advice:
            click.echo(f"{'':<19} -> {finding.advice}")
    sys.exit(1 if problems else 0)
