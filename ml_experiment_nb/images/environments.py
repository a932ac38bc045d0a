"""The virtual environments of an image: which packages they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ml_experiment_nb.capture.packages import OWN, Package, packages_on
from ml_experiment_nb.errors import ImageError, nearest
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.code import Code, folder_of
from ml_experiment_nb.images.declared import Declared
from ml_experiment_nb.images.installed import closure, having
from ml_experiment_nb.images.interpreter import Interpreter, interpreter

LAB: Final = "jupyterlab"
_IN_KERNEL: Final = ("ipykernel",)
_OF_SEARCHES: Final = ((OWN, "ray"),)  # a quarter of what this package needs, and no part in a single run
_OF_PEOPLE: Final = (("ipykernel", "debugpy"), ("ipython", "jedi"))  # to debug and to complete what is typed


@dataclass(frozen=True)
class Environment:
    """A virtual environment of an image: the kernel's, or that of what runs it where the kernel hasn't it."""

    name: str
    interpreter: Interpreter
    packages: tuple[Package, ...]

    @property
    def folder(self) -> str:
        """Where it is in the image."""
        return f"/opt/{self.name}"


def environments(
    python: Interpreter, installed: tuple[Package, ...], code: Code, choices: Choices, asked: Declared, caller: str,
    notes: list[str],
) -> tuple[tuple[Environment, ...], tuple[str, ...]]:  # fmt: skip
    """Return an image's environments, and the packages of the kernel that are left out.

    Args:
        python: The kernel's interpreter.
        installed: Its packages.
        code: What runs in it.
        choices: What goes in.
        asked: What the project declares.
        caller: The interpreter that has this package, for a kernel that hasn't.
        notes: Gets what is to be known.

    Raises:
        ImageError: A package that is named isn't there, or what runs the code can't be put beside it.
    """
    names = {one.name for one in installed}
    for name in choices.without:
        if canonicalize_name(name) not in names:
            raise ImageError(f"the kernel has no package {name!r} that could be left out{nearest(name, names)}")
    has_ours = OWN in names
    mine, runner = python, installed
    if not has_ours:
        mine = interpreter(caller, code.program.folder)
        if mine.minor != python.minor:
            raise ImageError(
                f"the kernel is Python {python.version}, and ml-experiment-nb, which runs it in the image, is "
                f"installed for {mine.version} here: install it in the kernel's environment ({python.prefix}) too"
            )
        runner = packages_on(mine.path, notes=notes)
    lab = choices.lab if choices.lab is not None else not choices.only_imports
    wanted = {one.name for one in runner if one.name == LAB} if lab else set()
    if choices.lab and not wanted:
        raise ImageError("JupyterLab isn't installed here: pip install 'ml-experiment-nb[lab]', or leave out --lab")
    roots = {OWN, *wanted}
    unneeded = _unneeded(code, choices, has_lab=bool(wanted))
    left_out = {canonicalize_name(one) for one in choices.without} | ({LAB} if choices.lab is False else set())
    kept = installed
    if choices.only_imports:
        named = {canonicalize_name(Requirement(one).name) for one in (*asked.requirements, *asked.conda)}
        needed = {*imported(code, installed), *_IN_KERNEL, *named, *(roots if has_ours else ())}
        needed |= {"pip"} if code.found.installs else set()
        kept = closure(python, installed, needed, unneeded)
    kept = tuple(one for one in kept if one.name not in left_out)
    dropped = tuple(sorted(names - {one.name for one in kept}))
    first = Environment("env", python, kept)
    if has_ours:
        return (first,), dropped
    if "ipykernel" not in names:
        raise ImageError(f"the kernel's environment {python.prefix} has no ipykernel: install it there")
    notes.append("ml-experiment-nb isn't in the kernel's environment: it has one of its own in the image, /opt/runner")
    return (first, Environment("runner", mine, closure(mine, runner, roots, unneeded))), dropped


def _unneeded(code: Code, choices: Choices, *, has_lab: bool) -> tuple[tuple[str, str], ...]:
    """Return the requirements of what runs the code, and of the kernel, that these do without: who has it, and what."""
    if not choices.only_imports:
        return ()
    return (*(() if code.program.is_search else _OF_SEARCHES), *(() if has_lab else _OF_PEOPLE))


def imported(code: Code, installed: Sequence[Package]) -> set[str]:
    """Return the packages that have the modules that are imported."""
    tops = {name: origin for name, origin in code.origins.items() if origin and origin != "stdlib"}
    found = {one.name for origin in tops.values() if (one := code.editable(origin))}
    return (found | having(code.python, tops)) & {one.name for one in installed}


def as_recorded(code: Code, recorded: Sequence[Package], notes: list[str]) -> tuple[Package, ...]:
    """Return the packages that a run had.

    One that was installed from a folder is taken as it is installed now, and so is what the code imports and the record
    hasn't: the run itself has installed it.
    """
    here = {one.name: one for one in code.installed}
    found = {one.name: one for one in recorded if not one.source.startswith("file:")}
    for one in recorded:
        if one.name in found:
            continue
        if one.name in here:
            notes.append(f"{one.name} was installed from {folder_of(one)}: it is taken as it is installed now")
            found[one.name] = here[one.name]
        else:
            notes.append(f"{one.name} {one.version} was installed from {one.source}, and isn't any more: left out")
    own = {*imported(code, code.installed), *({OWN} & here.keys())} - found.keys()
    for one in closure(code.python, code.installed, own):
        if one.name not in found:
            notes.append(f"{one.name} {one.version} isn't in the run's record: it is taken as it is installed now")
            found[one.name] = one
    return tuple(sorted(found.values()))
