"""``ml-experiment schema``: what an editor needs to complete and check spec files."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON schema of spec files, for editors: `ml-experiment schema > spec.schema.json`."""
    from ml_experiment_nb.schema import spec_schema

    click.echo(json.dumps(spec_schema(), indent=2, ensure_ascii=False))
