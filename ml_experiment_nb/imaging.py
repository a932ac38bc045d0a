"""A notebook, a script, a spec or a run made a Docker image: planned, written as a build context, built and pushed."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat

from ml_experiment_nb import forms, programs, quantities
from ml_experiment_nb.capture.git import git_state
from ml_experiment_nb.capture.notebook import this_notebook
from ml_experiment_nb.capture.packages import Package, from_requirements
from ml_experiment_nb.errors import EngineError, ImageError, SpecError
from ml_experiment_nb.images import context, wheels
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.dockerfile import Image, default_base, dockerfile
from ml_experiment_nb.images.environments import OURS
from ml_experiment_nb.images.freeze import Frozen, facts, freeze
from ml_experiment_nb.images.interpreter import interpreter
from ml_experiment_nb.images.names import Name
from ml_experiment_nb.images.program import Program, of_notebook, of_script, read_program
from ml_experiment_nb.images.wheels import Index
from ml_experiment_nb.specs import Group
from ml_experiment_nb.targets import Script
from ml_experiment_nb.verdicts import Tolerance, Verdict, read_tolerances

Tell = Callable[[str], None]

_LOOK = 10.0  # seconds that an engine may take to answer who only looks at a plan
_NO_BUILDKIT = "the image can't be built: it needs `docker buildx`, which isn't here"
_PYTHON_TAG = "mlexp.system.python"
_PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}  # the names that engines give them, by those of Linux
_SUFFIXES = (".ipynb", ".py", ".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Plan:
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


@dataclass(frozen=True)
class Exported:
    """An image that was made.

    Attributes:
        name: Its name.
        id: Its id: the digest of its configuration.
        size: Its bytes.
        layers: Its layers' bytes and the instructions that made them, from the base up.
        notes: What could not be frozen, and what else is to be known.
        secrets: The names of the environment variables that a container is to be given.
        digest: Its digest in the registry, if it was pushed.
        verdict: Of an image of a run: whether that was the same in it; None where it was not tried.
    """

    name: str
    id: str
    size: int
    layers: tuple[tuple[int, str], ...]
    notes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    digest: str = ""
    verdict: Verdict | None = None

    def __str__(self) -> str:
        lines = [f"{quantities.size(size):>9}  {_short(step)}" for size, step in self.layers]
        lines += [f"{quantities.size(self.size):>9}  {self.name} ({self.id.removeprefix('sha256:')[:12]})"]
        proof = f"the run repeated in it: {self.verdict}" if self.verdict else "not verified: no run was repeated in it"
        lines += [f"  proof    {proof}"]
        lines += [f"  run it   {self.command} -p NAME VALUE"]
        return "\n".join(lines)

    @property
    def command(self) -> str:
        """What runs it."""
        given = "".join(f" -e {name}" for name in self.secrets)
        return f"docker run --rm{given} {self.name}"


def plan_image(
    target: str | Path | None = None, name: str | None = None, *, base: str | None = None,
    choices: Choices | None = None, index: Index | None = None, cwd: str | Path | None = None,
    kernel: str | None = None,
) -> Plan:  # fmt: skip
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
    return Plan(name, frozen, image, index or Index())


def write_context(plan: Plan, folder: str | Path, *, tell: Tell = lambda text: None) -> tuple[str, ...]:
    """Write all that an image is built from to a new folder, for ``docker build`` on any machine.

    Args:
        plan: The image.
        folder: The folder, which isn't there yet, or is empty.
        tell: Is told what is being done.

    Returns:
        What could not be frozen, and what else is to be known.

    Raises:
        ImageError: A package isn't to be had, a secret would be in it, or it can't be written. Nothing is left.
    """
    with context.new_folder(Path(folder)) as place:
        return _write(plan, place, tell)


def export_image(
    target: str | Path | None = None, name: str | None = None, *, base: str | None = None, push: bool = False,
    verify: bool = True, only_imports: bool = False, lab: bool | None = None, data: bool = True,
    include: Sequence[str] = (), exclude: Sequence[str] = (), without: Sequence[str] = (), index_url: str | None = None,
    extra_index_urls: Sequence[str] = (), cwd: str | Path | None = None, kernel: str | None = None,
    tell: Tell = lambda text: None,
) -> Exported:  # fmt: skip
    """Make a Docker image of a notebook, a script, a spec or a run, with the environment of its kernel.

    ``docker run IMAGE -p C 0.5`` is a headless run of it then, and ``docker run IMAGE lab`` opens JupyterLab.

    Args:
        target: A notebook, a script, a spec's file, or a run's id; by default the notebook that this is run in.
        name: The image's name, ``team/svm:1``; by default the program's own.
        base: The image that it begins with, in place of the slim one of the kernel's Python.
        push: Push it to its registry, with the user's own Docker credentials; not where it was verified and differs.
        verify: Of a recorded run: repeat it in the image, and compare its metrics.
        only_imports: Leave out the packages that neither the code nor what runs it imports.
        lab: Whether JupyterLab goes in; by default where it is installed, and `only_imports` isn't asked.
        data: Whether the files that the code names go in.
        include: Files and folders that go in besides.
        exclude: Patterns of files that stay out.
        without: Packages that stay out.
        index_url: The package index, in place of the one of pip's and uv's settings.
        extra_index_urls: Further indexes.
        cwd: The folder that the code runs in, in place of the notebook's own.
        kernel: The kernel's name, in place of the notebook's.
        tell: Is told what is being done, line by line.

    Raises:
        SpecError: The program can't be read, or the name is none.
        EngineError: No engine can be reached, or it is too old.
        ImageError: A package isn't to be had, or the image can't be built or pushed. No half of it is left.
    """
    choices = Choices(only_imports, lab, data, tuple(without), tuple(exclude), tuple(include))
    index = Index(index_url, tuple(extra_index_urls))
    plan = plan_image(target, name, base=base, choices=choices, index=index, cwd=cwd, kernel=kernel)
    return build(plan, push=push, verify=verify, tell=tell)


def build(
    plan: Plan, *, push: bool = False, verify: bool = True, tolerances: Sequence[str] = (),
    tell: Tell = lambda text: None,
) -> Exported:  # fmt: skip
    """Make an image that was planned; see `export_image`.

    Args:
        plan: The image.
        push: Push it.
        verify: Of a recorded run: repeat it in the image, and compare its metrics.
        tolerances: How far these may be from what they were: ``loss=1%``.
        tell: Is told what is being done.

    Raises:
        SpecError: A tolerance can't be read, or there is nothing that it is for.
        EngineError: No engine can be reached, or it is too old.
        ImageError: A package isn't to be had, or the image can't be built or pushed. No half of it is left.
    """
    allowed = _allowed(plan, tolerances)
    engine, builds = _engine()
    with engine:
        _check_processor(engine.info.get("Architecture", ""))
        if not builds.has_buildkit(engine):
            raise ImageError(f"{_NO_BUILDKIT}{_OTHERWISE}")
        base = _base(engine, plan.image.base, tell)
        with tempfile.TemporaryDirectory(prefix="mlexp-image-") as folder:
            place = Path(folder, "context")
            place.mkdir()
            try:
                notes = _write(plan, place, tell)
            except OSError as error:
                raise ImageError(f"{place} can't be written: {error.strerror or error}") from None
            labels = {"org.opencontainers.image.base.digest": base.digests[0].partition("@")[2]} if base.digests else {}
            is_offline = not plan.image.debian and not plan.image.post_build
            made = builds.build(
                engine, place, tags=[plan.name], labels=labels, network="none" if is_offline else None, progress=tell
            )
        layers = tuple((one.size, one.made_by) for one in engine.layers(plan.name))
        verdict = _verified(engine, made, plan, allowed, tell) if plan.frozen.program.run_id and verify else None
        is_same = verdict is None or verdict.answer.is_same
        digest = engine.push(plan.name, tell) if push and is_same else ""
    if push and not is_same:
        notes = (*notes, "it was not pushed, for the run is not the same in it")
    return Exported(plan.name, made.id, made.size, layers, notes, plan.frozen.program.secrets, digest, verdict)


def _allowed(plan: Plan, tolerances: Sequence[str]) -> dict[str, Tolerance]:
    """Return how far the metrics of a run may be, read before anything is built."""
    if not tolerances:
        return {}
    from ml_experiment_nb.sweeps import opened_store

    run_id = plan.frozen.program.run_id
    if not run_id:
        raise SpecError("--tolerance is for an image of a run, whose metrics are compared: name it by its id")
    return read_tolerances(tolerances, opened_store().record(run_id).metrics)


def _check_processor(engine: str) -> None:
    here = platform.machine()
    if engine and _PROCESSORS.get(engine, engine) != _PROCESSORS.get(here, here):
        raise ImageError(
            f"the engine builds for {engine}, and the wheels are those of this machine, which is {here}: "
            f"use an engine of its own kind{_OTHERWISE}"
        )


def _base(engine: Any, name: str, tell: Tell) -> Any:
    try:
        return engine.have(name, tell)
    except EngineError as error:
        raise type(error)(
            f"{error}; --base names another image to begin with, which needs the kernel's Python"
        ) from None


def _verified(engine: Any, image: Any, plan: Plan, allowed: Mapping[str, Tolerance], tell: Tell) -> Verdict:
    """Return whether the run that an image is of is the same in it; its record gets to know."""
    from ml_experiment_nb import verifying
    from ml_experiment_nb.sweeps import opened_store

    store, program = opened_store(), plan.frozen.program
    record = store.record(program.run_id)
    verdict = verifying.verify(engine, image, record, program.secrets, allowed, tell)
    verifying.note(store, record, image, plan.name, verdict)
    return verdict


_OTHERWISE = "; `ml-experiment image … --context-only DIR` writes what it is built from, for `docker build` elsewhere"


def build_command(name: str, folder: str | Path) -> str:
    """Return what builds an image of a context that was written."""
    return shlex.join(["docker", "build", "-t", name, str(folder)])


def look_at_engine(base: str) -> dict[str, Any]:
    """Return whether an image can be built: the engine's address, whether it has the base, and what is in the way."""
    found: dict[str, Any] = {"address": None, "has_base": None, "problem": None}
    try:
        from ml_experiment_nb.images import builds, engine

        with engine.reach(timeout=_LOOK) as reached:
            found |= {"address": reached.address, "has_base": reached.find(base) is not None}
            _check_processor(reached.info.get("Architecture", ""))
            if not builds.has_buildkit(reached):
                raise ImageError(_NO_BUILDKIT)
    except EngineError as error:
        found["problem"] = str(error).removesuffix(_OTHERWISE)
    return found


