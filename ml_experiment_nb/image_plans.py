"""What an image of a notebook, a script, a spec or a run would have: planned; nothing is fetched, built or written."""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import nbformat

from ml_experiment_nb.capture.git import git_state
from ml_experiment_nb.capture.notebook import this_notebook
from ml_experiment_nb.capture.packages import OWN, Package, from_requirements
from ml_experiment_nb.errors import ImageError, SpecError
from ml_experiment_nb.images import context
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.dockerfile import Image, default_base, dockerfile
from ml_experiment_nb.images.freeze import Frozen, facts, freeze
from ml_experiment_nb.images.names import Name, part_of
from ml_experiment_nb.images.pip import Index
from ml_experiment_nb.images.program import Program, of_notebook, of_spec, read_program
from ml_experiment_nb.paths import is_spec
from ml_experiment_nb.plans import Spec
from ml_experiment_nb.readings import id_of
from ml_experiment_nb.records import Record
from ml_experiment_nb.spec_files import spec_text
from ml_experiment_nb.specs import Experiment, Group, spec_from_mapping
from ml_experiment_nb.targets import Cell, Notebook

if TYPE_CHECKING:
    from ml_experiment_nb import programs

VERDICT: Final = "mlexp.image.verdict"
"""The label of an image, and the tag of its run, that say what came of it when the run was repeated in it."""

NOT_VERIFIED: Final = "not verified"

_PYTHON_TAG = "mlexp.system.python"
_AS_IT_WAS: Final = ("seed", "deterministic", "autolog", "memory", "timeout", "system_metrics")
"""What a run's code doesn't say of how it was done, and a spec does."""


