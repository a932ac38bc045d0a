"""``ml-experiment run``."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.cli.tables import print_json, print_table
from ml_experiment_nb.errors import SpecError

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan, Spec
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.runs import Update

SPECS = (".yaml", ".yml", ".json")
_CODES = {"TaskDiedError": 4, "TaskTimeoutError": 5, "TaskMemoryError": 6, "KeyboardInterrupt": 130}


class _Papermill(click.Command):
    """A command whose ``-p`` takes ``C=0.5``, and also ``C 0.5`` as papermill's does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _join_parameters(args))


@click.command(cls=_Papermill)
@click.argument("target", type=click.Path(dir_okay=False))
@click.argument("output", required=False, type=click.Path(dir_okay=False))
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
@click.option("--name", help="The run's name; by default the spec's or the file's.")
@click.option("--kind", type=click.Choice(["job", "experiment"]), help="For a script or notebook: job is not tracked.")
@click.option("--slots", type=click.IntRange(1), help="How many trials run at once.")
@click.option("--trials", type=click.IntRange(1), help="How many trials a group runs, in place of num_trials.")
@click.option("--executor", type=click.Choice(["auto", "inline", "ray"]), help="Where trials run.")
@click.option("--storage", metavar="URL", help="An Optuna storage for a group's study.")
@click.option("--memory", metavar="SIZE", help="Stop a task, in a group a trial, that uses more memory: 500MB, 2GB.")
@click.option("--cwd", type=click.Path(file_okay=False, exists=True), help="The working directory of the code.")
@click.option("--allow-unknown-params", is_flag=True, help="Pass on parameters that the target doesn't name.")
@click.option("--cold", is_flag=True, help="Start a fresh process for every trial, in place of forking a warm one.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print each record as a line of JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and none of the code's output.")
def run(
    target: str, output: str | None, params: tuple[str, ...], plan_only: bool, as_json: bool, **options: Any
) -> None:
    """Run TARGET: a spec (.yaml, .json), a script (.py) or a notebook (.ipynb).

    OUTPUT is where an executed notebook is written, ``-`` for standard output; it is also kept with its run.
    """
    from ml_experiment_nb.jobs import read_assignments
    from ml_experiment_nb.plans import make_plan, with_params

    given = read_assignments(params)
    spec = with_params(_with_options(_read_target(target), options), given)
    with tempfile.TemporaryDirectory(prefix="mlexp-") as folder:
        piped = output == "-"
        output = os.path.join(folder, Path(target).name) if piped else output
        with _located(target, given):
            plan = make_plan(
                spec, cwd=_working_directory(target, options["cwd"]), output=_output(output, spec), cold=options["cold"]
            )
        if plan_only:
            click.echo(str(plan))
            return
        for note in plan.notes:
            click.echo(f"note: {note}", err=True)
        from ml_experiment_nb import runs  # MLflow takes seconds to import: not before the plan is known to be sound

        aside = as_json or piped
        records = list(_shown(plan, runs.follow(plan), as_json=as_json, aside=aside, quiet=options["quiet"]))
        if piped and output is not None:
            click.echo(str(records[-1]), err=True)
            click.echo(Path(output).read_text(encoding="utf-8"), nl=False)
        elif not as_json:
            _print_result(plan, records, output)
    sys.exit(_exit_code(records[-1]))


def _read_target(target: str) -> Spec:
    from ml_experiment_nb.files import read_spec
    from ml_experiment_nb.specs import spec_from_mapping

    suffix = Path(target).suffix.lower()
    if suffix in SPECS:
        return read_spec(target)
    if suffix not in (".py", ".ipynb"):
        raise SpecError("is neither a spec (.yaml, .json), a script (.py) nor a notebook (.ipynb)", file=target)
    if not Path(target).exists():
        raise SpecError("there is no such file", file=target)
    return spec_from_mapping({"run": str(Path(target).absolute()), "name": Path(target).stem})


