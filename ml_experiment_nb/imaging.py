"""A notebook, a script, a spec or a run made a Docker image: planned, written as a build context, built and pushed."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ml_experiment_nb import quantities
from ml_experiment_nb.errors import EngineError, ImageError, SpecError
from ml_experiment_nb.image_plans import VERDICT, ImagePlan, plan_image
from ml_experiment_nb.images import context, wheels
from ml_experiment_nb.images.caches import working
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.pip import Index
from ml_experiment_nb.tracebacks import shortened
from ml_experiment_nb.verdicts import Tolerance, Verdict, read_tolerances

Tell = Callable[[str], None]

_STEP = 90  # characters of a step that are shown
_LOOK = 10.0  # seconds that an engine may take to answer who only looks at a plan
_NO_BUILDKIT = "the image can't be built: it needs `docker buildx`, which isn't here"
_PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}  # the names that engines give them, by those of Linux


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
        lines = [f"{quantities.size(size):>9}  {quantities.line_of(step, _STEP)}" for size, step in self.layers]
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


def write_context(plan: ImagePlan, folder: str | Path, *, tell: Tell = lambda text: None) -> tuple[str, ...]:
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


@shortened
def export_image(
    target: str | Path | None = None, name: str | None = None, *, base: str | None = None, push: bool = False,
    verify: bool = True, only_imports: bool = False, lab: bool | None = None, data: bool = True,
    include: Sequence[str] = (), exclude: Sequence[str] = (), without: Sequence[str] = (), whole: bool = False,
    index_url: str | None = None, extra_index_urls: Sequence[str] = (), cwd: str | Path | None = None,
    kernel: str | None = None, network: str | None = None, tell: Tell = lambda text: None,
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
        whole: Take packages whole: with their tests, and whatever else nothing reads when code runs.
        index_url: The package index, in place of the one of pip's and uv's settings.
        extra_index_urls: Further indexes.
        cwd: The folder that the code runs in, in place of the notebook's own.
        kernel: The kernel's name, in place of the notebook's.
        network: The network of what the build runs: ``host``, in place of the engine's own.
        tell: Is told what is being done, line by line.

    Raises:
        SpecError: The program can't be read, or the name is none.
        EngineError: No engine can be reached, or it is too old.
        ImageError: A package isn't to be had, or the image can't be built or pushed. No half of it is left.
    """
    choices = Choices(only_imports, lab, data, tuple(without), tuple(exclude), tuple(include), whole)
    index = Index(index_url, tuple(extra_index_urls))
    plan = plan_image(target, name, base=base, choices=choices, index=index, cwd=cwd, kernel=kernel)
    return build(plan, push=push, verify=verify, network=network, tell=tell)


def build(
    plan: ImagePlan, *, push: bool = False, verify: bool = True, tolerances: Sequence[str] = (),
    network: str | None = None, tell: Tell = lambda text: None,
) -> Exported:  # fmt: skip
    """Make an image that was planned; see `export_image`.

    Args:
        plan: The image.
        push: Push it.
        verify: Of a recorded run: repeat it in the image, and compare its metrics.
        tolerances: How far these may be from what they were: ``loss=1%``.
        network: The network of what the build runs, Debian's packages and ``postBuild``; nothing else has any.
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
        _sweep(engine)
        base = _base(engine, plan.image.base, tell)
        with working() as place:
            try:
                notes = _write(plan, place, tell)
            except OSError as error:
                why = f"{error.strerror or error}; TMPDIR names another folder for it"
                raise ImageError(f"what the image is built from can't be written to {place}: {why}") from None
            labels = {"org.opencontainers.image.base.digest": base.digests[0].partition("@")[2]} if base.digests else {}
            used = network if plan.image.uses_network else "none"
            make = partial(builds.build, engine, place, tags=[plan.name], network=used, progress=tell)
            made = make(labels=labels)
            verdict = None
            if plan.frozen.program.run_id and verify:
                made, verdict = _proven(engine, made, plan, allowed, lambda said: make(labels={**labels, **said}), tell)
        layers = tuple((one.size, one.made_by) for one in engine.layers(plan.name))
        is_same = verdict is None or verdict.answer.is_same
        digest = engine.push(plan.name, tell) if push and is_same else ""
    if push and not is_same:
        notes = (*notes, "it was not pushed, for the run is not the same in it")
    return Exported(plan.name, made.id, made.size, layers, notes, plan.frozen.program.secrets, digest, verdict)


def _allowed(plan: ImagePlan, tolerances: Sequence[str]) -> dict[str, Tolerance]:
    """Return how far the metrics of a run may be, read before anything is built."""
    if not tolerances:
        return {}
    from ml_experiment_nb.sweeps import opened_store

    run_id = plan.frozen.program.run_id
    if not run_id:
        raise SpecError("--tolerance is for an image of a run, whose metrics are compared: name it by its id")
    return read_tolerances(tolerances, opened_store().record(run_id).metrics)


def _sweep(engine: Any) -> None:
    """Remove the containers that an image's proof has left whose process was killed."""
    from ml_experiment_nb.work.container import sweep

    sweep(engine)


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


def _proven(
    engine: Any, image: Any, plan: ImagePlan, allowed: Mapping[str, Tolerance],
    labelled: Callable[[Mapping[str, str]], Any], tell: Tell,
) -> tuple[Any, Verdict]:  # fmt: skip
    """Repeat the run that an image is of in it; return the image with the verdict among its labels, and the verdict.

    The run's record gets to know.
    """
    from ml_experiment_nb import verifying
    from ml_experiment_nb.sweeps import opened_store

    store, program = opened_store(), plan.frozen.program
    record = store.record(program.run_id)
    limits = verifying.limits_of(store, record, is_for_gpus=bool(plan.frozen.cuda))
    verdict = verifying.verify(engine, image, record, program.secrets, allowed, tell, limits=limits)
    final = labelled({VERDICT: str(verdict.answer)})
    engine.drop(image.id)  # all of its layers are in the other one
    verifying.note(store, record, final, plan.name, verdict)
    return final, verdict


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


def _write(plan: ImagePlan, folder: Path, tell: Tell) -> tuple[str, ...]:
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
    uv = wheels.uv_wheel(frozen.kernel.interpreter, version, index=index)
    tell("writing the build context")
    return context.write_context(folder, frozen, gathered, plan.image, uv)