def _engine() -> tuple[Any, Any]:
    """Return the engine, reached, and the module of its builds; Docker's client is loaded for it."""
    try:
        from ml_experiment_nb.images import builds, engine

        return engine.reach(), builds
    except ImageError:
        raise
    except EngineError as error:
        raise EngineError(f"{error}{_OTHERWISE}") from None


def _write(plan: Plan, folder: Path, tell: Tell) -> tuple[str, ...]:
    frozen, index = plan.frozen, plan.index
    asked = frozen.declared.requirements
    gathered = [
        wheels.gather(one, asked if one is frozen.kernel else (), index=index, tell=tell) for one in frozen.environments
    ]
    try:
        version = importlib.metadata.version("uv")
    except importlib.metadata.PackageNotFoundError:
        raise ImageError(
            "uv isn't installed here, which an image needs: pip install 'ml-experiment-nb[docker]'"
        ) from None
    uv = wheels.uv_wheel(interpreter(sys.executable, frozen.program.folder), version, index=index)
    tell("writing the build context")
    return context.write_context(folder, frozen, gathered, plan.image, uv)


def _program(
    target: str | Path | None, cwd: str | Path | None, kernel: str | None
) -> tuple[Program, Sequence[Package], str]:
    """Return what is to run, and of a run the packages and the Python that it had."""
    if target is None:
        found = this_notebook()
        if found is None:
            raise SpecError("which notebook is to be an image can't be told here: name its file")
        return read_program(found, cwd=cwd, kernel=kernel), (), ""
    if Path(target).suffix.lower() in _SUFFIXES or Path(target).exists():
        return read_program(target, cwd=cwd, kernel=kernel), (), ""
    return _of_run(str(target), cwd, kernel)


