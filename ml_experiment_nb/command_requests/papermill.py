"""papermill's command line, as ``ml-experiment run`` takes it: its options, its parameters, its paths."""

from __future__ import annotations

import base64
import binascii
import keyword
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb import secrecy
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.paths import INPUT, OUTPUT, filled_in, is_elsewhere, is_spec

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Spec
    from ml_experiment_nb.targets import Notebook

_LEVELS = ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Papermill(click.Command):
    """A command whose ``-p`` takes ``C=0.5``, and also ``C 0.5`` as papermill's does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, once papermill's ``-p NAME VALUE`` is written as ``-p NAME=VALUE``."""
        return super().parse_args(ctx, _join_parameters(args))


def parameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options by which papermill takes parameters."""
    return in_order(
        command,
        click.option("-p", "--param", "--parameters", "params", multiple=True, metavar="NAME=VALUE",
                     help="Set a parameter; may be repeated. NAME VALUE is the same."),
        click.option("-r", "--parameters_raw", nargs=2, multiple=True, metavar="NAME TEXT",
                     help="Set a parameter to a text, whatever it looks like; may be repeated."),
        click.option("-f", "--parameters_file", multiple=True, metavar="PATH",
                     help="Take parameters from a YAML or JSON file; may be repeated."),
        click.option("-y", "--parameters_yaml", multiple=True, metavar="YAML",
                     help="Take parameters from YAML; may be repeated."),
        click.option("-b", "--parameters_base64", multiple=True, metavar="BASE64",
                     help="Take parameters from YAML in base64; may be repeated."),
        click.option("--inject-input-path", is_flag=True, help=f"Give a notebook TARGET as {INPUT}."),
        click.option("--inject-output-path", is_flag=True, help=f"Give a notebook OUTPUT as {OUTPUT}."),
        click.option("--inject-paths", is_flag=True, help="Give a notebook both."),
    )  # fmt: skip


def notebook_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options by which papermill executes a notebook, and the choice of a part of its cells."""
    return in_order(
        command,
        click.option("-k", "--kernel", metavar="NAME", help="A notebook's kernel, in place of the one it asks for."),
        click.option("-l", "--language", metavar="NAME", help="A notebook's language, in place of its own."),
        click.option("--engine", metavar="NAME", help="A papermill engine to execute notebooks by."),
        click.option("--from-cell", metavar="CELL", help=(
            "The first cell of a notebook to run: its number, counted from 1 among all cells in the order in which "
            "JupyterLab shows them, its tag or its id. Cells with parameters are run in any case.")),
        click.option("--until-cell", metavar="CELL", help="The last cell of a notebook to run, likewise."),
        click.option("--prepare-only/--prepare-execute", help=(
            "Write a notebook with its parameters to OUTPUT, and run nothing.")),
        click.option("--help-notebook", is_flag=True, help="Show a notebook's parameters, and run nothing."),
        click.option("--start-timeout", "--start_timeout", type=click.IntRange(1), metavar="SECONDS",
                     help="How long a kernel may take to start; 60 by default."),
        click.option("--execution-timeout", type=click.IntRange(1), metavar="SECONDS",
                     help="How long each cell of a notebook may take."),
        click.option("--report-mode/--no-report-mode", default=None, help="Hide the code in executed notebooks."),
        click.option("--request-save-on-cell-execute/--no-request-save-on-cell-execute", default=None,
                     help="Write OUTPUT after each cell; so by default, but for `-`."),
        click.option("--autosave-cell-every", type=click.IntRange(0), metavar="SECONDS",
                     help="Write OUTPUT while a cell runs; every 30 seconds by default, 0 for never."),
        click.option("--progress-bar/--no-progress-bar", default=None,
                     help="Show on standard error which cell a notebook is at; so by default."),
        click.option("--log-output/--no-log-output", default=None,
                     help="Show a notebook's outputs through papermill's log, results as text included."),
        click.option("--log-level", type=click.Choice(_LEVELS), help="Show papermill's log from this level on."),
        click.option("--stdout-file", type=click.Path(dir_okay=False), help="Write what a notebook prints here too."),
        click.option("--stderr-file", type=click.Path(dir_okay=False),
                     help="Write what a notebook prints on standard error here too."),
    )  # fmt: skip


def read_parameters(options: Mapping[str, Any], target: str, output: str | None) -> dict[str, Any]:
    """Return the parameters that were given, by papermill's precedence: paths, -b, -f, -y, -p, -r; the last wins.

    Raises:
        SpecError: One of them can't be read.
    """
    from ml_experiment_nb.words import read_assignments

    found: dict[str, Any] = {}
    if options["inject_input_path"] or options["inject_paths"]:
        found[INPUT] = target
    if options["inject_output_path"] or options["inject_paths"]:
        found[OUTPUT] = output or ""
    for text in options["parameters_base64"]:
        found |= _from_yaml(_decoded(text), "-b")
    for path in options["parameters_file"]:
        found |= _from_yaml(_file_text(path), path)
    for text in options["parameters_yaml"]:
        found |= _from_yaml(text, "-y")
    found |= read_assignments(options["params"])
    return found | {_checked(name, "-r"): text for name, text in options["parameters_raw"]}


