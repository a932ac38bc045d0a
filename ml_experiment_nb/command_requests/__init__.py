"""What the words behind ``ml-experiment run`` ask for, as a plan: for the command, and for whoever has it started."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.command_requests.papermill import (
    Papermill,
    fetched,
    filled_target,
    in_order,
    notebook_options,
    parameter_options,
    read_parameters,
    single_notebook,
    spec_of_notebook,
    with_notebook_options,
)
from ml_experiment_nb.command_requests.search import search_options, with_search
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.paths import INPUT, OUTPUT, is_elsewhere, is_spec, literal
from ml_experiment_nb.words import AUTOLOG, NEEDED, NO_AUTOLOG, NOTIFY, autolog_keys, search_keys

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan, Spec


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the arguments and options of ``ml-experiment run``."""
    return in_order(
        command,
        click.argument("target", type=click.Path(dir_okay=False, allow_dash=True)),
        click.argument("output", required=False, type=click.Path(dir_okay=False, allow_dash=True)),
        parameter_options,
        click.option("--name", help="The run's name; by default the spec's or the file's."),
        click.option(
            "--kind", type=click.Choice(["job", "experiment"]), help="For a script or notebook: job is not tracked."
        ),
        click.option(
            "--each", metavar="TABLE", help="Run once for each row of a table: .csv, .jsonl, .json; - is stdin, JSONL."
        ),
        click.option(
            "--results", type=click.Path(dir_okay=False), help="Write a group's results to a file: .csv or .jsonl."
        ),
        click.option("--slots", type=click.IntRange(1), help="How many trials run at once."),
        click.option("--executor", type=click.Choice(["auto", "inline", "ray"]), help="Where trials run."),
        search_options,
        click.option(
            "--timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            help=("Stop a task that takes longer; of a group, the whole."),
        ),
        click.option(
            "--memory", metavar="SIZE", help="Stop a task, in a group a trial, that uses more memory: 500MB, 2GB."
        ),
        click.option("--notify", multiple=True, metavar="WHO", help=NOTIFY),
        click.option("--autolog", metavar="LIBRARIES", help=AUTOLOG),
        click.option("--no-autolog", is_flag=True, help=NO_AUTOLOG),
        click.option("--cwd", type=click.Path(file_okay=False, exists=True), help="The working directory of the code."),
        click.option("--allow-unknown-params", is_flag=True, help="Pass on parameters that the target doesn't name."),
        click.option(
            "--cold", is_flag=True, help="Start a fresh process for every trial, in place of forking a warm one."
        ),
        click.option(
            "--fresh", is_flag=True, help="Start a group anew, even if the same one was stopped before its end."
        ),
        click.option("--needed", is_flag=True, help=NEEDED),
        click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, and do nothing."),
        click.option("--json", "as_json", is_flag=True, help="Print each record as a line of JSON."),
        click.option("-q", "--quiet", is_flag=True, help="Show no progress and none of the code's output."),
        notebook_options,
    )


def read_command(words: Sequence[str]) -> Plan:
    """Return the plan for the words behind ``ml-experiment run``; nothing is run."""
    with tempfile.TemporaryDirectory(prefix="mlexp-") as folder, GRAMMAR.make_context("run", list(words)) as context:
        return plan_of(context.params["target"], context.params["output"], folder, context.params)


GRAMMAR: click.Command = click.command("run", cls=Papermill)(run_options(lambda **_: None))
"""The words that ``ml-experiment run`` takes, parsed; by itself it does nothing."""


def plan_of(target: str, output: str | None, folder: str, options: Mapping[str, Any]) -> Plan:
    """Return what will be done.

    Args:
        target: The spec, script or notebook.
        output: Where an executed notebook is written; `-` is standard output.
        folder: Where what goes to standard output is written first, and notebooks that lie elsewhere are copied.
        options: The command's options.

    Raises:
        SpecError: What is asked is wrong.
    """
    from ml_experiment_nb.planning import make_plan, with_params
    from ml_experiment_nb.specs import Group

    if target == options["each"] == "-":
        raise SpecError("TARGET and --each can't both be standard input")
    given = read_parameters(options, target, output)
    target = filled_target(target, given)
    spec = with_search(_with_options(_read_target(target), options), options, given)
    spec = with_notebook_options(spec, options)
    spec = fetched(with_params(spec, given, texts=dict(options["parameters_raw"])), folder)
    if {INPUT, OUTPUT} & given.keys():
        single_notebook(spec, "--inject-paths")
    _check_results(options["results"], spec)
    if output == "-":
        if isinstance(spec, Group) and spec.each is not None:
            raise SpecError("OUTPUT - is for a single run: with --each, give a pattern such as out/{row}.ipynb")
        output = literal(os.path.join(folder, f"{spec.run[0].name}.ipynb"))
    with _located(target, {*given, *search_keys(options)}):
        return make_plan(
            spec,
            cwd=_working_directory(target, options["cwd"]),
            output=output,
            cold=options["cold"],
        )


