"""What an image runs, as it is asked for: a notebook, a script or a spec's file, the code in it and its kernel."""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from nbformat import NotebookNode

from ml_experiment_nb import kernelspecs, notebooks, secrecy
from ml_experiment_nb.datasets import listed
from ml_experiment_nb.errors import ImageError, SpecError
from ml_experiment_nb.paths import is_spec
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.scripts import read_script
from ml_experiment_nb.spec_files import read_spec, spec_text
from ml_experiment_nb.specs import Group, Job
from ml_experiment_nb.targets import Cell, Command, Function, Notebook, Script, Target


@dataclass(frozen=True)
class Kernel:
    """What a program runs in.

    Attributes:
        executable: The interpreter's command.
        name: The kernelspec's name; empty for a script, which has none.
        title: What JupyterLab calls it.
        env: What the kernelspec adds to the environment.
    """

    executable: str
    name: str = ""
    title: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """What an image runs.

    Attributes:
        name: What it is called.
        root: The folder that the image has the files of, by their places in it.
        folder: The folder that the code runs in; it is in `root`, or is it.
        file: What ``ml-experiment run`` is given, relative to `folder`.
        contents: Files that are written anew for the image, by their places in `root`.
        files: Those that are taken as they are.
        pieces: The code, in pieces.
        data: Files and folders that a spec names as its data.
        kernel: What the code runs in.
        secrets: The names of the secrets that it is given.
        notes: What was changed for the image.
        run_id: The run that it is of, if it is of one.
        is_search: Whether it runs trials, and so may need Ray.
    """

    name: str
    root: Path
    folder: Path
    file: str
    contents: Mapping[PurePosixPath, bytes]
    files: tuple[Path, ...]
    pieces: tuple[str, ...]
    kernel: Kernel
    data: tuple[Path, ...] = ()
    secrets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    run_id: str = ""
    is_search: bool = False


def read_program(target: str | Path, *, cwd: str | Path | None = None, kernel: str | None = None) -> Program:
    """Return what is to run of a notebook, a script or a spec's file.

    Args:
        target: The file.
        cwd: The folder that its code runs in, in place of its own; a spec has that in its ``root_path``.
        kernel: The kernel's name, in place of the notebook's.

    Raises:
        SpecError: It can't be read, or can't be had in an image.
        ImageError: Its kernel isn't Python's.
    """
    path = Path(target)
    match path.suffix.lower():
        case ".ipynb":
            return of_notebook(notebooks.read_notebook(path), path.absolute(), cwd=cwd, kernel=kernel)
        case ".py":
            return of_script(read_script(path).source, path.absolute(), cwd=cwd)
        case _ if is_spec(path):
            if cwd is not None:
                raise SpecError("a spec has its own root_path: leave out --cwd", str(path))
            return of_spec(read_spec(path), path.absolute(), kernel=kernel)
    raise SpecError(
        "an image is made of a notebook (.ipynb), a script (.py), a spec (.yaml, .json) or a run", str(path)
    )


def of_notebook(nb: NotebookNode, path: Path, *, cwd: str | Path | None = None, kernel: str | None = None) -> Program:
    """Return what is to run of a notebook that is read already; it need not be there as a file.

    Raises:
        SpecError: There is no such kernel.
        ImageError: Its kernel isn't Python's.
    """
    folder = Path(cwd).absolute() if cwd is not None else path.parent
    root = _root(folder, path)
    place = PurePosixPath(path.relative_to(root))
    return Program(
        name=path.stem,
        root=root,
        folder=folder,
        file=os.path.relpath(path, folder),
        contents={place: as_bytes(nb)},
        files=(),
        pieces=tuple(_pieces(nb)),
        kernel=_kernel(kernel or notebooks.kernel_name(nb), str(path)),
        secrets=tuple(sorted(_secrets(_pieces(nb)))),
        is_search=any("%%group" in piece or ".group(" in piece for piece in _pieces(nb)),
    )


