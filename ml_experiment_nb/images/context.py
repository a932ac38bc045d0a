"""The folder that an image is built from, written so that ``docker build`` anywhere makes the same of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb import secrecy
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.caches import cache
from ml_experiment_nb.images.dockerfile import Image, Installed, dockerfile
from ml_experiment_nb.images.files import File, file_of
from ml_experiment_nb.images.freeze import Frozen, kernel_env
from ml_experiment_nb.images.wheels import Gathered, Wheel, requirements_of
from ml_experiment_nb.masking import Veil

DOCKERFILE: Final = "Dockerfile"
_PLAIN: Final = 0o666  # whichever user a container has may write the project's files
_FOLDER: Final = 0o777
_TOLD: Final = ("place", "size", "why_out")  # of a file, in the image: nothing of this machine


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Give a folder to write a context to, which has its name only when all of it is there.

    Raises:
        ImageError: There is something already.
    """
    check_new(place)
    partial = place.absolute().with_name(f".{place.name}.{os.getpid()}")
    try:
        partial.mkdir()
        yield partial
        if place.is_dir():
            place.rmdir()
        partial.rename(place)
    except OSError as error:
        raise ImageError(f"{place} can't be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_new(place: Path) -> None:
    """Check that a context can be written there.

    Raises:
        ImageError: There is something already, or no folder that it could be in.
    """
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ImageError(f"{place} is there already: name a folder that isn't, or an empty one")
    if not place.absolute().parent.is_dir():
        raise ImageError(f"there is no folder {place.absolute().parent}")


def write_context(
    folder: Path, frozen: Frozen, gathered: Sequence[Gathered], image: Image, uv: Path, secrets: Iterable[str] = ()
) -> tuple[str, ...]:
    """Write all that an image is built from to an empty folder, and return what is to be known of it.

    Args:
        folder: The folder.
        frozen: What the program needs.
        gathered: The wheels of each of its environments.
        image: What the Dockerfile says.
        uv: The wheel of uv.
        secrets: The names of secrets that may not be in it.

    Raises:
        ImageError: A file that is to go in holds a secret, or can't be read.
        OSError: It can't be written.
    """
    _write_tools(folder / "tools", uv)
    (folder / "wheels").mkdir()
    for number, one in enumerate(gathered):
        _write_environment(folder, one)
        spare = [part.place for part in frozen.spare[number]] if frozen.spare else []
        _write_lines(folder / one.environment.name / "spare.txt", spare)
        _write_lines(folder / one.environment.name / "bytecode.txt", frozen.bytecode[number] if frozen.bytecode else [])
    _write_work(folder / "work", frozen)
    for file in frozen.outside:
        _copy(file, folder / "modules" / file.place)
    if image.has_kernels:
        _write_kernel(folder / "kernels", frozen)
    unseen = _check_secrets(folder, frozen, secrets)
    notes = tuple(dict.fromkeys([*frozen.notes, *(note for one in gathered for note in one.notes), *unseen]))
    (folder / "frozen.json").write_text(manifest(frozen, gathered, notes), encoding="utf-8")
    (folder / DOCKERFILE).write_text(dockerfile(image), encoding="utf-8")
    return notes


def image_of(
    frozen: Frozen, gathered: Sequence[Gathered] | None, *, base: str, version: str, labels: dict[str, str]
) -> Image:
    """Return what the Dockerfile of a frozen program says.

    Args:
        frozen: The program and what it needs.
        gathered: Its wheels; None before they are had.
        base: The image that it begins with.
        version: This package's version.
        labels: The image's labels.
    """
    program = frozen.program
    packages = [one.packages for one in frozen.environments]
    local = [any(package.source.startswith("file:") for package in of_one) for of_one in packages]
    if gathered is not None:
        local = [any(wheel.is_local for wheel in one.wheels) for one in gathered]
    post_build = frozen.declared.post_build
    return Image(
        source=program.file,
        version=version,
        base=base,
        python=frozen.kernel.interpreter.minor,
        environments=tuple(
            Installed(one.name, is_local) for one, is_local in zip(frozen.environments, local, strict=True)
        ),
        folder=program.folder.relative_to(program.root).as_posix(),
        file=program.file,
        debian=tuple(name for name, _ in frozen.debian),
        post_build=_inside(frozen, post_build) if post_build is not None else "",
        has_kernels=_needs_kernel(frozen),
        has_modules=bool(frozen.outside),
        labels=labels,
    )


def manifest(frozen: Frozen, gathered: Sequence[Gathered], notes: Sequence[str]) -> str:
    """Return all that is frozen as JSON, with notes of what isn't; it is in the image as ``/opt/frozen.json``."""
    program = frozen.program
    data: dict[str, Any] = {
        "program": program.file,
        "folder": program.folder.relative_to(program.root).as_posix(),
        "run": program.run_id,
        "python": frozen.kernel.interpreter.version,
        "platform": frozen.kernel.interpreter.platform,
        "cuda": frozen.cuda,
        "environments": {one.environment.name: [_package(wheel) for wheel in one.wheels] for one in gathered},
        "dropped": list(frozen.dropped),
        "left_out_of_packages": [
            {"package": one.package, "place": one.place, "why": one.why, "size": one.size}
            for one in dict.fromkeys(one for of_one in frozen.spare for one in of_one)
        ],
        "debian": dict(frozen.debian),
        "modules": [one.place for one in (*frozen.modules, *frozen.outside)],
        "data": [{name: getattr(one, name) for name in _TOLD} for one in frozen.data],
        "secrets": list(program.secrets),
        "not_frozen": list(notes),
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _package(wheel: Wheel) -> dict[str, str]:
    one = {"name": wheel.package.name, "version": wheel.package.version, "wheel": wheel.path.name}
    source = "local" if wheel.is_local else wheel.package.source
    known = {"sha256": wheel.sha256, "index": wheel.index, "source": source}
    return {**one, **{name: value for name, value in known.items() if value}}


def _needs_kernel(frozen: Frozen) -> bool:
    """Return whether the notebook's kernelspec has to be written, as the environment's own isn't the same."""
    kernel = frozen.program.kernel
    if not kernel.name:
        return False
    return kernel.name != "python3" or len(frozen.environments) > 1 or bool(kernel_env(kernel)[0])


def _inside(frozen: Frozen, path: Path) -> str:
    return path.relative_to(frozen.program.root).as_posix()


# --- what is written ---


def _write_tools(folder: Path, uv: Path) -> None:
    """Write uv's program, and what is done with packages that it has installed: a base image need have only Python."""
    folder.mkdir()
    _link(_program_of(uv), folder / "uv")
    settle = files("ml_experiment_nb.images") / "settle.py"
    (folder / "settle.py").write_bytes(settle.read_bytes())


def _program_of(uv: Path) -> Path:
    """Return uv's program, taken out of its wheel once: a build sends no file anew that has its place and time."""
    place = cache() / "tools" / uv.stem / "uv"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".uv.{os.getpid()}")
        with zipfile.ZipFile(uv) as archive:
            name = next(one for one in archive.namelist() if one.endswith(".data/scripts/uv"))
            partial.write_bytes(archive.read(name))
        partial.chmod(0o755)
        os.replace(partial, place)
    return place


def _write_environment(folder: Path, gathered: Gathered) -> None:
    name = gathered.environment.name
    (folder / name).mkdir()
    local = [one for one in gathered.wheels if one.is_local]
    index = [one for one in gathered.wheels if not one.is_local]
    (folder / name / "requirements.txt").write_text(requirements_of(index), encoding="utf-8")
    if local:
        (folder / "local").mkdir(exist_ok=True)
        (folder / name / "local.txt").write_text(requirements_of(local), encoding="utf-8")
    for one in gathered.wheels:
        _link(one.path, folder / ("local" if one.is_local else "wheels") / one.path.name)


def _write_lines(file: Path, lines: Iterable[str]) -> None:
    file.write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")


def _link(path: Path, target: Path) -> None:
    """Give a kept wheel another name: it is never written again. Where it lies on another disk it is copied."""
    if target.exists():
        return
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


def _write_work(folder: Path, frozen: Frozen) -> None:
    program = frozen.program
    folder.mkdir()
    taken = [file_of(one.relative_to(program.root).as_posix(), one) for one in program.files]
    taken += [*frozen.modules, *(one for one in frozen.data if not one.why_out)]
    if frozen.declared.post_build is not None:
        post_build = frozen.declared.post_build
        taken.append(file_of(_inside(frozen, post_build), post_build))
    for one in taken:
        _copy(one, folder / one.place)
    for place, content in program.contents.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
        (folder / place).chmod(_PLAIN)
    (folder / program.folder.relative_to(program.root)).mkdir(parents=True, exist_ok=True)
    for parent, names, _ in os.walk(folder):
        for inner in (parent, *(os.path.join(parent, name) for name in names)):
            os.chmod(inner, _FOLDER)


def _copy(file: File, target: Path) -> None:
    for source in file.files:
        place = target / source.relative_to(file.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, place)
        except OSError as error:
            raise ImageError(f"{source} can't be copied: {error.strerror}") from None
        place.chmod(_PLAIN | (0o111 if os.access(source, os.X_OK) else 0))


def _write_kernel(folder: Path, frozen: Frozen) -> None:
    kernel = frozen.program.kernel
    place = folder / kernel.name
    place.mkdir(parents=True)
    spec: dict[str, Any] = {
        "argv": [f"{frozen.kernel.folder}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": kernel.title or kernel.name,
        "language": "python",
        **({"env": env} if (env := kernel_env(kernel)[0]) else {}),
    }
    (place / "kernel.json").write_text(json.dumps(spec, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _check_secrets(folder: Path, frozen: Frozen, secrets: Iterable[str]) -> list[str]:
    """Look through what the project brings for the values of secrets; return notes of what hides its content.

    Raises:
        ImageError: One is in there; it is said where. The folder is to be removed.
    """
    secrecy.learn_those_set({*frozen.program.secrets, *secrets, *os.environ.get(secrecy.VARIABLE, "").split()})
    veil = Veil()
    for name in ("work", "modules", "local", "kernels"):
        if (folder / name).is_dir():
            _unlink_wheels(folder / name)
            veil.folder(folder / name)
    if veil.found:
        name, places = next(iter(sorted(veil.found.items())))
        raise ImageError(
            f"the value of the secret {name} stands in {', '.join(list(places)[:3])}, and would be in the image: take "
            f'it out, and let the code ask for it by secret("{name}")'
        )
    notes = veil.notes()
    if told := [note for note in notes if not re.search("was not (?:wholly )?looked through", note)]:
        raise ImageError(f"a file holds a secret, or can't be looked through for any: {told[0]}")
    return notes


def _unlink_wheels(folder: Path) -> None:
    """Give the wheels of a folder a content of their own before they are looked through for secrets."""
    if not secrecy.secrets_seen:
        return
    for path in folder.rglob("*.whl"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