def _of_run(run_id: str, cwd: str | Path | None, kernel: str | None) -> tuple[Program, Sequence[Package], str]:
    """Return a run's code with its parameters written in it, its packages and its Python."""
    from ml_experiment_nb.sweeps import opened_store
    from ml_experiment_nb.tracking import SPEC

    store = opened_store()
    record = store.record(run_id)
    asked = forms.asked_by(record, store.text(record, SPEC))

    def kept(name: str) -> str | None:
        return store.text(record, f"record/{name}")

    folder = Path(cwd or record.tags.get("mlexp.cwd") or Path.cwd())
    if not folder.is_dir():
        raise ImageError(f"the run {record.name} ran in {folder}, which isn't there any more: name a folder by --cwd")
    if isinstance(asked.spec, Group):
        raise SpecError(f"{record.name} is a group: make an image of its spec's file, or of one of its trials")
    is_script = isinstance(asked.spec.run[0], Script)
    form = programs.as_script(asked, kept) if is_script else programs.as_notebook(asked, kept)
    name = _slug(record.name)
    if is_script:
        program = of_script(form.text, folder / f"{name}.py")
    else:
        nb = nbformat.reads(form.text, as_version=4)
        program = of_notebook(nb, folder / f"{name}.ipynb", kernel=kernel)
    notes = (*form.losses, "modules and data are taken as they are now, not as the run found them")
    recorded = from_requirements(kept("requirements.txt") or "")
    return (
        replace(program, run_id=str(record.run_id), notes=(*program.notes, *notes)),
        recorded,
        record.tags.get(_PYTHON_TAG, ""),
    )


def _labels(frozen: Frozen, base: str) -> dict[str, str]:
    program = frozen.program
    git = git_state(program.folder)
    found = {
        "mlexp.cuda": frozen.cuda,
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
    return f"{_slug(program.name)}:latest"


def _slug(text: str) -> str:
    """Return a text as part of an image's name."""
    words = "".join(one if one.isascii() and one.isalnum() else " " for one in text.lower()).split()
    return "-".join(words)[:100] or "notebook"


def _version() -> str:
    return importlib.metadata.version(OURS)


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _short(step: str) -> str:
    text = " ".join(step.split())
    return text if len(text) <= 90 else f"{text[:89]}…"
