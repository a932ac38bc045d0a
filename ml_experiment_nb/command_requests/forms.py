"""A run in the form in which it can be asked for again; a shell line is read back before it is printed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

import click

from ml_experiment_nb.command_requests import GRAMMAR, read_command
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.forms import Form, RecordedSpec, absolute, as_file, asked_by
from ml_experiment_nb.records import Record
from ml_experiment_nb.session import SLICE
from ml_experiment_nb.specs import to_mapping
from ml_experiment_nb.targets import Cell
from ml_experiment_nb.typed_forms import Option, as_cell, as_words, by_file


def form_of(record: Record, text: str | None, form: str, kept: Callable[[str], str | None] = lambda name: None) -> Form:
    """Return what a record's run was asked by.

    Args:
        record: The record.
        text: The spec that is kept with it.
        form: ``yaml``, ``json``, ``cell``, ``command``, ``notebook`` or ``script``.
        kept: Gives a file of the run's ``record`` folder.

    Raises:
        SpecError: It can't be had, or not in that form.
    """
    if form == "notebook" and (session := kept(SLICE)) is not None:
        return Form(session)  # a function of the notebook has no spec that can be read again
    asked = asked_by(record, text)
    if form in ("notebook", "script"):
        from ml_experiment_nb import programs

        return programs.as_notebook(asked, kept) if form == "notebook" else programs.as_script(asked, kept)
    if form == "cell" and any(isinstance(target, Cell) for target in asked.spec.run):
        return as_cell(asked)
    if form in ("yaml", "json"):
        return as_file(asked, f".{form}")
    line = _command(record, asked)
    if form == "command":
        return line
    return Form(f"%%bash\n{line.text}", line.losses)  # IPython fills nothing in there, as it would behind a `!`


def _command(record: Record, asked: RecordedSpec) -> Form:
    """Return a shell line that asks for the same: by options if they can say it, else by a spec's file."""
    words = as_words(asked.spec, _options())
    if words is not None and _is_same(words, asked):
        return Form(shlex.join(words), asked.losses)
    written = as_file(asked)
    return Form(by_file(record, asked.spec), written.losses)


def _is_same(words: Sequence[str], asked: RecordedSpec) -> bool:
    try:
        plan = read_command(words[2:])
    except (SpecError, click.ClickException):
        return False
    read = plan.spec.model_copy(update={"root_path": plan.cwd})
    return to_mapping(absolute(read)) == to_mapping(absolute(asked.spec))


def _options() -> dict[str, Option]:
    """Return the options of ``ml-experiment run``, by the names of what they set."""
    return {
        one.name: Option(
            max(one.opts, key=len), next(iter(one.secondary_opts), None), not (one.is_flag or one.is_bool_flag)
        )
        for one in GRAMMAR.params
        if isinstance(one, click.Option) and one.name is not None
    }
