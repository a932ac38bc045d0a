"""A run's code as a program that runs by itself: a notebook, or a script, with its parameters written in it.

What is taken is the code that the run has kept, not the file as it is now.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb import notebooks, secrecy
from ml_experiment_nb.cells import SHELL_MAGICS, parse, read_cell, value_text, with_values
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.export import split_cell
from ml_experiment_nb.flow import is_everywhere
from ml_experiment_nb.forms import Form, RecordedSpec
from ml_experiment_nb.magic_lines import OF_OURS
from ml_experiment_nb.script_options import command_line, read_options
from ml_experiment_nb.scripts import job_functions
from ml_experiment_nb.session import SLICE
from ml_experiment_nb.specs import Group
from ml_experiment_nb.targets import Cell, Notebook, Script
from ml_experiment_nb.typed_forms import as_cell

Kept = Callable[[str], str | None]
"""Gives the text of a file in the run's ``record``, or None."""

_SAID: Final = ("seed", "deterministic", "autolog", "distributed")
_END = """
_metrics, _artifacts = _value, {}
if isinstance(_value, tuple) and len(_value) == 2 and isinstance(_value[0], dict):
    _metrics, _artifacts = _value[0], as_artifacts(_value[1])
if isinstance(_metrics, dict):
    report({_name: _one for _name, _one in _metrics.items() if as_number(_one) is not None})
for _name, _content in _artifacts.items():
    artifact(_name, _content)
"""
_OF_END: Final = """from ml_experiment_nb.capture.artifacts import as_artifacts
from ml_experiment_nb.events import as_number
"""


def as_notebook(asked: RecordedSpec, kept: Kept) -> Form:
    """Return a run's code as a notebook that runs from top to bottom.

    Args:
        asked: What was asked.
        kept: Gives what is kept with the run.

    Raises:
        SpecError: It is no single run of a notebook or a cell, or what it needs is not kept.
    """
    target = _only_target(asked, "notebook")
    session = kept(SLICE) if not isinstance(target, Notebook | Script) else None
    if session is not None:
        return Form(session, _without_code(asked))
    if isinstance(target, Cell):
        names = sorted(one for one in read_cell(target.source).reads if not is_everywhere(one))
        if names:
            raise SpecError(
                f"the cell reads {', '.join(names)} from its notebook, which this run doesn't keep: take cell"
            )
        form = as_cell(asked)
        return Form(_text_of([("%load_ext ml_experiment_nb", []), (form.text, [])]), form.losses)
    if not isinstance(target, Notebook):
        raise SpecError("no notebook and no cell was run: take the form script, or command")
    nb = _kept_notebook(target, kept)
    params = asked.spec.params
    if params:
        _inject(nb, params)
    left_out = notebooks.left_out(nb, target.from_cell, target.until_cell) if target.part else ()
    for cell in nb.cells:
        if cell.id in left_out:
            cell.metadata["tags"] = [*notebooks.tags(cell), "skip-execution"]
    for _, cell in notebooks.code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    return Form(json.dumps(nb, indent=1, ensure_ascii=False), _losses(asked))


def as_headless(asked: RecordedSpec, kept: Kept) -> Form:
    """Return a run's code as a notebook whose headless run has the run's own metrics, and takes its parameters.

    It is `as_notebook`'s, but for a tracked cell: there it would be the cell's run that has them, and not the
    notebook's. The cell goes without its magic, and its parameters are a cell of their own.

    Args:
        asked: What was asked.
        kept: Gives what is kept with the run.

    Raises:
        SpecError: It is no single run of a notebook or a cell, or what it needs is not kept.
    """
    form = as_notebook(asked, kept)
    target = _only_target(asked, "notebook")
    if not isinstance(target, Cell):
        return form
    nb = notebooks.parse_notebook(form.text, file="the run's notebook")
    *_, (index, last) = notebooks.code_cells(nb)
    parameters, last.source = split_cell(read_cell(target.source), asked.spec.params)
    if parameters:
        from nbformat import v4

        tagged = {"tags": [notebooks.PARAMETERS_TAG]}
        nb.cells.insert(index, v4.new_code_cell(parameters, id="parameters", metadata=tagged))
    return Form(json.dumps(nb, indent=1, ensure_ascii=False), _losses(asked))


