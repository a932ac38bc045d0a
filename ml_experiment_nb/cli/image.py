"""``ml-experiment image``: a notebook, a script, a spec or a run made a Docker image."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from ml_experiment_nb.cli.watch import CommandWatch

_CODES = {"identical": 0, "within tolerance": 0, "differs": 1, "could not run": 7}
"""Exit codes by the answer of a verdict, as ``ml-experiment replay`` has them."""


@click.command()
@click.argument("target", metavar="NOTEBOOK|SPEC|RUN", type=click.Path(dir_okay=False))
@click.option("-t", "--tag", "name", metavar="NAME[:TAG]", help="The image's name; by default the notebook's own.")
@click.option("--base", metavar="IMAGE", help="Begin with it, in place of the slim image of the kernel's Python.")
@click.option("--push", is_flag=True, help="Push it to its registry, with your own Docker credentials.")
@click.option(
    "--verify/--no-verify", default=True, show_default=True,
    help="Of a run: repeat it in the image, and compare its metrics.",
)  # fmt: skip
@click.option("--tolerance", metavar="METRIC=VALUE", multiple=True, help="How far a metric may be: loss=0.01, acc=1%.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan, or what was made, as JSON.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would go in and its Dockerfile, and do nothing.")
@click.option(
    "--context-only", metavar="DIR", type=click.Path(file_okay=False),
    help="Write what it is built from to a new folder; no engine is needed.",
)  # fmt: skip
@click.option("--only-imports", is_flag=True, help="Leave out the packages that nothing imports.")
@click.option("--lab/--no-lab", default=None, help="Put JupyterLab in, or leave it out.")
@click.option(
    "--data", type=click.Choice(["in", "out"]), default="in", show_default=True,
    help="Whether the files that the code names go in.",
)  # fmt: skip
@click.option("--include", metavar="PATH", multiple=True, help="A file or folder that goes in besides.")
@click.option("--exclude", metavar="PATTERN", multiple=True, help="Files that stay out: 'data/raw/*'.")
@click.option("--without", metavar="PACKAGE", multiple=True, help="A package that stays out.")
@click.option("--whole", is_flag=True, help="Take packages whole, with their tests and sources of compiled modules.")
@click.option("--index-url", metavar="URL", help="The package index, in place of the one in pip's settings.")
@click.option("--extra-index-url", metavar="URL", multiple=True, help="One more index.")
@click.option(
    "--network", type=click.Choice(["host", "default", "none"]),
    help="The network of apt.txt's and postBuild's steps, as `docker build` has it.",
)  # fmt: skip
@click.option("-k", "--kernel", metavar="NAME", help="The kernel, in place of the notebook's.")
@click.option("--cwd", type=click.Path(file_okay=False, exists=True), help="The folder that the code runs in.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.pass_obj
def image(
    watch: CommandWatch | None, /, target: str, as_json: bool, plan_only: bool, context_only: str | None, push: bool,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Make a Docker image of a notebook, a script, a spec (.yaml, .json), or a run by its id.

    It has the environment of the notebook's kernel. `docker run IMAGE -p C 0.5` is a headless run of it then, and
    `docker run -p 8888:8888 IMAGE lab` opens JupyterLab.
    """
    from ml_experiment_nb import image_json, image_plans, imaging
    from ml_experiment_nb.images.choices import Choices
    from ml_experiment_nb.images.pip import Index

    choices = Choices(
        only_imports=options["only_imports"], lab=options["lab"], data=options["data"] == "in",
        without=options["without"], exclude=options["exclude"], include=options["include"], whole=options["whole"],
    )  # fmt: skip
    index = Index(options["index_url"], options["extra_index_url"])
    plan = image_plans.plan_image(
        target, options["name"], base=options["base"], choices=choices, index=index, cwd=options["cwd"],
        kernel=options["kernel"],
    )  # fmt: skip
    if plan_only:
        click.echo(json.dumps(image_json.planned(plan)) if as_json else str(plan))
        return
    shown = Shown(watch, quiet=quiet)
    if context_only is not None:
        with shown:
            notes = imaging.write_context(plan, context_only, tell=shown.tell)
        _say(notes)
        text = f"written to {context_only}\n  build it   {imaging.build_command(plan.name, context_only)}"
        _finish(image_json.written(plan, Path(context_only), notes), text, watch, as_json=as_json)
        return
    with shown:
        made = imaging.build(
            plan,
            push=push,
            verify=options["verify"],
            tolerances=options["tolerance"],
            network=options["network"],
            tell=shown.tell,
        )
    _say(made.notes)
    text = f"{made}\n  pushed   {made.name}@{made.digest}" if made.digest else str(made)
    is_same = made.verdict is None or made.verdict.answer.is_same
    failure = None if is_same else f"the run repeated in it: {made.verdict}"
    _finish(image_json.made(made), text, watch, failure, as_json=as_json)
    sys.exit(0 if made.verdict is None else _CODES[made.verdict.answer])


def _finish(
    result: dict[str, Any], text: str, watch: CommandWatch | None, failure: str | None = None, *, as_json: bool
) -> None:
    """Print what was made, and tell who waits for it elsewhere."""
    click.echo(json.dumps(result) if as_json else text)
    if watch is not None:
        watch.made(result, failure)


def _say(notes: tuple[str, ...]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


class Shown:
    """What is being done, on standard error: a line that is written again in a terminal, elsewhere each step's own.

    Args:
        watch: Who is told all of it besides.
        quiet: Show nothing.
    """

    def __init__(self, watch: CommandWatch | None = None, *, quiet: bool) -> None:
        self._watch = watch
        self._quiet = quiet
        self._rewrites = sys.stderr.isatty()
        self._last = ""

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        if self._rewrites and self._last:
            click.echo("\r\x1b[K", err=True, nl=False)

    def tell(self, line: str) -> None:
        """Show a line, if it says something that the last one doesn't."""
        text = told(line)
        if text and self._watch is not None:
            self._watch.step(text)
        if self._quiet or not text or text == self._last:
            return
        if self._rewrites:
            click.echo(f"\r\x1b[K{text[:100]}", err=True, nl=False)
        elif not re.match(r"fetched \d", text):
            click.echo(text, err=True)
        self._last = text


def told(line: str) -> str:
    """Return what is shown of a line that BuildKit prints, without its numbers; empty for what is its own business."""
    if (step := re.match(r"#\d+ (\[[^\]]*\d/\d+\] .*)", line)) is not None:
        return " ".join(step[1].split())
    if re.match(r"#\d+ ", line):
        return ""
    return line.strip()
