"""What a program needs to run elsewhere, frozen: its interpreter, packages, Debian packages, modules and data.

Nothing is fetched, built or written here. What can't be frozen is listed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ml_experiment_nb import quantities
from ml_experiment_nb.capture.packages import Package, packages_on
from ml_experiment_nb.images import libraries
from ml_experiment_nb.images.bytecode import compiled
from ml_experiment_nb.images.caches import remembered
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.code import SITE, Code
from ml_experiment_nb.images.declared import Declared, declared
from ml_experiment_nb.images.environments import LAB, Environment, as_recorded, environments
from ml_experiment_nb.images.files import File, data_files
from ml_experiment_nb.images.installed import having, name_of
from ml_experiment_nb.images.interpreter import interpreter
from ml_experiment_nb.images.needs import needs
from ml_experiment_nb.images.program import Kernel, Program
from ml_experiment_nb.images.slimming import Spare, spared, told
from ml_experiment_nb.secrecy import is_credential


@dataclass(frozen=True)
class Frozen:
    """What a program needs.

    Attributes:
        program: The program.
        environments: The kernel's environment, and maybe one of what runs it.
        dropped: The packages that are left out as nothing imports them.
        spare: Of each environment, the parts of its packages that are left out.
        bytecode: Of each environment, what has bytecode.
        debian: Debian packages, with the versions that this machine has; empty where it hasn't them.
        modules: Modules of the project's own.
        outside: Modules of its own that lie outside of its root; their place is below a folder of theirs.
        data: Files that the code or the spec names.
        declared: What the project declares.
        cuda: The CUDA that packages were built for, ``12.6``; empty without.
        notes: What can't be frozen, and what else is to be known.
    """

    program: Program
    environments: tuple[Environment, ...]
    dropped: tuple[str, ...] = ()
    spare: tuple[tuple[Spare, ...], ...] = ()
    bytecode: tuple[tuple[str, ...], ...] = ()
    debian: tuple[tuple[str, str], ...] = ()
    modules: tuple[File, ...] = ()
    outside: tuple[File, ...] = ()
    data: tuple[File, ...] = ()
    declared: Declared = field(default_factory=Declared)
    cuda: str = ""
    notes: tuple[str, ...] = ()

    @property
    def kernel(self) -> Environment:
        """The environment that the code runs in."""
        return self.environments[0]

    @property
    def runner(self) -> Environment:
        """The environment of what runs it."""
        return self.environments[-1]

    @property
    def has_lab(self) -> bool:
        """Whether JupyterLab is in it."""
        return any(one.name == LAB for one in self.runner.packages)


def freeze(program: Program, choices: Choices, *, caller: str, recorded: Sequence[Package] = ()) -> Frozen:
    """Return what a program needs.

    Args:
        program: The program.
        choices: What goes in.
        caller: The interpreter that has this package, for a kernel that hasn't.
        recorded: The packages that a run has had, for which those of the kernel stand otherwise.

    Raises:
        ImageError: The kernel's interpreter can't be asked, or what runs the code can't be put beside it.
        SpecError: A declared file can't be read.
    """
    notes: list[str] = list(program.notes)
    python = interpreter(program.kernel.executable, program.folder, program.kernel.env)
    installed = packages_on(python.path, notes=notes)
    asked = declared(dict.fromkeys((program.folder, program.root)))
    code = Code(program, python, installed, choices.exclude)
    code.follow(needs(program.pieces))
    if recorded:
        installed = as_recorded(code, recorded, notes)
    asked = _followed(asked, choices, installed, notes)
    notes += _unfrozen(code, installed, asked) + list(asked.notes)
    made, dropped = environments(python, installed, code, choices, asked, caller, notes)
    if choices.only_imports:
        notes.append(_BY_NAME)
    if hidden := kernel_env(program.kernel)[1]:
        notes.append(f"{', '.join(hidden)} of the kernelspec looks like a credential: give it to the container by -e")
    debian = _debian(made, asked, notes)
    modules = (*code.modules.values(), *code.outside.values())
    data = tuple(data_files(program, code.found.texts | code.found.words, modules, choices))
    notes += [note for one in (*modules, *data) for note in one.notes]
    return Frozen(
        program=program,
        environments=made,
        dropped=dropped,
        spare=tuple(spared(one, choices, _texts(code), [name for name, _ in debian]) for one in made),
        bytecode=tuple(compiled(one, code, is_kernel=one is made[0]) for one in made),
        debian=debian,
        modules=tuple(sorted(code.modules.values())),
        outside=tuple(sorted(code.outside.values())),
        data=data,
        declared=asked,
        cuda=_cuda(made[0].packages),
        notes=tuple(dict.fromkeys(notes)),
    )


def _texts(code: Code) -> list[str]:
    """Return the texts of the code, with those of the modules that are its own."""
    files = [path for one in (*code.modules.values(), *code.outside.values()) for path in one.files]
    own = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.suffix == ".py"]
    return [*code.program.pieces, *own]


def _followed(asked: Declared, choices: Choices, installed: Sequence[Package], notes: list[str]) -> Declared:
    """Return what is declared without what is to be left out; what is there in another version is noted."""
    left_out = {canonicalize_name(one) for one in choices.without} | ({LAB} if choices.lab is False else set())
    versions = {one.name: one.version for one in installed}
    kept = []
    for text in asked.requirements:
        one = Requirement(text)
        name = canonicalize_name(one.name)
        if name in left_out:
            notes.append(f"{text} is declared, and is left out as was asked")
            continue
        kept.append(text)
        is_for_here = one.marker is None or one.marker.evaluate()
        if is_for_here and versions.get(name) and not one.specifier.contains(versions[name], prereleases=True):
            notes.append(f"{text} is declared, and the kernel has {versions[name]}, which the image gets")
    for one in map(Requirement, asked.conda):
        here = versions.get(one.name)
        if here and not one.specifier.contains(here, prereleases=True):
            notes.append(f"environment.yml asks conda for {one}, and the kernel has {here}, which the image gets")
    return replace(asked, requirements=tuple(kept))


_BY_NAME = "what is loaded by its name alone, as pandas' engines are, isn't seen: name it in requirements.txt"


def _unfrozen(code: Code, installed: Sequence[Package], asked: Declared) -> list[str]:
    """Return notes of what the code needs and can't be frozen."""
    notes = []
    names = {one.name for one in installed}
    fetched = {canonicalize_name(Requirement(one).name) for one in asked.requirements}
    for name, origin in sorted(code.origins.items()):
        if name in code.excluded:
            notes.append(f"the code imports {name}, which is excluded: it isn't in the image")
        elif origin is None and canonicalize_name(name) not in fetched:
            notes.append(f"the code imports {name}, which its kernel hasn't: it isn't in the image either")
        elif origin is not None and SITE.search(origin) and not having(code.python, [name]):
            notes.append(f"{origin} is imported, and no package has it: it isn't in the image")
    if code.found.dynamic:
        notes.append("the code imports modules by names that only running it tells: they can't be followed")
    if commands := sorted(code.found.commands.difference(asked.debian)):
        notes.append(f"the code calls {', '.join(commands)} in a shell: what an image hasn't of that goes in apt.txt")
    if code.found.conda:
        notes.append(
            f"the code installs by conda while it runs ({'; '.join(sorted(code.found.conda))}): images have pip"
        )
    if names_given := sorted(code.found.credentials):
        notes.append(
            f"{', '.join(names_given)} looks like a credential and stands in the code, and so in the image: "
            "as secret(NAME) it comes from the environment"
        )
    if addresses := sorted(code.found.addresses):
        notes.append(
            f"a password stands in the code in the address {', '.join(addresses)}, and so in the image: take it out; "
            "an image is made with pip's own settings, which don't go in"
        )
    missing = [name for one in asked.conda if (name := Requirement(one).name) not in names]
    if missing:
        notes.append(
            f"environment.yml asks conda for {', '.join(missing)}, which no Python package of the kernel is: conda's "
            "channels are not asked, and the image hasn't it; name it in requirements.txt, or Debian's in apt.txt"
        )
    if asked.python and not code.python.version.startswith(asked.python.split("|")[0].strip("*.")):
        notes.append(f"environment.yml asks for Python {asked.python}: the kernel's is {code.python.version}, as here")
    return notes


