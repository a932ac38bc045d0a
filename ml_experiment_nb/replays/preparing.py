"""What there is before a replay runs: the copy, the environment, the plan, and what is not as it was."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ml_experiment_nb.archive import SPEC
from ml_experiment_nb.capture import Snapshot, snapshot
from ml_experiment_nb.capture.inputs import inputs_of
from ml_experiment_nb.capture.packages import as_requirements
from ml_experiment_nb.comparison.differences import Evidence
from ml_experiment_nb.comparison.evidence import data_of, packages_in
from ml_experiment_nb.datasets import Data
from ml_experiment_nb.errors import CaptureError, ReplayError, SpecError
from ml_experiment_nb.observing import ObservingOptions
from ml_experiment_nb.observing.seeding import HASHES, SEEDS
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.records import Record
from ml_experiment_nb.replays import environments
from ml_experiment_nb.replays.judging import causes_of
from ml_experiment_nb.replays.material import Material, material_of
from ml_experiment_nb.replays.scratch import Recorded, Scratch, import_paths, scratch_of
from ml_experiment_nb.spec_files import parse_mapping
from ml_experiment_nb.specs import DockerConfig, Group, spec_from_mapping
from ml_experiment_nb.targets import Notebook, Script, Target
from ml_experiment_nb.tracking import Store
from ml_experiment_nb.unfinished import PLAN
from ml_experiment_nb.verdicts import Difference, Verdict, could_not_run

Env: TypeAlias = Literal["recorded", "here"]


@dataclass(frozen=True)
class Ready:
    """What is run, and where.

    Attributes:
        plan: What is run.
        scratch: The copy of the project that it is run in.
        material: What is kept of what ran.
        causes: What is not as it was.
        env: The environment, in words.
    """

    plan: Plan
    scratch: Scratch
    material: Material
    causes: tuple[Difference, ...]
    env: str


@dataclass(frozen=True)
class Preparation:
    """What is asked of a replay, as far as it matters before it runs.

    Attributes:
        store: The store.
        original: The run that is done again.
        env: Where.
        image: The image in whose container it runs, in place of an environment.
        timeout: Seconds after which it is stopped, in place of the spec's.
        cold: Whether the recorded environment is made anew.
        keep: Whether the copy is left.
        say: Is told what takes its time.
    """

    store: Store
    original: Record
    env: Env
    image: str | None
    timeout: float | None
    cold: bool
    keep: bool
    say: Callable[[str], None]

    def ready(self, stack: ExitStack) -> Ready | Verdict:
        """Return what is run; where that can't be had, the verdict that says why."""
        scratch: Scratch | None = None
        try:
            text = self.store.text(self.original, SPEC)
            material = material_of(self.original, text, partial(self.store.kept, self.original))
            data = parse_mapping(text or "")
            scratch = stack.enter_context(self._scratch(material.cwd))
            python, env = self._environment(scratch)
            taken = snapshot(scratch.folder, python)
            causes = self._causes(scratch, material, data, taken)
            return Ready(self._plan(scratch, material, data, python), scratch, material, tuple(causes), env)
        except (ReplayError, SpecError, CaptureError) as error:
            told = str(error)
            return could_not_run(scratch.as_recorded(told) if scratch is not None else told)

    def _scratch(self, cwd: Path) -> AbstractContextManager[Scratch]:
        tags, root = self.original.tags, self.store.root
        recorded = Recorded(
            self.original.started + timedelta(seconds=self.original.seconds),
            tags.get("mlflow.source.git.commit"),
            self._diff() if tags.get("mlexp.git.dirty") == "true" else "",
            tags.get("mlflow.source.git.repoURL", ""),
        )
        origin = root if cwd.is_relative_to(root) else cwd
        return scratch_of(origin, recorded, root, keep=self.keep)

    def _diff(self) -> str:
        """Return what was not committed, with the ends of its lines as they were: else it doesn't apply."""
        found = self.store.content(self.original, "record/git.diff")
        return "" if found is None else found.decode(errors="replace")

    def _environment(self, scratch: Scratch) -> tuple[str | None, str]:
        """Return the interpreter, None where it is this one, and the environment in words."""
        if self.image is not None:
            return None, f"the image {self.image}"
        if self.env == "here":
            return None, "this environment"
        requirements = self.store.text(self.original, "record/requirements.txt")
        python = self.original.tags.get("mlexp.system.python")
        if requirements is None or python is None:
            raise ReplayError("its packages are not kept with it: --env here runs it in this environment")
        wanted = environments.wanted_by(requirements, python)
        if not self.cold and environments.is_here(wanted):
            return None, "this environment, which has the recorded packages"
        try:
            made = environments.made(
                wanted, self.store.root, inside=scratch.origin, cold=self.cold, say=self.say
            )  # fmt: skip
        except ReplayError as error:
            raise ReplayError(f"{error}; --env here runs it in this environment, with what differs said") from None
        return str(made), "its recorded environment"

    def _causes(
        self, scratch: Scratch, material: Material, data: Mapping[str, Any], taken: Snapshot
    ) -> list[Difference]:
        """Return what is not as it was."""
        record, store = self.original, self.store
        text = store.text(record, "record/requirements.txt") or ""
        recorded = {**packages_in(text)} if self.image is None else {}  # the image's are known when it has run
        here = packages_in(as_requirements(taken.packages))
        for name in environments.not_installed(text, scratch.origin):
            if recorded.get(name, "").split(" ")[0] == here.get(name, recorded.get(name, "")).split(" ")[0]:
                recorded.pop(name, None), here.pop(name, None)
        digests = _digests(scratch, data, material.cwd, store.root)
        known = {name: digest for name, digest in data_of(store, record).items() if name in digests}
        before = Evidence(record, packages=recorded, data=known)
        now = Evidence(replace(record, tags=taken.system.as_tags()), packages=here if recorded else {}, data=digests)
        written = {str(scratch.moved(path).relative_to(scratch.folder)) for path in material.files
                   if scratch.moved(path).is_relative_to(scratch.folder)}  # fmt: skip
        changed = [name for name in scratch.changed if name not in written]
        notes = (*scratch.notes, *material.notes, *environments.as_today(text, scratch.origin))
        return causes_of(before, now, changed, notes)

    def _plan(self, scratch: Scratch, material: Material, data: Mapping[str, Any], python: str | None) -> Plan:
        """Return what is run: the recorded sources in the copy."""
        cwd = scratch.moved(material.cwd)
        scratch.make(cwd)
        changed_to = scratch.moved(self.original.tags.get("mlexp.cwd") or cwd)  # nothing but folders may be in it
        if changed_to.is_relative_to(scratch.folder):
            scratch.make(changed_to)
        for path, text in material.files.items():
            scratch.write(_placed(path, scratch, cwd), text)
        spec = material.spec
        root = scratch.moved(spec.root_path or material.cwd)
        changes: dict[str, Any] = {"root_path": str(root)}
        changes["run"] = tuple(_moved(one, Path(spec.root_path or material.cwd), scratch, cwd) for one in spec.run)
        if self.timeout is not None:
            changes["timeout"] = self.timeout
        if self.image is not None:
            changes["docker_config"] = DockerConfig(image=self.image)
        if spec.data is not None and os.path.isabs(spec.data.folder):
            changes["data"] = spec.data.model_copy(update={"folder": str(scratch.moved(spec.data.folder))})
        plan = make_plan(
            spec.model_copy(update=changes), cwd=str(cwd), path=self._path(scratch), cold=True
        )  # fmt: skip
        return replace(plan, python=python, env=self._variables(data, python))

    def _path(self, scratch: Scratch) -> tuple[str, ...]:
        """Return the folders of the copy that the run imported from."""
        requirements = self.store.text(self.original, "record/requirements.txt") or ""
        found = list(import_paths(scratch, environments.editable_folders(requirements)))
        with suppress(ValueError, LookupError, TypeError):
            for folder in json.loads(self.store.kept(self.original, PLAN) or "{}").get("path", ()):
                if (moved := scratch.moved(folder)).is_relative_to(scratch.folder):
                    found.append(str(moved))
        return tuple(dict.fromkeys(found))

    def _variables(self, data: Mapping[str, Any], python: str | None) -> dict[str, str]:
        """Return the environment variables of its processes."""
        folder, found = os.path.dirname(python or sys.executable), {}
        if self.image is None and "docker_config" not in data:
            found["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])
        if python is not None:
            found["VIRTUAL_ENV"] = os.path.dirname(folder)
        with suppress(ValueError, AttributeError):
            if type(seed := json.loads(self.original.tags.get(SEEDS, "{}")).get(HASHES)) is int:
                found[HASHES] = str(seed)
        if self.original.kind == "trial" and data.get("kind") == "group":
            with suppress(SpecError):  # less is kept of a trial: so of its replay
                group = spec_from_mapping({key: one for key, one in data.items() if key != "run"} | {"run": ["x.py"]})
                found |= ObservingOptions.of(group).as_env() if isinstance(group, Group) else {}
        return found


def _digests(scratch: Scratch, data: Mapping[str, Any], cwd: Path, project: Path) -> dict[str, str]:
    """Return the digests that a run's files of data have now.

    Raises:
        SpecError: One is not there any more.
    """
    if not data.get("data"):
        return {}
    asked = Data.model_validate(data["data"])
    if not asked.has_files:
        return {}
    root = scratch.moved(data.get("root_path") or cwd)
    files = asked.model_copy(update={"values": ()})
    if os.path.isabs(files.folder):
        files = files.model_copy(update={"folder": str(scratch.moved(files.folder))})
    return {one.name: one.digest for one in inputs_of(files, root, {}, project)}


def _placed(path: Path, scratch: Scratch, cwd: Path) -> Path:
    """Return where a file that is kept stands in the copy; one from outside the project stands in the copy, too."""
    moved = scratch.moved(path)
    return moved if moved.is_relative_to(scratch.folder) else cwd / path.name


def _moved(target: Target, root: Path, scratch: Scratch, cwd: Path) -> Target:
    if isinstance(target, Notebook):
        changes = {"path": str(_placed(root / target.path, scratch, cwd)), "stdout_file": None, "stderr_file": None}
        return target.model_copy(update=changes)
    if isinstance(target, Script):
        return target.model_copy(update={"path": str(_placed(root / target.path, scratch, cwd))})
    return target