def as_script(asked: RecordedSpec, kept: Kept) -> Form:
    """Return a run's code as a script; its metrics are those of the run when ``ml-experiment run`` runs it.

    Args:
        asked: What was asked.
        kept: Gives what is kept with the run.

    Raises:
        SpecError: It is no single run of code in Python, or has IPython's syntax that a script can't have.
    """
    target = _only_target(asked, "script")
    if isinstance(target, Script):
        text = kept(f"source/{Path(target.path).name}")
        if text is None:
            raise SpecError("the script's source is not kept with the run: take the form command")
        return Form(_with_params(text, asked.spec.params), _losses(asked))
    form = as_notebook(asked, kept)
    nb = notebooks.parse_notebook(form.text, file="the run's notebook")
    if notebooks.language(nb) not in ("python", "ipython"):
        raise SpecError(f"the notebook is in {notebooks.language(nb)}: take the form notebook")
    inner = isinstance(target, Cell)
    return Form(_script_of(nb, asked if inner else None), form.losses)


def _only_target(asked: RecordedSpec, form: str) -> Any:
    if isinstance(asked.spec, Group):
        raise SpecError(
            f"a group is no single run: take one of its trials as {form}, or the group as yaml, cell, command"
        )
    [target, *others] = asked.spec.run
    if others:
        raise SpecError(f"it runs several files: take one of its steps as {form}, or all as yaml or command")
    return target


def _losses(asked: RecordedSpec) -> tuple[str, ...]:
    """Return what the code doesn't have of what was asked."""
    spec = asked.spec
    said = [f"{key}: {getattr(spec, key)!r} was asked, and isn't in the code" for key in _SAID if _is_set(spec, key)]
    where = f"it ran in {spec.root_path}" if spec.root_path else None
    return (*_without_code(asked), *said, *filter(None, [where]))


def _without_code(asked: RecordedSpec) -> tuple[str, ...]:
    """Return the record's losses, but for another code: what is given here is the run's own."""
    return tuple(one for one in asked.losses if not one.startswith("the code "))


def _is_set(spec: Any, key: str) -> bool:
    return bool(getattr(spec, key) != type(spec).model_fields[key].get_default(call_default_factory=True))


# --- notebooks ---


def _kept_notebook(target: Notebook, kept: Kept) -> Any:
    text = kept(f"source/{target.file.name}")
    if text is None:
        raise SpecError("the notebook's source is not kept with the run: take the form command")
    return notebooks.parse_notebook(text, file=target.file.name)


def _inject(nb: Any, params: Mapping[str, Any]) -> None:
    """Put a cell with values below the parameters, as papermill does; one that is there already is replaced."""
    if notebooks.language(nb) not in ("python", "ipython"):
        raise SpecError(
            f"the notebook is in {notebooks.language(nb)}, and its parameters can't be written: take command"
        )
    from nbformat import v4

    kept = [cell for cell in nb.cells if notebooks.INJECTED_TAG not in notebooks.tags(cell)]
    index = next((k for k, cell in enumerate(kept) if notebooks.PARAMETERS_TAG in notebooks.tags(cell)), -1)
    made = v4.new_code_cell(assignments(params), id="injected", metadata={"tags": [notebooks.INJECTED_TAG]})
    nb.cells = [*kept[: index + 1], made, *kept[index + 1 :]]


def assignments(params: Mapping[str, Any]) -> str:
    """Return a cell that assigns parameters their values.

    Raises:
        ParameterError: One can't be written as a literal.
    """
    lines = ["from ml_experiment_nb import secret"] if any(secrecy.names_in(params)) else []
    return "\n".join([*lines, *(f"{name} = {value_text(name, value)}" for name, value in params.items())])


def _text_of(cells: Iterable[tuple[str, Sequence[str]]]) -> str:
    from nbformat import v4

    made = [
        v4.new_code_cell(source, id=f"cell-{k}", metadata={"tags": list(tags)} if tags else {})
        for k, (source, tags) in enumerate(cells, start=1)
    ]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = v4.new_notebook(cells=made, metadata={"kernelspec": spec, "language_info": {"name": "python"}})
    return json.dumps(nb, indent=1, ensure_ascii=False)


# --- scripts ---


def _with_params(text: str, params: Mapping[str, Any]) -> str:
    """Return a script with its parameters: as its only job's defaults, else as the words that it is called with."""
    if not params:
        return text
    if any(secrecy.names_in(params)):
        raise SpecError("a secret is among its parameters, which a script takes where it is run: take the form command")
    module = ast.parse(text)
    jobs = job_functions(module.body)
    if len(jobs) == 1:
        [(function, _)] = jobs
        named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        if {one.arg for one in named} >= params.keys():
            return _with_defaults(text, function.args, params)
    words = command_line(params, read_options(module).by_name)
    line = f"import sys; sys.argv[1:] = {words!r}  # what the run was given\n"
    above = _first_line(module)
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:above], line, *lines[above:]])