def _debian(environments: Sequence[Environment], asked: Declared, notes: list[str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for one in environments:
        what = [f"{package.name} {package.version} {package.digest}" for package in one.packages]
        key = "\n".join([*one.interpreter.site, *what])
        find = partial(_libraries, one)
        more, unknown = libraries.debian_packages(remembered("libraries", key, find))
        found |= more
        notes += unknown
    return tuple(sorted({**found, **{name: "" for name in asked.debian if name not in found}}.items()))


def _libraries(environment: Environment) -> dict[str, str]:
    return libraries.needed(_folders_of(environment))


def _folders_of(environment: Environment) -> list[Path]:
    """Return the folders of an environment's packages that are in the image."""
    names = {one.name for one in environment.packages}
    found: dict[Path, None] = {}
    for one in distributions(path=list(environment.interpreter.path)):
        if name_of(one) in names:
            for file in one.files or ():
                if file.name.endswith(".so") or ".so." in file.name:
                    found[Path(str(one.locate_file(file))).parent] = None
    return list(found)


def _cuda(packages: Sequence[Package]) -> str:
    """Return the CUDA that packages were built for: by PyTorch's version, or by NVIDIA's own packages."""
    for one in packages:
        if (built := re.search(r"\+cu(\d+)(\d)$", one.version)) is not None:
            return f"{built[1]}.{built[2]}"
    for one in packages:
        if (named := re.fullmatch(r"nvidia-cuda-runtime(?:-cu(\d+))?", one.name)) is not None:
            return ".".join(one.version.split(".")[:2]) or str(named[1] or "")
    return ""


def kernel_env(kernel: Kernel) -> tuple[dict[str, str], list[str]]:
    """Return what a kernelspec adds to the environment without what looks like a credential, and the names of that."""
    hidden = [name for name in kernel.env if is_credential(name)]
    return {name: value for name, value in kernel.env.items() if name not in hidden}, hidden


def facts(frozen: Frozen) -> list[tuple[str, str]]:
    """Return what goes into an image as names and texts."""
    packages = frozen.kernel.packages
    local = [one for one in packages if one.source.startswith("file:")]
    other = [one for one in packages if one.source and one not in local]
    counted = f"{len(packages)}" + (f", {len(frozen.dropped)} left out" if frozen.dropped else "")
    rows = [
        ("python", f"{frozen.kernel.interpreter.version} ({frozen.kernel.interpreter.executable})"),
        ("packages", counted),
        *[("  built", f"{one.name} {one.version} from {one.source}") for one in (*local, *other)],
    ]
    if fetched := _fetched(frozen):
        rows.append(("  fetched", ", ".join(fetched)))
    if len(frozen.environments) > 1:
        rows.append(("runner", f"ml-experiment-nb and the {len(frozen.runner.packages) - 1} packages that it needs"))
    rows += told([one for of_one in frozen.spare for one in of_one])
    rows += [("cuda", frozen.cuda)] if frozen.cuda else []
    rows += [("debian", ", ".join(f"{name} {version}".strip() for name, version in frozen.debian))] * bool(
        frozen.debian
    )
    rows += [("module", f"{one.place} ({quantities.size(one.size)})") for one in (*frozen.modules, *frozen.outside)]
    rows += [("data", _data_text(one)) for one in frozen.data]
    rows += [("lab", "docker run IMAGE lab" if frozen.has_lab else "JupyterLab is not in it")]
    return rows


def _fetched(frozen: Frozen) -> list[str]:
    """Return what is declared and isn't installed, which is fetched with all that it needs."""
    there = {one.name for one in frozen.kernel.packages}
    asked = [(text, Requirement(text)) for text in frozen.declared.requirements]
    return [
        text
        for text, one in asked
        if canonicalize_name(one.name) not in there and (one.marker is None or one.marker.evaluate())
    ]


def _data_text(one: File) -> str:
    return f"{one.place} ({quantities.size(one.size)})" + (f" is left out: {one.why_out}" if one.why_out else "")
