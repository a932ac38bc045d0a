"""The virtual environments of an image: which packages they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from typing import Final

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ml_experiment_nb.capture.packages import Package, packages_on
from ml_experiment_nb.errors import ImageError, nearest
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.code import Code, folder_of, has_module
from ml_experiment_nb.images.declared import Declared
from ml_experiment_nb.images.interpreter import Interpreter, interpreter

OURS: Final = "ml-experiment-nb"
LAB: Final = "jupyterlab"
RAY: Final = "ray"  # a quarter of what this package needs, and no part in a single run
_IN_KERNEL: Final = ("ipykernel",)


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
    has_ours = OURS in names
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
    roots = {OURS, *wanted}
    passed_over = {RAY} if choices.only_imports and not code.program.is_search else set[str]()
    left_out = {canonicalize_name(one) for one in choices.without} | ({LAB} if choices.lab is False else set())
    kept = installed
    if choices.only_imports:
        named = {canonicalize_name(Requirement(one).name) for one in asked.requirements} | set(asked.conda)
        needed = {*_imported(code, installed), *_IN_KERNEL, *named, *(roots if has_ours else ())}
        needed |= {"pip"} if code.found.installs else set()
        kept = _closure(python, installed, needed, passed_over)
    kept = tuple(one for one in kept if one.name not in left_out)
    dropped = tuple(sorted(names - {one.name for one in kept}))
    first = Environment("env", python, kept)
    if has_ours:
        return (first,), dropped
    if "ipykernel" not in names:
        raise ImageError(f"the kernel's environment {python.prefix} has no ipykernel: install it there")
    notes.append("ml-experiment-nb isn't in the kernel's environment: it has one of its own in the image, /opt/runner")
    return (first, Environment("runner", mine, _closure(mine, runner, roots, passed_over))), dropped


def _imported(code: Code, installed: Sequence[Package]) -> set[str]:
    """Return the packages that have the modules that are imported."""
    tops = {name: origin for name, origin in code.origins.items() if origin and origin != "stdlib"}
    found = {one.name for origin in tops.values() if (one := code.editable(origin))}
    for other in distributions(path=list(code.python.path)):
        if any(has_module(other, name) for name in tops):
            found.add(name_of(other))
    return found & {one.name for one in installed}


def _closure(
    python: Interpreter, installed: Sequence[Package], roots: Iterable[str], passed_over: Iterable[str] = ()
) -> tuple[Package, ...]:
    """Return the packages that some packages need, themselves among them; what ours alone needs may be passed over."""
    by_name: dict[str, Distribution] = {}
    for one in distributions(path=list(python.path)):
        by_name.setdefault(name_of(one), one)
    environment = {"python_version": python.minor, "python_full_version": python.version}
    seen: dict[str, set[str]] = {}
    todo: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in roots]
    while todo:
        name, extras = todo.pop()
        done = seen.get(name)
        if name not in by_name or (done is not None and extras <= done):
            continue
        seen[name] = (done or set()) | extras
        for text in by_name[name].requires or ():
            try:
                needed = Requirement(text)
            except InvalidRequirement:
                continue
            if name == OURS and canonicalize_name(needed.name) in passed_over:
                continue
            if needed.marker is None or _holds(needed.marker, environment, seen[name]):
                todo.append((str(canonicalize_name(needed.name)), frozenset(needed.extras)))
    return tuple(one for one in installed if one.name in seen)


def name_of(one: Distribution) -> str:
    """Return a package's name, normalised."""
    return str(canonicalize_name(one.metadata["Name"] or ""))


def _holds(marker: Marker, environment: dict[str, str], extras: Iterable[str]) -> bool:
    return any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


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
    own = {*_imported(code, code.installed), *({OURS} & here.keys())} - found.keys()
    for one in _closure(code.python, code.installed, own):
        if one.name not in found:
            notes.append(f"{one.name} {one.version} isn't in the run's record: it is taken as it is installed now")
            found[one.name] = one
    return tuple(sorted(found.values()))