def _with_defaults(text: str, arguments: ast.arguments, params: Mapping[str, Any]) -> str:
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    positional = [*arguments.posonlyargs, *arguments.args]
    bare: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*bare, *arguments.defaults], strict=True)]
    pairs += [*zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    for arg, default in sorted(pairs, key=lambda pair: (pair[0].lineno, pair[0].col_offset), reverse=True):
        if arg.arg not in params:
            continue
        value = value_text(arg.arg, params[arg.arg])
        new = value if default is not None else f" = {value}" if arg.annotation is not None else f"={value}"
        start = (arg.end_lineno or 1, arg.end_col_offset or 0)
        if default is not None:
            start = (default.lineno, default.col_offset)
        end = (default.end_lineno or 1, default.end_col_offset or 0) if default is not None else start
        head, tail = lines[start[0] - 1][: start[1]], lines[end[0] - 1][end[1] :]
        lines[start[0] - 1 : end[0]] = [head + new.encode() + tail]
    return b"".join(lines).decode()


def _first_line(module: ast.Module) -> int:
    """Return how many lines of a script stand above what may come first: its docstring and its ``__future__``."""
    above = 0
    for statement in module.body:
        match statement:
            case ast.Expr(value=ast.Constant(value=str())) | ast.ImportFrom(module="__future__"):
                above = statement.end_lineno or statement.lineno
            case _:
                break
    return above


def _script_of(nb: Any, asked: RecordedSpec | None) -> str:
    """Return a notebook's cells as a script that reports what its last expression gives.

    Args:
        nb: The notebook.
        asked: For the run of a cell, what was asked; the cell is the last one.
    """
    cells = [cell for _, cell in notebooks.code_cells(nb) if "skip-execution" not in notebooks.tags(cell)]
    texts = [_plain(cell, asked if cell is cells[-1] else None) for cell in cells]
    parted = [_without_future(text) for text in texts]
    texts = [text for text, _ in parted if text.strip()]
    future = dict.fromkeys(name for _, names in parted for name in names)
    body = "\n\n\n".join(f"# %%\n{text}" for text in texts[:-1])
    last, reports = _reporting(texts[-1]) if texts else ("", False)
    whole = f"{body}\n\n\n# %%\n{last}\n".lstrip()
    names = [*(["artifact", "report"] if reports else []), *(["secret"] if "secret(" in whole else [])]
    head = f"from __future__ import {', '.join(future)}\n\n" if future else ""  # first in a file, and so for all cells
    head += f"from ml_experiment_nb import {', '.join(names)}\n{_OF_END if reports else ''}\n" if names else ""
    head += "from IPython.display import display\n\n" if "display(" in whole else ""
    return f"{head}{whole}"


def _plain(cell: Any, asked: RecordedSpec | None) -> str:
    """Return a cell as plain Python."""
    source = str(cell.source)
    if found := OF_OURS.match(source):
        if found[1] == "group":
            raise SpecError("a %%group cell stands above it, which a script can't have: take the form notebook")
        source = source[found.end() :].partition("\n")[2]
        if asked is not None:
            source = _with_lead(source, asked.spec.params)
    source = "\n".join(line for line in source.splitlines() if not line.startswith(SHELL_MAGICS))
    try:
        compile(source, "cell", "exec", dont_inherit=True)  # what parses may not compile: an await that stands alone
    except SyntaxError as error:
        line = (error.text or source.splitlines()[(error.lineno or 1) - 1]).strip()
        problem = f"its cell {cell.id!r} has what a script can't have: {line!r}; take the form notebook"
        raise SpecError(problem) from None
    return source


def _without_future(source: str) -> tuple[str, list[str]]:
    """Return a cell without its imports from ``__future__``, and what they import."""
    found = [one for one in ast.parse(source).body if isinstance(one, ast.ImportFrom) and one.module == "__future__"]
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for one in reversed(found):
        start, end = one.lineno - 1, (one.end_lineno or one.lineno) - 1
        rest = lines[end][one.end_col_offset :].lstrip(b" \t;")
        line = lines[start][: one.col_offset] + rest
        lines[start : end + 1] = [line] if line.strip() else []
    return b"".join(lines).decode(), [ast.unparse(name) for one in found for name in one.names]


def _with_lead(source: str, params: Mapping[str, Any]) -> str:
    cell = read_cell(source)
    known = {name: value for name, value in params.items() if name in (*cell.params, *cell.space)}
    return with_values(cell, known)


def _reporting(source: str) -> tuple[str, bool]:
    """Return a cell whose last expression's value is reported, and whether it has one."""
    body = parse(source).body
    if not body or not isinstance(body[-1], ast.Expr):
        return source, False
    last = body[-1]
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    text = ast.get_source_segment(source, last.value) or ast.unparse(last.value)
    above = b"".join([*lines[: last.lineno - 1], lines[last.lineno - 1][: last.col_offset]]).decode()
    return f"{above}_value = (\n    {text}\n)\n{_END.strip()}", True