def as_bytes(nb: NotebookNode) -> bytes:
    """Return a notebook without what its cells have shown: that isn't needed to run it, and may be of any size."""
    plain = json.loads(json.dumps(nb))
    for cell in plain["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    plain["metadata"].pop("widgets", None)
    return (json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def of_script(text: str, path: Path, *, cwd: str | Path | None = None) -> Program:
    """Return what is to run of a script that is read already; it need not be there as a file."""
    folder = Path(cwd).absolute() if cwd is not None else path.parent
    root = _root(folder, path)
    return Program(
        name=path.stem,
        root=root,
        folder=folder,
        file=os.path.relpath(path, folder),
        contents={PurePosixPath(path.relative_to(root)): text.encode()},
        files=(),
        pieces=(text,),
        kernel=Kernel(sys.executable),
        secrets=tuple(sorted(_secrets([text]))),
        is_search=".group(" in text or "distributed=" in text,
    )


def of_spec(
    spec: Job, path: Path, *, kernel: str | None = None, kept: Callable[[str], str | None] = lambda name: None
) -> Program:
    """Return what is to run of a spec; its file is written anew, at the folder that its paths are relative to.

    Args:
        spec: The spec.
        path: Its file, which need not be there.
        kernel: The kernel's name, in place of that of its notebooks.
        kept: Gives the text of a script as a run has kept it, by its file's name; None for the file as it is now.

    Raises:
        SpecError: What it runs can't be read, or can't be had in an image.
        ImageError: Its notebooks have several kernels, or one that isn't Python's.
    """
    folder = Path(spec.root_path or path.parent)
    places = [_file_of(target, folder) for target in spec.run]
    root = _root(folder, *filter(None, places))
    taken = _Taken(root)
    for target, place in zip(spec.run, places, strict=True):
        if isinstance(target, Notebook) and target.is_elsewhere:
            raise SpecError(f"{target.path} lies elsewhere: fetch it first", str(path), key="run")
        taken.take(target, place, kernel, kept)
    if isinstance(spec, Group) and isinstance(spec.each, str):
        taken.files.append(folder / spec.each)
    notes = ["docker_config is left out: the image itself is what it runs in"] if spec.docker_config else []
    run = tuple(_relative(target, place, folder) for target, place in zip(spec.run, places, strict=True))
    inside = spec.model_copy(update={"docker_config": None, "root_path": None, "run": run})
    name = path.with_suffix(".yaml" if path.suffix.lower() != ".json" else ".json").name
    taken.write(folder / name, spec_text(inside, Path(name).suffix).encode())
    asked = [*secrecy.names_in(spec.params), *_secrets(taken.pieces)]
    return Program(
        name=spec.name or path.stem,
        root=root,
        folder=folder,
        file=name,
        contents=taken.contents,
        files=tuple(taken.files),
        pieces=tuple(taken.pieces),
        kernel=_only(taken.kernels, path),
        data=tuple(one.place for one in listed(spec.data, folder)) if spec.data is not None else (),
        secrets=tuple(sorted(set(asked))),
        notes=tuple(notes),
        is_search=isinstance(spec, Group) or spec.executor == "ray" or spec.distributed is not None,
    )


@dataclass
class _Taken:
    """What an image takes of the targets of a spec; see `Program`.

    Attributes:
        root: The folder that the paths in the image are relative to.
    """

    root: Path
    contents: dict[PurePosixPath, bytes] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)

    def take(self, target: Target, place: Path | None, kernel: str | None, kept: Callable[[str], str | None]) -> None:
        """Take a target, whose file is at `place` if it has one; see `of_spec` for the rest."""
        match target:
            case Notebook():
                assert place is not None
                nb = notebooks.read_notebook(place)
                self.write(place, as_bytes(nb))
                self.pieces += _pieces(nb)
                self.kernels.append(_kernel(kernel or target.kernel or notebooks.kernel_name(nb), str(place)))
            case Script():
                assert place is not None
                source = kept(place.name)
                if source is None:
                    self.files.append(place)
                else:
                    self.write(place, source.encode())
                self.pieces.append(source if source is not None else read_script(place).source)
            case Cell():
                self.pieces.append(target.source)
            case Function():
                self.pieces.append(f"import {target.function.__module__}")
            case Command():
                self.pieces.append("\n".join(f"!{line}" for line in target.command.splitlines()))

    def write(self, place: Path, content: bytes) -> None:
        """Have a file written anew."""
        self.contents[PurePosixPath(place.relative_to(self.root))] = content


def _only(kernels: list[Kernel], path: Path) -> Kernel:
    names = sorted({one.name for one in kernels})
    if len({one.executable for one in kernels}) > 1:
        raise ImageError(f"{path.name} has notebooks of the kernels {', '.join(names)}: an image has one of them")
    return kernels[0] if kernels else Kernel(sys.executable)


def _file_of(target: Target, folder: Path) -> Path | None:
    return (folder / target.path).absolute() if isinstance(target, Script | Notebook) else None


def _relative(target: Target, place: Path | None, folder: Path) -> Target:
    if place is None:
        return target
    changes: dict[str, Any] = {"path": os.path.relpath(place, folder)}
    if isinstance(target, Notebook):
        changes |= {"stdout_file": None, "stderr_file": None}
    return target.model_copy(update=changes)


def _root(folder: Path, *files: Path) -> Path:
    """Return the project's root, or where the files don't lie in it, the folder that all of them are in."""
    root = find_root(folder)
    places = [folder, *(one.parent for one in files)]
    if all(one.is_relative_to(root) for one in places):
        return root
    return Path(os.path.commonpath(places))


def _pieces(nb: NotebookNode) -> Iterator[str]:
    for _, cell in notebooks.code_cells(nb):
        yield str(cell.source)


def _secrets(pieces: Iterable[str]) -> set[str]:
    return {name for piece in pieces for name in secrecy.names_in_code(piece)}


def _kernel(name: str | None, where: str) -> Kernel:
    """Return the kernel of a name; by default the one that papermill would take."""
    name = name or kernelspecs.DEFAULT_KERNEL
    try:
        spec: KernelSpec = KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        raise notebooks.no_such_kernel(name, where=where) from None
    except (OSError, ValueError) as error:
        raise SpecError(f"the kernelspec {name!r} can't be read: {error}", where) from None
    if str(spec.language).lower() != "python":
        raise ImageError(f"the kernel {name!r} is for {spec.language or 'no language'}: images are made of Python's")
    first = str(spec.argv[0])
    executable = sys.executable if kernelspecs.is_this_python(first) else shutil.which(first)
    if executable is None:
        raise ImageError(f"the kernel {name!r} starts {first}, which isn't there")
    return Kernel(executable, name, str(spec.display_name), dict(spec.env))