def _read_target(target: str) -> Spec:
    from ml_experiment_nb.spec_files import read_spec
    from ml_experiment_nb.specs import spec_from_mapping

    if is_elsewhere(target):
        return spec_of_notebook(target)
    suffix = Path(target).suffix.lower()
    if is_spec(target):
        return read_spec(target)
    if suffix not in (".py", ".ipynb"):
        raise SpecError("is neither a spec (.yaml, .json), a script (.py) nor a notebook (.ipynb)", file=target)
    if not os.path.exists(target):  # pathlib raises for a name that is too long
        raise SpecError("there is no such file", file=target)
    return spec_from_mapping({"run": str(Path(target).absolute()), "name": Path(target).stem})


@contextmanager
def _located(target: str, given: Container[str]) -> Iterator[None]:
    """Say where in a spec's file an error stands that shows only when the spec meets what it runs."""
    try:
        yield
    except SpecError as error:
        first = re.split(r"[.\[]", error.key or "")[0]
        if not is_spec(target) or first in given:
            raise
        from ml_experiment_nb.spec_files import located

        raise located(error, target) from None


def _with_options(spec: Spec, options: Mapping[str, Any]) -> Spec:
    from ml_experiment_nb.fields import read_bytes
    from ml_experiment_nb.libraries import read_autolog
    from ml_experiment_nb.notify import read_words
    from ml_experiment_nb.specs import Group, Job, spec_from_mapping

    keys = ("name", "slots", "executor", "timeout")
    changes = {key: options[key] for key in keys if options[key] is not None}
    if options["memory"] is not None:
        changes["memory"] = read_bytes(options["memory"])
    if options["notify"]:
        changes["notify"] = read_words(options["notify"])
    if options["allow_unknown_params"]:
        changes["allow_unknown_params"] = True
    if autolog := autolog_keys(options["autolog"], options["no_autolog"]):
        changes["autolog"] = read_autolog(autolog["autolog"])
    if options["each"] is not None:
        return spec_from_mapping({**_fields_with_table(spec, options), **changes})
    if options["kind"] is None or options["kind"] == spec.kind:
        return spec.model_copy(update=changes)
    if isinstance(spec, Group):
        raise SpecError("--kind: a group stays a group; write another spec")
    fields = {name: getattr(spec, name) for name in Job.model_fields}
    return spec_from_mapping({**fields, "kind": options["kind"], **changes})


def _fields_with_table(spec: Spec, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec's keys, as those of a group that has a run for each row of the table that ``--each`` names."""
    from ml_experiment_nb.rows import read_lines
    from ml_experiment_nb.specs import given_fields
    from ml_experiment_nb.work.places import standard_input

    if "job" in (options["kind"], spec.kind):
        raise SpecError("--each records a run for each row, and a job is not recorded: make it an experiment")
    given = options["each"]
    each = read_lines(standard_input(), "standard input") if given == "-" else str(Path(given).absolute())
    return {**given_fields(spec), "kind": "group", "each": each}


def _working_directory(target: str, cwd: str | None) -> str | None:
    """Return where the code runs: for a notebook or script, where the command was given, as papermill has it."""
    if cwd is not None:
        return str(Path(cwd).absolute())
    return None if is_spec(target) and not is_elsewhere(target) else os.getcwd()


def _check_results(file: str | None, spec: Spec) -> None:
    """Check at once that a table of results can be written."""
    from ml_experiment_nb.rows import RESULTS

    if file is None:
        return
    if spec.kind != "group":
        raise SpecError(f"--results is for a group, and this is kind: {spec.kind}")
    if Path(file).suffix.lower() not in RESULTS:
        raise SpecError(f"a table of results ends in {' or '.join(RESULTS)}", file=file)
    if not Path(file).absolute().parent.is_dir():
        raise SpecError("its folder does not exist", file=file)