@dataclass(frozen=True)
class ImagePlan:
    """An image that is to be made; printed, it says what goes into it.

    Attributes:
        name: The image's name.
        frozen: What is run, and what it needs.
        image: What its Dockerfile says.
        index: Where its packages come from.
    """

    name: str
    frozen: Frozen
    image: Image
    index: Index = field(default_factory=Index)

    @property
    def dockerfile(self) -> str:
        """The Dockerfile."""
        return dockerfile(self.image)

    def __str__(self) -> str:
        rows = [
            ("image", self.name),
            ("runs", f"ml-experiment run {self.image.file}"),
            ("base", self.image.base),
            *facts(self.frozen),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {text}" for name, text in rows]
        lines += [f"note: {note}" for note in self.frozen.notes]
        return "\n".join([*lines, "", self.dockerfile]).rstrip("\n")


def plan_image(
    target: str | Path | None = None, name: str | None = None, *, base: str | None = None,
    choices: Choices | None = None, index: Index | None = None, cwd: str | Path | None = None,
    kernel: str | None = None,
) -> ImagePlan:  # fmt: skip
    """Return what an image of a program would have; nothing is fetched, built or written.

    Args:
        target: A notebook, a script, a spec's file, or a run's id; by default the notebook that this is run in.
        name: The image's name; by default the program's own.
        base: The image that it begins with, in place of the slim one of the kernel's Python.
        choices: What goes in.
        index: Where packages come from.
        cwd: The folder that the code runs in, in place of the notebook's own.
        kernel: The kernel's name, in place of the notebook's.

    Raises:
        SpecError: The program can't be read, or a name is none.
        ImageError: What it needs can't be told, or this machine isn't Linux.
        RunNotFoundError: No run has such an id.
    """
    if name is not None:
        Name.read(name)
    if base is not None:
        Name.read(base)
    if sys.platform != "linux":
        raise ImageError(f"an image has the kernel's own packages, which are for {sys.platform} here: make it on Linux")
    program, recorded, python = _program(target, cwd, kernel)
    name = name or _name_of(program)
    frozen = freeze(program, choices or Choices(), caller=sys.executable, recorded=recorded)
    version = frozen.kernel.interpreter.version
    if python and python != version:
        note = f"the run had Python {python}, and its kernel has {version} now, as the image has"
        frozen = replace(frozen, notes=(*frozen.notes, note))
    base = base or default_base(version, _release())
    image = context.image_of(frozen, None, base=base, version=_version(), labels=_labels(frozen, base))
    return ImagePlan(name, frozen, image, index or Index())


def _program(
    target: str | Path | None, cwd: str | Path | None, kernel: str | None
) -> tuple[Program, Sequence[Package], str]:
    """Return what is to run, and of a run the packages and the Python that it had."""
    if target is None:
        found = this_notebook()
        if found is None:
            raise SpecError("which notebook is to be an image can't be told here: name its file")
        return read_program(found, cwd=cwd, kernel=kernel), (), ""
    if not isinstance(target, str | Path):
        return _of_run(id_of(target), cwd, kernel)
    if is_spec(target) or Path(target).suffix.lower() in (".ipynb", ".py") or Path(target).exists():
        return read_program(target, cwd=cwd, kernel=kernel), (), ""
    return _of_run(str(target), cwd, kernel)


def _of_run(run_id: str, cwd: str | Path | None, kernel: str | None) -> tuple[Program, Sequence[Package], str]:
    """Return a run's code with its parameters written in it, its packages and its Python."""
    from ml_experiment_nb.archive import SPEC
    from ml_experiment_nb.looking import opened_archive

    store = opened_archive()
    record = store.record(run_id)
    text, kept = store.text(record, SPEC), partial(store.kept, record)
    folder = Path(cwd or record.tags.get("mlexp.cwd") or Path.cwd())
    if not folder.is_dir():
        raise ImageError(f"the run {record.name} ran in {folder}, which isn't there any more: name a folder by --cwd")
    program, losses = _as_recorded(record, text, kept, folder, kernel)
    notes = (*program.notes, *losses, "modules and data are taken as they are now, not as the run found them")
    recorded = from_requirements(kept("requirements.txt") or "")
    program = replace(program, name=record.name, run_id=str(record.run_id), notes=notes)
    return program, recorded, record.tags.get(_PYTHON_TAG, "")


def _as_recorded(
    record: Record, text: str | None, kept: programs.Kept, folder: Path, kernel: str | None
) -> tuple[Program, tuple[str, ...]]:
    """Return what a run ran with its code as it kept it, and what that lacks of what was asked.

    A notebook and a cell are a notebook that has its parameters. Scripts, commands and several files are run by a spec
    that has them, which a container may be given others of.
    """
    from ml_experiment_nb import calls, forms, programs  # they bring MLflow, which takes seconds: only runs need it

    place = folder / part_of(record.name, "notebook")
    if (called := calls.in_script(record, text, kept)) is not None:
        keys = {"name": record.name, "run": called.path, "params": called.params, "root_path": str(folder)}
        spec = spec_from_mapping(keys)
        return of_spec(spec, place.with_suffix(".yaml"), kept=lambda name: called.source), ()
    if (own := calls.in_notebook(record, text, kept)) is not None:
        program = of_notebook(nbformat.reads(own.text, as_version=4), place.with_suffix(".ipynb"), kernel=kernel)
        return _as_it_was(program, own.spec, (), record.name)
    asked = forms.asked_by(record, text)
    if isinstance(asked.spec, Group):
        raise SpecError(f"{record.name} is a group: make an image of its spec's file, or of one of its trials")
    if len(asked.spec.run) > 1 or not isinstance(asked.spec.run[0], Notebook | Cell):
        spec = asked.spec.model_copy(update={"notify": None, "root_path": str(folder)})
        program = of_spec(spec, place.with_suffix(".yaml"), kernel=kernel, kept=lambda name: kept(f"source/{name}"))
        return program, asked.losses
    form = programs.as_headless(asked, kept)
    program = of_notebook(nbformat.reads(form.text, as_version=4), place.with_suffix(".ipynb"), kernel=kernel)
    return _as_it_was(program, asked.spec, form.losses, record.name)


def _as_it_was(program: Program, spec: Spec, losses: Sequence[str], name: str) -> tuple[Program, tuple[str, ...]]:
    """Return a run's code, begun by a spec where the run had a seed, limits or the like; and what is lost even so."""
    fields = type(spec).model_fields
    kept = {
        key: value
        for key in _AS_IT_WAS
        if (value := getattr(spec, key)) != fields[key].get_default(call_default_factory=True)
    }
    if not kept:
        return program, tuple(losses)
    file = Path(program.file).with_suffix(".yaml").name
    text = spec_text(Experiment.model_validate({"name": name, "run": [program.file], **kept}))
    place = PurePosixPath((program.folder / file).relative_to(program.root))
    left = tuple(one for one in losses if one.partition(":")[0] not in kept)
    return replace(program, file=file, contents={**program.contents, place: text.encode()}), left


def _labels(frozen: Frozen, base: str) -> dict[str, str]:
    program = frozen.program
    git = git_state(program.folder)
    found = {
        "mlexp.cuda": frozen.cuda,
        VERDICT: NOT_VERIFIED,
        "mlexp.program": program.file,
        "mlexp.python": frozen.kernel.interpreter.version,
        "mlexp.run": program.run_id,
        "mlexp.version": _version(),
        "org.opencontainers.image.base.name": base,
        "org.opencontainers.image.revision": (git.commit or "") if git else "",
        "org.opencontainers.image.source": (git.remote or "") if git else "",
        "org.opencontainers.image.title": program.name,
    }
    if git is not None and git.dirty:
        found["mlexp.dirty"] = "true"
    return {name: value for name, value in found.items() if value}


def _name_of(program: Program) -> str:
    return f"{part_of(program.name, 'notebook')}:latest"


def _version() -> str:
    return importlib.metadata.version(OWN)


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
