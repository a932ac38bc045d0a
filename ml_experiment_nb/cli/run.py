"""``ml-experiment run``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.cli.showing import exit_code, run_plan
from ml_experiment_nb.command_requests import plan_of, run_options
from ml_experiment_nb.command_requests.papermill import Papermill, single_notebook
from ml_experiment_nb.errors import SpecError

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan


@click.command(cls=Papermill)
@run_options
def run(target: str, output: str | None, plan_only: bool, as_json: bool, **options: Any) -> None:
    """Run TARGET: a spec (.yaml, .json), a script (.py) or a notebook (.ipynb).

    OUTPUT is where an executed notebook is written; it is also kept with its run. `-` as TARGET is a notebook on
    standard input, as OUTPUT standard output. A notebook may also lie where papermill finds it: s3://, gs://,
    https:// and the rest. {C} in either is replaced by the parameter's value. With --each, OUTPUT is a pattern, such as
    out/{row}.ipynb or out/{C}.ipynb.
    """
    if as_json and output == "-":
        raise SpecError("--json and OUTPUT `-` both take standard output: give one of them")
    with tempfile.TemporaryDirectory(prefix="mlexp-") as folder:
        plan = plan_of(target, output, folder, options)
        if options["needed"]:
            from ml_experiment_nb.needs import needed

            plan = needed(plan)
        if plan_only:
            from ml_experiment_nb.preview import preview

            for part in preview(plan, fresh=options["fresh"]):
                click.echo(part)
            return
        if options["help_notebook"]:
            sys.exit(_show_parameters(plan, click.get_current_context().get_usage()))
        if options["prepare_only"]:
            _prepare(plan, piped=output == "-")
            return
        if plan.kind == "group":
            from ml_experiment_nb.groups import continued

            plan = continued(plan, fresh=options["fresh"])
        last = run_plan(
            plan, piped=output == "-", as_json=as_json, quiet=options["quiet"], results=options["results"],
            cells=options["progress_bar"] is not False,
        )  # fmt: skip
    sys.exit(exit_code(last))


def _show_parameters(plan: Plan, usage: str) -> int:
    """Print a notebook's parameters as papermill infers them, and return the exit code."""
    import ml_experiment_nb.quick_schemas  # noqa: F401

    from papermill.inspection import _infer_parameters
    from papermill.iorw import load_notebook_node

    from ml_experiment_nb.notebooks import language, parameters_cell

    target = single_notebook(plan.spec, "--help-notebook")
    nb = load_notebook_node(str(target.file))
    click.echo(f"{usage}\n\nParameters inferred for notebook {target.path!r}:")
    if parameters_cell(nb) is None:
        click.echo("\n  No cell tagged 'parameters'")
        return 1
    found = _infer_parameters(nb, name=target.kernel or "python3", language=target.language or language(nb))
    for name, kind, default, text in found:
        known = "Unknown type" if kind == "None" else kind
        definition = f"  {name}: {known} (default {default})"
        separator = "\n" + " " * 34 if len(definition) > 30 else " " * (34 - len(definition))
        click.echo(f"{definition}{separator}{text}" if text else definition)
    if not found:
        click.echo("\n  Can't infer anything about this notebook's parameters. It may not have any.")
    return 0


def _prepare(plan: Plan, *, piped: bool) -> None:
    """Write a notebook with its parameters to OUTPUT, or to standard output, and run nothing."""
    target = single_notebook(plan.spec, "--prepare-only")
    if plan.output is None:
        raise SpecError("--prepare-only needs OUTPUT, where the notebook is written; `-` is standard output")
    from ml_experiment_nb.work.notebook import prepare_notebook

    with tempfile.TemporaryDirectory(prefix="mlexp-") as folder:
        place = "-" if piped else plan.output
        prepare_notebook(target, plan.spec.params, place, Path(folder, "prepared.ipynb"))