@contextmanager
def _located(target: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Say where in a spec's file an error stands that shows only when the spec meets what it runs."""
    try:
        yield
    except SpecError as error:
        if Path(target).suffix.lower() not in SPECS or error.key in given:
            raise
        from ml_experiment_nb.files import located

        raise located(error, target) from None


def _with_options(spec: Spec, options: dict[str, Any]) -> Spec:
    from ml_experiment_nb.specs import Group, Job, read_bytes, spec_from_mapping

    is_group = isinstance(spec, Group)
    keys = {"name": "name", "slots": "slots", "executor": "executor"}
    keys |= {"trials": "num_trials", "storage": "storage"}
    changes = {key: options[option] for option, key in keys.items() if options[option] is not None}
    if options["memory"] is not None:
        changes["memory"] = read_bytes(options["memory"])
    if options["allow_unknown_params"]:
        changes["allow_unknown_params"] = True
    if wrong := [option for option in ("trials", "storage") if options[option] is not None and not is_group]:
        raise SpecError(f"--{wrong[0]} is for a group, and this is kind: {spec.kind}")
    if options["kind"] is None or options["kind"] == spec.kind:
        return spec.model_copy(update=changes)
    if is_group:
        raise SpecError("--kind: a group stays a group; write another spec")
    fields = {name: getattr(spec, name) for name in Job.model_fields}
    return spec_from_mapping({**fields, "kind": options["kind"], **changes})


def _working_directory(target: str, cwd: str | None) -> str | None:
    """Return where the code runs: for a notebook or script, where the command was given, as papermill has it."""
    if cwd is not None:
        return str(Path(cwd).absolute())
    return os.getcwd() if Path(target).suffix in (".py", ".ipynb") else None


def _output(output: str | None, spec: Spec) -> str | None:
    from ml_experiment_nb.specs import Notebook

    if output is None:
        return None
    if len(spec.run) != 1 or not isinstance(spec.run[0], Notebook) or spec.kind == "group":
        raise SpecError("OUTPUT is for a single notebook; a group keeps each executed notebook with its run")
    if not Path(output).absolute().parent.is_dir():
        raise SpecError("its folder does not exist", file=output)
    return str(Path(output).absolute())


def _shown(plan: Plan, updates: Iterable[Update], *, as_json: bool, aside: bool, quiet: bool) -> Iterator[Record]:
    """Hand the records on, showing meanwhile a group's progress, or the output of the code itself.

    Args:
        plan: What is being done.
        updates: What happens.
        as_json: Print each record.
        aside: Leave standard output to something else.
        quiet: Show nothing.
    """
    from ml_experiment_nb.progress import show_progress, stopping
    from ml_experiment_nb.records import Record
    from ml_experiment_nb.reports import Log
    from ml_experiment_nb.runs import Happened

    if plan.kind == "group" and not quiet and not as_json:
        yield from show_progress(plan, updates)
        return
    with stopping(updates):  # a reader that goes away stops the plan
        for update in updates:
            if isinstance(update, Record):
                if as_json:
                    print_json([update])
                yield update
            elif isinstance(update, Happened) and isinstance(update.event, Log) and not quiet:
                click.echo(update.event.text, nl=False, err=aside)


def _print_result(plan: Plan, records: list[Record], output: str | None) -> None:
    from ml_experiment_nb import runs
    from ml_experiment_nb.records import pairs

    result = runs.collect(plan, records)
    if plan.nested:
        print_table(result)
    for failed in [record for record in result if record.failure][: 3 if plan.nested else 0]:
        click.echo(f"{failed.name}: {failed.failure}", err=True)
    last = records[-1]
    click.echo(str(last))
    if result.best is not None:
        click.echo(f"  best     {result.best.name}: {pairs(result.best.params)} ({pairs(result.best.metrics)})")
    if output is not None:
        click.echo(f"  notebook {output}")
    if last.run_id:
        click.echo(f"  look     ml-experiment show {last.run_id[:8]}, or ml-experiment ui")


def _exit_code(last: Record) -> int:
    if last.ok:
        return 0
    return _CODES.get(last.failure.type if last.failure else "", 1)


def _join_parameters(words: list[str]) -> list[str]:
    """Write papermill's ``-p NAME VALUE`` as ``-p NAME=VALUE``."""
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        found.append(word)
        if word in ("-p", "--param", "--parameters"):
            found[-1] = "-p"
            name = next(rest, None)
            if name is not None:
                value = None if re.match(r"\w+\s*=", name) else next(rest, None)
                found.append(name if value is None else f"{name}={value}")
    return found