def with_notebook_options(spec: Spec, options: Mapping[str, Any]) -> Spec:
    """Return a spec whose notebooks are executed as the options say.

    Raises:
        SpecError: An option is given, and there is no notebook; or an option makes no sense.
    """
    from ml_experiment_nb.targets import Notebook, with_options

    changes = {name: options[name] for name in Notebook.model_fields if options.get(name) is not None}
    for name in ("from_cell", "until_cell"):
        if (cell := changes.get(name)) is not None and cell.isdecimal():
            changes[name] = int(cell)
    for name in ("stdout_file", "stderr_file"):
        if changes.get(name) == "-":  # they are shown in any case
            del changes[name]
        elif name in changes:
            changes[name] = str(Path(changes[name]).absolute())
    if not changes:
        return spec
    if not any(isinstance(target, Notebook) for target in spec.run):
        option = next(iter(changes)).replace("_", "-")
        raise SpecError(f"--{option} is for a notebook, and there is none in what is run")
    try:
        run = tuple(with_options(one, changes) if isinstance(one, Notebook) else one for one in spec.run)
    except SpecError as error:
        option = (error.key or "").rpartition(".")[2]
        key = f"--{option.replace('_', '-')}" if option in changes else None
        raise SpecError(error.problem, key=key) from None
    return spec.model_copy(update={"run": run})


def single_notebook(spec: Spec, asked: str) -> Notebook:
    """Return the one notebook that a spec runs.

    Raises:
        SpecError: It runs something else; `asked` is for a single notebook.
    """
    from ml_experiment_nb.targets import Notebook

    [first, *others] = spec.run
    if others or not isinstance(first, Notebook) or spec.kind == "group":
        raise SpecError(f"{asked} is for a single notebook; a group keeps each executed notebook with its run")
    return first


# --- paths ---


def filled_target(target: str, params: Mapping[str, Any]) -> str:
    """Return TARGET with its ``{C}`` filled in, unless a file is called just so."""
    if not {"{", "}"} & set(target) or Path(target).exists():
        return target
    return filled_in(target, params)


def spec_of_notebook(target: str) -> Spec:
    """Return the spec for a notebook that lies elsewhere."""
    from ml_experiment_nb.specs import spec_from_mapping
    from ml_experiment_nb.work.places import file_name

    path = target.partition("?")[0]
    if is_spec(path) or path.lower().endswith(".py"):
        raise SpecError("only a notebook can lie elsewhere: fetch it first", file=target)
    return spec_from_mapping({"run": {"notebook": target}, "name": Path(file_name(target)).stem})


def fetched(spec: Spec, folder: str) -> Spec:
    """Return a spec with local copies, in `folder`, of its notebooks that lie elsewhere.

    Raises:
        SpecError: One can't be had, or is no notebook.
    """
    from ml_experiment_nb.targets import Notebook

    run = [
        one.fetched(_fetch(one.path, tempfile.mkdtemp(dir=folder)))
        if isinstance(one, Notebook) and one.is_elsewhere
        else one
        for one in spec.run
    ]
    return spec.model_copy(update={"run": tuple(run)})


def _fetch(path: str, folder: str) -> str:
    from ml_experiment_nb.notebooks import parse_notebook
    from ml_experiment_nb.work.places import file_name, read_text

    text = read_text(path)
    try:
        parse_notebook(text, file="standard input" if path == "-" else path)
    except SpecError as error:
        begins = f"; it begins with {text.strip()[:40]!r}" if text.strip() else ""
        raise SpecError(f"{error.problem}{begins}", error.file, error.line, error.key) from None
    copy = Path(folder, file_name(path))
    copy.write_text(text, encoding="utf-8")
    return str(copy)


# --- parameters ---


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
                value = None if re.match(r"[\w-]+\s*=", name) else next(rest, None)
                found.append(name if value is None else f"{name}={value}")
    return found


def _file_text(path: str) -> str:
    if is_elsewhere(path):
        from ml_experiment_nb.work.places import read_text

        return read_text(path)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: byte {error.start} can't be read", file=path) from None
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}", file=path) from None


def _decoded(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise SpecError(f"isn't base64 of YAML: {error}", file="-b") from None


def _from_yaml(text: str, where: str) -> dict[str, Any]:
    """Read YAML as papermill does: version 1.1, no dates. But ``1e-5`` is a number here."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads dates as text."""

    Loader.yaml_implicit_resolvers = {
        first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        found = yaml.load(text, Loader=Loader) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise SpecError(f"isn't YAML: {problem}", file=where, line=mark.line + 1 if mark else None) from None
    if not isinstance(found, dict):
        raise SpecError(f"holds a {type(found).__name__}, not names and values such as C: 0.5", file=where)
    return {_checked(name, where): secrecy.read(value) for name, value in found.items()}


def _checked(name: object, where: str) -> str:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise SpecError(f"{name!r} can't be a parameter: it must be a Python name", file=where)
    return name


def in_order(command: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    """Apply decorators so that they stand in the help in their order."""
    for option in reversed(options):
        command = option(command)
    return command
