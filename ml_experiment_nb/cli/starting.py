"""``ml-experiment init`` and ``completion``: a project's first files, and what a shell completes."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--name", help="The experiment's name; by default the folder's.")
def init(folder: Path, name: str | None) -> None:
    """Start a project in FOLDER: a notebook, a spec that searches it, and a .gitignore."""
    from ml_experiment_nb.scaffold import NOTEBOOK, SPEC, start_project

    for path in start_project(folder, name or folder.absolute().name or "experiment"):
        click.echo(f"wrote {path}")
    click.echo(f"try   ml-experiment run {folder / NOTEBOOK} -p C 2")
    click.echo(f"      ml-experiment run {folder / SPEC} --plan")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete this command: `eval "$(ml-experiment completion bash)"` in its start-up file."""
    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, "ml-experiment", "_ML_EXPERIMENT_COMPLETE").source())
