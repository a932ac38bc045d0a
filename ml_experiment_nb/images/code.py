"""A program's code, and that of the modules that it imports and that are the project's own."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ml_experiment_nb.addresses import local_path
from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.images.files import Excluded, File, file_of
from ml_experiment_nb.images.interpreter import Interpreter
from ml_experiment_nb.images.needs import Needs, needs
from ml_experiment_nb.images.program import Program

SITE: Final = re.compile(r"[/\\](?:site|dist)-packages(?:[/\\]|$)")
"""Where packages are installed, in a path."""


@dataclass
class Code:
    """A program's code and that of the modules that it imports, followed; not into those that are excluded."""

    program: Program
    python: Interpreter
    installed: tuple[Package, ...]
    exclude: tuple[str, ...] = ()
    found: Needs = field(default_factory=Needs)
    origins: dict[str, str | None] = field(default_factory=dict)
    modules: dict[str, File] = field(default_factory=dict)
    outside: dict[str, File] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    scripts: set[Path] = field(default_factory=set)

    def follow(self, these: Needs) -> None:
        """Take what code needs, and what the modules and scripts need that are its own."""
        self.found |= these
        for path in sorted(self._called(these) - self.scripts):
            self.scripts.add(path)
            self.follow(needs([path.read_text(encoding="utf-8", errors="replace")]))
        new = these.modules - self.origins.keys()
        if not new:
            return
        said = self.python.origins(new, self._folders(), self.program.folder)
        self.origins |= said
        for name, origin in sorted(said.items()):
            if origin and self.is_own(origin):
                for text in self._take(name, Path(origin)):
                    found = needs([text])
                    names = frozenset(one for one in found.texts if "/" in one or "." in one)
                    self.follow(replace(found, texts=names))

    def is_own(self, origin: str) -> bool:
        """Return whether a module is the project's own: no package has it, and neither has Python."""
        if origin == "stdlib" or SITE.search(origin) or origin.endswith((".so", ".pyd")):
            return False
        return self.editable(origin) is None and not Path(origin).is_relative_to(self.python.prefix)

    def editable(self, origin: str) -> Package | None:
        """Return the package that is imported from its source folder and has a module in there."""
        folders = ((one, folder_of(one)) for one in self.installed if one.editable)
        return next((one for one, folder in folders if folder and Path(origin).is_relative_to(folder)), None)

    def _called(self, these: Needs) -> set[Path]:
        """Return the scripts that code calls in a shell; as files they go in as data does."""
        named = {self.program.folder / one for one in these.words if one.endswith(".py")}
        return {path for path in named if path.is_file() and path.resolve().is_relative_to(self.program.root)}

    def _folders(self) -> list[Path]:
        own = [self.program.folder, *(one.parent for one in (self.program.folder / self.program.file, *self.scripts))]
        more = [self.program.folder / one for one in sorted(self.found.folders)]
        return list(dict.fromkeys([*own, *(one.resolve() for one in more if one.is_dir())]))

    def _take(self, name: str, origin: Path) -> Iterator[str]:
        """Take a module, a package with all that is in its folder; yield its code."""
        origin, root = origin.absolute(), self.program.root
        excluded: Container[Path] = Excluded(root, self.exclude)
        if origin in excluded:
            self.excluded.add(name)
            return
        if origin.is_relative_to(root):
            found = self.modules[name] = file_of(origin.relative_to(root).as_posix(), origin, excluded)
        else:
            found = self.outside[name] = file_of(origin.name, origin, excluded)
        for path in found.files:
            if path.suffix == ".py":
                yield path.read_text(encoding="utf-8", errors="replace")


def folder_of(package: Package) -> Path | None:
    """Return the folder or file of this machine that a package was installed from; None for one of elsewhere."""
    return local_path(package.source) if package.source.startswith("file:") else None
