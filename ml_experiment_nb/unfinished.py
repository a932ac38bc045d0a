"""What a group leaves in its run's folder until it has finished, so that it can go on: what it was, and its values."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import cloudpickle

from ml_experiment_nb import drivers
from ml_experiment_nb.capture.sources import sources
from ml_experiment_nb.cells import without_lead
from ml_experiment_nb.errors import ResumeError, SpecError
from ml_experiment_nb.ipynb import code_cells, joined
from ml_experiment_nb.plans import Plan, Spec
from ml_experiment_nb.projects import FOLDER, find_root, home
from ml_experiment_nb.spaces import space_text
from ml_experiment_nb.targets import Cell, Command, Function, Notebook, Script, Target

_FILE = "group.json"
_SPEC = "spec.pkl"
PLAN = "plan.json"
"""What a group's record keeps of its plan besides its spec."""


@dataclass(frozen=True)
class GroupIdentity:
    """What a group is, so that the same one is known again.

    Attributes:
        name: Its name.
        experiment: Its MLflow experiment.
        within: The run that it is started in, if any.
        targets: What it runs, by path or kind.
        code: A digest of their code, without a cell's parameters.
        points: A digest of its space or its table, its fixed parameters and its metric.
    """

    name: str
    experiment: str
    within: str
    targets: tuple[str, ...]
    code: str
    points: str


@dataclass(frozen=True)
class Left:
    """A group that has not finished, and its folder."""

    folder: Path
    identity: GroupIdentity
    noted: bool = False

    @property
    def run_id(self) -> str:
        """Its run."""
        return self.folder.name


def identity_of(plan: Plan) -> GroupIdentity:
    """Return what a group's plan asks for, in a form that can be compared and kept."""
    group = plan.group
    points = {
        "space": {name: space_text(value) for name, value in group.param_space.items()},
        "params": {name: repr(value) for name, value in group.params.items()},
        "metric": repr(group.metric),
        "rows": repr([dict(row) for row in plan.table.rows]) if plan.table is not None else "",
    }
    return GroupIdentity(
        group.name,
        os.environ.get("MLFLOW_EXPERIMENT_NAME") or group.name,
        os.environ.get("ML_EXPERIMENT_RUN", ""),
        tuple(_name(target) for target in plan.targets),
        _digest("\0".join(_code(target) for target in plan.targets)),
        _digest(json.dumps(points, sort_keys=True)),
    )


def leave(folder: Path, plan: Plan) -> None:
    """Write into a group's folder what it takes to go on with it.

    Raises:
        OSError: It can't be written.
    """
    if plan.values or (plan.again is not None and plan.again.payload is not None):
        with suppress(Exception):  # what can't be pickled: then the record's text is all there is
            (folder / _SPEC).write_bytes(cloudpickle.dumps(plan.spec))
    if plan.values or not (folder / _FILE).exists():  # a function that comes from a file has no source to compare
        _write(folder, identity_of(plan), noted=False)


def found(root: Path, identity: GroupIdentity) -> list[Left]:
    """Return the groups of a project that did not finish and have the same name and targets, the newest first."""
    with suppress(FileNotFoundError), os.scandir(drivers.folders(home(root))) as folders:
        known = [left for one in folders if (left := _read(Path(one.path))) is not None]
        same = [one for one in known if _place(one.identity) == _place(identity)]
        return sorted(same, key=lambda one: (one.folder / _FILE).stat().st_mtime, reverse=True)
    return []


def was_left(plan: Plan) -> bool:
    """Return whether a group like this was left; nothing is made to find that out, and MLflow is not imported."""
    root = find_root()
    return plan.kind == "group" and (root / FOLDER).exists() and bool(found(root, identity_of(plan)))


def note(left: Left) -> None:
    """Remember that somebody was told of a group."""
    _write(left.folder, left.identity, noted=True)


def supersede(root: Path, identity: GroupIdentity, by: str | None) -> None:
    """Let no older group of the same code go on by being merely run again; its values and files stay."""
    for left in found(root, identity):
        if left.run_id != by and left.identity.code == identity.code and not drivers.is_alive(left.folder):
            (left.folder / _FILE).unlink(missing_ok=True)


def spec_left(folder: Path) -> Spec | None:
    """Return the spec that lies in a group's folder, with all of its values; None when none does.

    Raises:
        ResumeError: It can't be read: what it was made of isn't here, or the file was spoiled.
    """
    try:
        found: Spec = cloudpickle.loads((folder / _SPEC).read_bytes())
    except OSError:
        return None
    except Exception as error:  # unpickling runs whatever the values bring along
        raise ResumeError(f"{folder / _SPEC} can't be read ({error!r}): run it anew") from error
    return found


def clear(folder: Path, *, values: bool) -> None:
    """Remove what a group left: it goes on no more by being run again, and without its values in no way."""
    names = [_FILE, *([_SPEC, *(one.name for one in folder.glob("payload-*"))] if values else [])]
    for name in names:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def plan_text(plan: Plan, payload: str | None) -> str:
    """Return what a group's record keeps of its plan besides its spec, as JSON."""
    kept = {
        "cwd": plan.cwd,
        "path": list(plan.path),
        "output": plan.output,
        "cold": plan.cold,
        "payload": payload and Path(payload).name,
    }
    return json.dumps(kept, indent=2) + "\n"


def _place(identity: GroupIdentity) -> tuple[object, ...]:
    return identity.name, identity.experiment, identity.within, identity.targets


def _read(folder: Path) -> Left | None:
    try:
        data = json.loads((folder / _FILE).read_text())
        identity = GroupIdentity(**{**data["asked"], "targets": tuple(data["asked"]["targets"])})
        return Left(folder, identity, data["noted"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(folder: Path, identity: GroupIdentity, *, noted: bool) -> None:
    file = folder / _FILE
    times = (file.stat().st_atime, file.stat().st_mtime) if file.exists() else None
    partial = folder / f".{_FILE}"
    partial.write_text(json.dumps({"asked": asdict(identity), "noted": noted}))
    if times:
        os.utime(partial, times)
    partial.rename(file)


def _name(target: Target) -> str:
    match target:
        case Script() | Notebook():
            return target.path
        case Command():
            return target.command
        case Function():
            return f"function {target.name}"
        case _:
            return "cell"


def _code(target: Target) -> str:
    if isinstance(target, Cell):
        with suppress(SpecError):
            return without_lead(target.source)
    text = "\0".join(sources([target]).values())
    if isinstance(target, Notebook):
        with suppress(ValueError, KeyError, TypeError):  # its outputs are no code
            return "\0".join(joined(one["source"]) for one in code_cells(text))
    if isinstance(target, Script):
        with suppress(SyntaxError, ValueError):
            return ast.unparse(ast.parse(text))
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]
