"""What a run's record keeps of what ran, as a spec that runs again; what is kept is asked for, nothing is written.

Three things are told apart. A script, a notebook, a command, a cell that needs nothing of its notebook: the spec runs
them as it did. A function of a module: a short script calls it. An inline cell, a job that was called in a notebook, a
trial of a `%%group` cell: the slice of the session that is kept with it is run as a notebook, and in it the cell opens
a run of its own, as it did; that one is the run's other version.
"""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb.cells import parse, read_cell, value_text
from ml_experiment_nb.errors import ReplayError, SpecError
from ml_experiment_nb.flow import is_everywhere
from ml_experiment_nb.forms import RecordedSpec, asked_spec
from ml_experiment_nb.inplace import SCRIPT
from ml_experiment_nb.known import REPLAY_OF
from ml_experiment_nb.records import Record, Status
from ml_experiment_nb.session import SLICE, as_repeated, started_in
from ml_experiment_nb.spec_files import parse_mapping
from ml_experiment_nb.specs import Experiment, Job, spec_from_mapping
from ml_experiment_nb.targets import Cell, Command, Notebook, Script, read_targets
from ml_experiment_nb.typed_forms import as_cell

Kept = Callable[[str], str | None]
"""Gives the text of a file in the ``record`` folder of a run, or of the group that it belongs to; None without it."""

OF: Final = REPLAY_OF

_MAIN: Final = "__main__:"
_CALL: Final = """from ml_experiment_nb import job
from {module} import {name} as called

(called if hasattr(called, "function") else job(called))()
"""


@dataclass(frozen=True)
class Material:
    """What is run again.

    Attributes:
        spec: The spec, with paths as they were.
        cwd: Where it ran.
        files: The text of each file that is kept, by its path.
        inner: Whether the run to be compared is one that the code itself opens.
        notes: What is not as it was, each in a sentence.
    """

    spec: Experiment
    cwd: Path
    files: Mapping[Path, str] = field(default_factory=dict)
    inner: bool = False
    notes: tuple[str, ...] = ()


def material_of(record: Record, text: str | None, kept: Kept) -> Material:
    """Return what a run's record keeps of what ran.

    Args:
        record: The record.
        text: The spec that is kept with it; None where there is none.
        kept: Gives what is kept besides.

    Raises:
        ReplayError: It can't be run again; says why.
        SpecError: What is kept can't be read.
    """
    if record.status is Status.RUNNING:
        raise ReplayError("it has not ended yet: `ml-experiment attach` shows how far it is")
    if text is None:
        raise ReplayError("no spec is kept with it: it was not made by this package")
    data = _of_its_step(parse_mapping(text), record)
    cwd = Path(record.tags.get("mlexp.cwd") or data.get("root_path") or ".")
    if any(_main_function(target) for target in data.get("run", ())):
        return _called(record, data, cwd, kept)
    if len(data.get("run", ())) > 1:
        raise ReplayError("it ran several files in one run, and that can't be done again")
    spec = _alone(asked_spec(_without_functions(data), record), record)
    [target] = spec.run
    if isinstance(target, Cell):
        return _cell(record, spec, cwd, kept(SLICE))
    return _with_files(spec, cwd, data, kept)


def _of_its_step(data: Mapping[str, Any], record: Record) -> Mapping[str, Any]:
    """Return a spec's keys; of a record that is one of its steps, those of that step."""
    targets, params = data.get("run", ()), data.get("params") or {}
    if len(targets) < 2 or record.parent_id is None:
        return data
    own = [one for one in targets if record.name == f"{data.get('name', record.experiment)} {_name(one)}"]
    known = {name: value for name, value in params.items() if name in record.params}
    return {**data, "run": own[:1], "params": known} if own else data


def _name(target: Any) -> str:
    """Return the name of a target as a spec has it; a function's is not imported."""
    if isinstance(target, dict) and "function" in target:
        return str(target["function"]).rpartition(":")[2].rpartition(".")[2]
    return read_targets(target)[0].name


def _alone(spec: Job, record: Record) -> Experiment:
    """Return a spec as one experiment that tells nobody, and says what it is done again of."""
    fields = {name: getattr(spec, name) for name in Experiment.model_fields if name in spec.model_fields_set}
    for key in ("notify", "slots", "executor"):
        fields.pop(key, None)
    fields |= {"name": record.experiment, "run": spec.run, "params": spec.params}
    fields["root_path"] = spec.root_path or record.tags.get("mlexp.cwd")
    fields["tags"] = {**spec.tags, OF: str(record.run_id)}
    return Experiment.model_validate(fields)


# --- code of a file ---


def _with_files(spec: Experiment, cwd: Path, data: Mapping[str, Any], kept: Kept) -> Material:
    """Return a spec with the source that is kept of its file."""
    [target] = spec.run
    root = Path(spec.root_path or ".")
    if isinstance(target, Command):
        return Material(spec, cwd)
    if isinstance(target, Script) and target.path == _shim(data):
        return Material(spec, cwd, {root / target.path: _shim_text(data)})
    assert isinstance(target, Script | Notebook)
    name = Path(target.path).name
    if isinstance(target, Notebook) and target.is_elsewhere:
        source = kept(f"source/{name}") or kept(f"source/{target.file.name}")
        spec = spec.model_copy(update={"run": (target.model_copy(update={"path": name}),)})
    else:
        source, name = kept(f"source/{name}"), target.path
    if source is None:
        raise ReplayError(f"the source of {target.path} is not kept with it")
    return Material(spec, cwd, {root / name: source})


