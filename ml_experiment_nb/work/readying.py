"""The container of a plan, made ready before its first task: its image built or fetched, and looked into."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.containment import Container
from ml_experiment_nb.datasets import listed
from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images import builds, containers
from ml_experiment_nb.images.containers import Folder, Launch
from ml_experiment_nb.images.engine import Engine, Image, reach
from ml_experiment_nb.images.names import Name, part_of
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.specs import Group
from ml_experiment_nb.targets import Cell, Function, Notebook, Target
from ml_experiment_nb.work import lent, probe
from ml_experiment_nb.work.container import gpus_of, labels_of, listening, sweep

_VERSION: str = sys.modules["ml_experiment_nb"].__version__
_INTERPRETERS = ("python", "python3")
_NO_PROGRAM = (126, 127)  # exit codes of what starts a program that isn't there
_NEEDS: dict[type[Target], tuple[str, ...]] = {
    Cell: ("IPython",),
    Notebook: ("papermill", "nbclient", "ipykernel", "IPython"),
}


@dataclass(frozen=True)
class Ready:
    """A container that tasks can be started in.

    Attributes:
        container: What their slots need to know of it.
        packages: What Python packages its image has.
        python: The version of its interpreter.
        notes: What the runs' records should say.
    """

    container: Container
    packages: tuple[Package, ...]
    python: str
    notes: tuple[str, ...] = ()

    def described(self, taken: Snapshot) -> Snapshot:
        """Return what is recorded of packages and interpreter: the image's, in place of the driver's."""
        system = replace(
            taken.system,
            python=self.python,
            executable=self.container.python,
            environment=self.container.name,
            environment_kind="container",
        )
        return replace(taken, packages=self.packages, system=system)


def readying(plan: Plan) -> Generator[str, None, Ready]:
    """Have the image of a plan that is to run in containers, and yield each line of what is said meanwhile.

    Containers that tasks of drivers that are gone have left on this machine are removed first.

    Raises:
        EngineError: There is no engine, or it can't give what is asked for.
        ImageError: The image can't be had, or a task can't be performed in it.
        SpecError: The image's name is none.
    """
    with reach() as engine:
        if not engine.is_here:
            raise EngineError(
                f"the engine at {engine.address} is on another machine, whose containers don't see this project: "
                "docker_config needs the engine of this machine"
            )
        if Path(plan.cwd) == Path("/") or find_root() == Path("/"):
            raise EngineError("the project is all of /, which a container can't be shown: work in a folder of its own")
        sweep(engine)
        image = yield from _image(engine, plan)
        yield f"looking into {image.name}"
        return _looked_into(engine, plan, image)


def _image(engine: Engine, plan: Plan) -> Generator[str, None, Image]:
    config = plan.spec.docker_config
    assert config is not None
    if config.image is not None:
        Name.read(config.image)
        return engine.find(config.image) or (yield from engine.pulling(config.image))
    root = Path(plan.spec.root_path or plan.cwd)
    dockerfile = root / str(config.dockerfile)
    context = root / config.context if config.context is not None else dockerfile.parent
    made = yield from builds.building(
        engine, context, dockerfile=dockerfile, args=config.args, labels={containers.LABEL: plan.spec.name}
    )
    name = f"ml-experiment/{part_of(plan.spec.name, 'run')}:{made.id.removeprefix('sha256:')[:12]}"
    engine.tag(made.id, name)
    return replace(made, name=name)


def _looked_into(engine: Engine, plan: Plan, image: Image) -> Ready:
    found = _probed(engine, plan, image)
    python = ".".join(map(str, found["python"]))
    _check(found, image, python, plan)
    container = Container(
        image=image.id,
        name=image.name,
        digest=image.digests[0] if image.digests else "",
        engine=engine.address,
        python=found["executable"],
        site=None if found["own"] else found["site"],
        cpus=_cpus(plan),
        gpus=plan.spec.resources_per_worker.gpu,
        folders=tuple(str(file.absolute()) for file in _data(plan)),
    )
    packages = tuple(Package(**one) for one in found["packages"])
    has_none = f"{image.name} has no ml-experiment-nb: that of this environment ({_VERSION}) was lent to it"
    return Ready(container, packages, found["full_python"], () if found["own"] else (has_none,))


def _check(found: Mapping[str, Any], image: Image, python: str, plan: Plan) -> None:
    """Check that an image can perform a plan's tasks; each thing that is wrong is a sentence of its own."""
    here = ".".join(map(str, sys.version_info[:2]))
    install = "`pip install ml-experiment-nb` in the image"
    if "unreached" in found:
        raise EngineError(
            f"the engine's containers don't reach this machine's sockets ({found['unreached']}): "
            "does it run in a virtual machine, as Docker Desktop's?"
        )
    if not found.get("own") and python != here:
        raise ImageError(
            f"image {image.name!r} has Python {python} and no ml-experiment-nb, and what is lent to it is for "
            f"Python {here}: {install}, or take one with Python {here}"
        )
    if found.get("own") and found.get("version", _VERSION) != _VERSION:
        raise ImageError(
            f"image {image.name!r} has ml-experiment-nb {found['version']}, and this is {_VERSION}: build it anew"
        )
    if "error" in found:
        raise ImageError(f"image {image.name!r} can't perform tasks ({found['error']}): {install}")
    if not found["own"] and not found["site"]:
        raise ImageError(f"image {image.name!r} has a Python without site-packages: {install}")
    if found["missing"]:
        what = "a cell" if found["missing"] == ["IPython"] else "a notebook"
        raise ImageError(f"image {image.name!r} has no {', '.join(found['missing'])}, which {what} needs: {install}")
    if any(isinstance(one, Function) for one in plan.targets) and python != here:
        raise ImageError(
            f"image {image.name!r} has Python {python}, and a function travels between equal versions only: this is "
            f"{here}; run its script instead"
        )


