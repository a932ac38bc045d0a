"""``ml-experiment schema``: what an editor needs to complete and check spec files."""

from __future__ import annotations

import click


@click.command()
@click.option("--path", is_flag=True, help="Print where its file lies, which is installed with the package.")
def schema(path: bool) -> None:
    """Print the JSON schema of spec files, for editors: `ml-experiment schema > spec.schema.json`."""
    from ml_experiment_nb.schema import SHIPPED, schema_text

    click.echo(SHIPPED if path else schema_text(), nl=path)