def _main_function(target: Any) -> str | None:
    named = target.get("function") if isinstance(target, dict) else None
    return str(named).removeprefix(_MAIN) if str(named).startswith(_MAIN) else None


def _without_functions(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec's keys in which a script stands for a function: reading the spec would import today's module."""
    shim = _shim(data)
    return dict(data) if shim is None else {**data, "run": [shim]}


def _shim(data: Mapping[str, Any]) -> str | None:
    named = [target["function"] for target in data.get("run", ()) if isinstance(target, dict) and "function" in target]
    return f"replay_{named[0].replace(':', '_').replace('.', '_')}.py" if named else None


def _shim_text(data: Mapping[str, Any]) -> str:
    [named] = [target["function"] for target in data["run"]]
    module, _, name = named.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ReplayError(f"the function {named} can't be imported by its name")
    return _CALL.format(module=module, name=name)


# --- code of a session ---


def _called(record: Record, data: Mapping[str, Any], cwd: Path, kept: Kept) -> Material:
    """Return what calls a job again that was defined where it was called."""
    name = next(filter(None, map(_main_function, data["run"])))
    session = kept(SLICE)
    if session is not None and record.kind == "trial":
        spec = asked_spec(_without_functions(data), record)
        return _slice(record, cwd, _with_last(session, lambda source: _call_in(source, name, spec.params)))
    if session is not None:
        return _slice(record, cwd, session)
    if (told := record.tags.get(SCRIPT)) is None:
        raise ReplayError(f"{name} was defined where it was called, which is not kept with it: put it in a module")
    path, *words = json.loads(told)
    if (source := kept(f"script/{Path(path).name}")) is None:
        raise ReplayError(f"the script {path}, which called {name}, is not kept with it")
    command = Command(command=shlex.join(["python", path, *words]))
    return Material(_outer(record, cwd, command), cwd, {cwd / path: source}, inner=True)


def _cell(record: Record, spec: Experiment, cwd: Path, session: str | None) -> Material:
    """Return what runs a cell again."""
    [target] = spec.run
    assert isinstance(target, Cell)
    if session is not None and record.kind == "trial":
        text = as_cell(RecordedSpec(_of_the_cell(spec, record))).text
        return _slice(record, cwd, _with_last(session, lambda source: text))
    if session is not None:
        return _slice(record, cwd, session)
    outside = sorted(name for name in read_cell(target.source).reads if not is_everywhere(name))
    if outside:
        raise ReplayError(f"its cell reads {', '.join(outside)} from its notebook, whose session is not kept with it")
    return Material(spec, cwd)


def _call_in(source: str, name: str, params: Mapping[str, Any]) -> str:
    """Return a cell that searched a job as one that calls it once.

    Raises:
        ReplayError: The search can't be found in it.
    """
    call = f"{name}({', '.join(f'{one}={value_text(one, value)}' for one, value in params.items())})"
    for statement in reversed(parse(source).body):
        for node in ast.walk(statement):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr="group")) if found == name:
                    above = source.splitlines(keepends=True)[: statement.lineno - 1]
                    return "".join([*above, call])
    raise ReplayError(f"the cell that searched {name} doesn't call {name}.group(…) by that name: put it in a module")


def _of_the_cell(spec: Experiment, record: Record) -> Experiment:
    """Return the spec of a trial as its cell's magic has it, which places nothing and tags nothing."""
    tags = {name: text for name, text in spec.tags.items() if name != OF}
    return spec.model_copy(update={"root_path": None, "tags": tags, "name": record.experiment})


def _slice(record: Record, cwd: Path, session: str) -> Material:
    """Return what runs a session again, from the folder that it has begun in."""
    cwd = Path(started_in(session) or cwd)
    path = cwd / f"replay-of-{str(record.run_id)[:8]}.ipynb"
    try:
        text = as_repeated(session)
    except (ValueError, LookupError, TypeError) as error:
        raise SpecError(f"the session that is kept with it can't be read: {error}") from None
    return Material(_outer(record, cwd, Notebook(path=str(path))), cwd, {path: text}, inner=True)


def _outer(record: Record, cwd: Path, target: Notebook | Command) -> Experiment:
    """Return the run in which the code opens its own."""
    asked = {"name": record.experiment, "run": [target], "root_path": str(cwd), "tags": {OF: str(record.run_id)}}
    found = spec_from_mapping({"kind": "experiment", **asked})
    assert isinstance(found, Experiment)
    return found


def _with_last(session: str, change: Callable[[str], str]) -> str:
    """Return a session's notebook with its last cell changed."""
    try:
        nb = json.loads(session)
        last = nb["cells"][-1]
        last["source"] = change("".join(last["source"])).splitlines(keepends=True)
    except (ValueError, LookupError, TypeError) as error:
        raise SpecError(f"the session that is kept with it can't be read: {error}") from None
    loads = "%load_ext ml_experiment_nb"
    if not any(loads in "".join(cell["source"]) for cell in nb["cells"][:-1]):
        cell: dict[str, Any] = {"cell_type": "code", "id": "extension", "metadata": {}, "outputs": []}
        nb["cells"].insert(0, {**cell, "execution_count": None, "source": [loads]})
    return json.dumps(nb)