def _probed(engine: Engine, plan: Plan, image: Image) -> dict[str, Any]:
    """Run a look at an image in it, as its tasks will be run, and return what was found."""
    wanted = sorted({name for target in plan.targets for name in _NEEDS.get(type(target), ())})
    source = Path(probe.__file__).read_text(encoding="utf-8") + "\nmain(*json.loads(sys.argv[1]))\n"
    with listening() as path:
        given = json.dumps([lent.PLACE, wanted, path])
        launch = Launch(
            image=image.id,
            user=containers.caller(engine),
            folders=(*lent.parts(), Folder.same(os.path.dirname(path), writable=True)),
            gpus=gpus_of(Container("", "", "", "", "", None, gpus=plan.spec.resources_per_worker.gpu), {}),
            cwd="/",
            labels={"ml-experiment.probe": "", **labels_of(path)},
        )
        for name in _INTERPRETERS:
            ended = containers.run(engine, replace(launch, command=(name, "-c", source, given)))
            if ended.code not in _NO_PROGRAM:
                break
        else:
            raise ImageError(f"image {image.name!r} has no Python: what runs in a container is performed by one")
    last = ended.output.strip().rpartition("\n")[2]
    if ended.code or not last.startswith("{"):
        raise ImageError(f"image {image.name!r} can't run Python: {last or f'exit code {ended.code}'}")
    found: dict[str, Any] = json.loads(last)
    return found


def _cpus(plan: Plan) -> float | None:
    """Return the CPUs that a container may use: a slot's share in a group, or what the spec asks for."""
    asked = "resources_per_worker" in plan.spec.model_fields_set
    return plan.spec.resources_per_worker.cpu or None if asked or isinstance(plan.spec, Group) else None


def _data(plan: Plan) -> Iterator[Path]:
    """Yield the files that a spec names as its data: they may lie outside of the project."""
    if plan.spec.data is not None:
        for one in listed(plan.spec.data, Path(plan.spec.root_path or plan.cwd)):
            yield from one.files
