"""What code stands on besides its own text: files of the project's and packages that it imports, and values it reads.

It is told from texts, and nothing is imported for it. An import whose name is computed isn't seen.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import linecache
import platform
import re
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from ml_experiment_nb.capture.digests import joined, value_digest
from ml_experiment_nb.capture.packages import normal_name, packages
from ml_experiment_nb.cells import OURS, parse
from ml_experiment_nb.errors import CaptureError, SpecError
from ml_experiment_nb.targets import Cell, Command, Function, Notebook, Script, Target

MODULES: Final = "mlexp.modules"
ENVIRONMENT: Final = "mlexp.environment"
VALUES: Final = "mlexp.values"
UNSEEN: Final = "it was not looked at"

_CELLS = ("<ipython-input-", str(Path(tempfile.gettempdir(), "ipykernel_")))  # what IPython and ipykernel call cells
_LIGHT = 32 << 20
_MOST = 1000  # files of the project's own that are read
_INSTALLED = re.compile(r"[/\\](site-packages|dist-packages)[/\\]")


@dataclass(frozen=True)
class Basis:
    """What a run's code stands on.

    Attributes:
        files: Digests of the project's own files that it imports or runs, by their paths.
        packages: The packages that it imports, each as ``name==version``.
        values: A digest of what it reads from its notebook; empty where it reads nothing of it.
        problem: Why that digest can't be had, if it can't.
    """

    files: Mapping[str, str]
    packages: tuple[str, ...]
    values: str = ""
    problem: str = ""

    @property
    def environment(self) -> str:
        """The interpreter and the packages, in words."""
        return "; ".join((f"Python {platform.python_version()}", *self.packages))

    def tags(self) -> dict[str, str]:
        """Return what a run's record says of it: by these, what another run stands on is compared."""
        count = len(self.files)
        modules = f"{count} file{'' if count == 1 else 's'} {joined(self.files)[:12]}" if count else "none"
        values = {} if self.problem else {VALUES: self.values or "none"}
        return {MODULES: modules, ENVIRONMENT: self.environment, **values}


def basis_of(
    targets: Iterable[Target],
    cwd: Path,
    *,
    values: Mapping[str, Any] | None = None,
    path: Sequence[str] = (),
    fully: bool = True,
) -> Basis:
    """Return what the code of some targets stands on.

    Args:
        targets: The code; what can't be read counts for nothing.
        cwd: The folder that it runs in.
        values: What it reads from its notebook, by name; None where that is not to be looked at.
        path: Folders in which it looks for modules besides those of this process.
        fully: Whether to look at values however large they are; else only at what costs next to nothing.
    """
    reader = _Imports(cwd, path)
    for target in targets:
        with suppress(OSError, SpecError, UnicodeDecodeError):
            reader.read_target(target)
    digest, problem = "", ""
    if values and not fully and not light(values):
        problem = UNSEEN
    elif values:
        try:
            digest = _values_digest(values, reader)
        except CaptureError as error:
            problem = str(error)
    return Basis(reader.named_files(), tuple(sorted(reader.packages())), digest, problem)


def light(values: Mapping[str, Any]) -> bool:
    """Return whether values are so small that looking at all of them costs a cell next to nothing."""
    left = _LIGHT
    waiting = list(values.values())
    while waiting and left > 0:
        value = waiting.pop()
        left -= _weight(value)
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple | set | frozenset) and left > 0:
            waiting += value
    return left > 0


def _weight(value: Any) -> int:
    """Return about how many bytes it takes to hash as much; an element of a list takes as long as a hundred."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        return 100 * len(value)
    size: Any = getattr(value, "nbytes", None)
    if size is None and hasattr(value, "memory_usage"):
        usage = value.memory_usage()
        size = usage.sum() if hasattr(usage, "sum") else usage
    return int(size) if hasattr(size, "__int__") else 1000


# ---------------------------------------------------------------------------------------------- imports


class _Imports:
    """Follows what code imports through the project's own files."""

    def __init__(self, cwd: Path, path: Sequence[str]) -> None:
        self._cwd = cwd.absolute()
        own = [self._cwd, *map(Path, path), *map(Path, sys.path)]
        self._folders = [one for one in dict.fromkeys(own) if one.is_dir() and not _is_installed(one)]
        self._files: dict[Path, str] = {}
        self._installed: set[str] = set()

    def read_target(self, target: Target) -> None:
        match target:
            case Script():
                script = self._cwd / target.path
                self._folders.insert(0, script.parent)
                self.read(script.read_text(encoding="utf-8"), script)
            case Notebook():
                from ml_experiment_nb import notebooks

                nb = notebooks.read_notebook(target.file if target.is_elsewhere else self._cwd / target.file)
                for _, cell in notebooks.code_cells(nb):
                    self.read(cell.source)
            case Cell():
                self.read(target.source)
            case Function():
                self.read_value(target.function)
            case Command():
                self._read_words(target.command)

    def read(self, source: str, file: Path | None = None) -> None:
        """Follow what a text imports, which stands in a file if it is a module's."""
        for line in source.splitlines():
            if line.lstrip().startswith(("%run ", "!")):
                self._read_words(line.lstrip().lstrip("!%"))
        try:
            tree = parse(source)
        except SpecError:
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._follow(alias.name)
            elif isinstance(node, ast.ImportFrom):
                names = [alias.name for alias in node.names]
                if node.level == 0:
                    self._follow(node.module or "", names)
                elif file is not None:
                    folder = file.parents[node.level - 1]
                    self._within(folder, (node.module or "").split("."), names)

    def read_value(self, value: Any) -> str:
        """Note the module that a value is of, or comes from, and return that module's name."""
        made_by = isinstance(value, ModuleType | type | FunctionType) or hasattr(value, "__qualname__")
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if not made_by or not isinstance(name, str):
            name = type(value).__module__
        if name == "__main__":
            with suppress(OSError, TypeError):
                self.read(source_of(value))
        else:
            self._follow(name)
        return name

    def named_files(self) -> dict[str, str]:
        return {_relative(path, self._cwd): digest for path, digest in self._files.items()}

    def packages(self) -> Iterator[str]:
        """Yield the packages that installed modules are of, with their versions."""
        known = {one.name: one for one in packages()}
        for module in self._installed:
            for name in _distributions(module, tuple(sys.path)):
                if (found := known.get(name)) is not None:
                    yield f"{name}=={found.version}" + (f" ({found.source})" if found.source else "")

    def _follow(self, dotted: str, names: Sequence[str] = ()) -> None:
        top, *rest = dotted.split(".")
        if not top or top in OURS:
            return
        folder = next((one for one in self._folders if _is_module(one, top)), None)
        if folder is None and top not in sys.stdlib_module_names:
            folder = self._folder_of(top)
        if folder is not None:
            self._within(folder, [top, *rest], names)

    def _folder_of(self, top: str) -> Path | None:
        """Return the folder of a module of the project's own that an import hook finds; an installed one is noted."""
        try:
            found = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        if found is None:
            return None
        places = [found.origin] if found.origin else list(found.submodule_search_locations or ())
        place = Path(places[0]) if places and places[0] else None
        if place is None or _is_installed(place) or not place.exists():
            self._installed.add(top)
            return None
        inside = found.origin is not None and place.name == "__init__.py"
        return place.parent.parent if inside else place.parent

    def _within(self, folder: Path, parts: Sequence[str], names: Sequence[str]) -> None:
        """Take the files of a dotted module below a folder, and of those names that are modules of it."""
        parts = [one for one in parts if one]
        for part in parts:
            self._take(folder / part / "__init__.py")
            self._take(folder / f"{part}.py")
            folder = folder / part
        if not parts:
            self._take(folder / "__init__.py")
        for name in names:
            self._take(folder / f"{name}.py")
            self._take(folder / name / "__init__.py")

    def _take(self, file: Path) -> None:
        if file in self._files or len(self._files) >= _MOST or not file.is_file():
            return
        content = file.read_bytes()
        self._files[file] = hashlib.sha256(content).hexdigest()
        if file.suffix == ".py":
            self.read(content.decode("utf-8", "replace"), file)

    def _read_words(self, command: str) -> None:
        """Take the files that a command line names."""
        with suppress(ValueError, OSError):
            for word in shlex.split(command):
                self._take(self._cwd / Path(word).expanduser())


def _is_module(folder: Path, name: str) -> bool:
    package = folder / name
    if (folder / f"{name}.py").is_file() or (package / "__init__.py").is_file():
        return True
    return package.is_dir() and any(package.glob("*.py"))


def _is_installed(path: Path) -> bool:
    text = f"{path}/"
    return _INSTALLED.search(text) is not None or text.startswith(f"{Path(ast.__file__).parent}/")


def _relative(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


@functools.lru_cache(maxsize=1024)
def _distributions(module: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the packages that have a module at their top, by normalised name: mostly it is one of that name.

    The records of all packages say the same, which takes half a second to read.
    """
    wanted = normal_name(module)
    found = []
    for folder in map(Path, path):
        for metadata in folder.glob("*.dist-info") if folder.is_dir() else ():
            name = normal_name(metadata.stem.rpartition("-")[0])
            if name == wanted:
                return (name,)
            if _has_module(metadata, module):
                found.append(name)
    return tuple(dict.fromkeys(found))


def _has_module(metadata: Path, module: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return module in (metadata / "top_level.txt").read_text(encoding="utf-8").split()
    with suppress(OSError):
        begins = (f"{module}/".encode(), f"{module}.".encode())
        return any(line.startswith(begins) for line in (metadata / "RECORD").read_bytes().splitlines())
    return False


# ---------------------------------------------------------------------------------------------- values


def _values_digest(values: Mapping[str, Any], reader: _Imports) -> str:
    """Return a digest of values, and of what functions among them read in turn.

    Raises:
        CaptureError: One of them has none.
    """
    parts: dict[str, str] = {}
    _take_values(values, reader, parts)
    return joined(parts)[:16]


def _take_values(values: Mapping[str, Any], reader: _Imports, parts: dict[str, str]) -> None:
    for name, value in values.items():
        if name in parts:
            continue
        module = reader.read_value(value)
        if isinstance(value, ModuleType):
            parts[name] = f"module {value.__name__}"
        elif not _is_code(value):
            try:
                parts[name] = value_digest(value)
            except CaptureError as error:
                raise CaptureError(f"{name}: {error}") from None
        elif module != "__main__":
            parts[name] = f"{module}:{getattr(value, '__qualname__', name)}"
        else:
            try:
                parts[name] = ast.unparse(parse(source_of(value)))
            except (OSError, TypeError, SpecError):
                raise CaptureError(f"{name}: its source can't be had") from None
            _take_values(_read_by(value), reader, parts)


def _is_code(value: Any) -> bool:
    return isinstance(inspect.unwrap(value) if callable(value) else value, type | FunctionType) or inspect.isbuiltin(
        value
    )


def source_of(value: Any) -> str:
    """Return the source of a function or a class.

    Raises:
        OSError: It can't be had.
        TypeError: It is built in.
    """
    inner = inspect.unwrap(value)
    try:
        return textwrap.dedent(inspect.getsource(inner))
    except (OSError, TypeError):
        if isinstance(inner, type) and (found := _class_source(inner)) is not None:
            return found
        raise


def _class_source(made: type) -> str | None:
    """Return the source of a class that stands in no file: of the last cell that has it, or has its methods."""
    files = [f.__code__.co_filename for f in vars(made).values() if isinstance(f, FunctionType)]
    for file in [*files, *reversed(list(linecache.cache))]:
        lines = linecache.getlines(file) if file in files or file.startswith(_CELLS) else []
        with suppress(SpecError):
            for node in parse("".join(lines)).body:
                if isinstance(node, ast.ClassDef) and node.name == made.__qualname__:
                    return ast.unparse(node)
    return None


def _read_by(value: Any) -> dict[str, Any]:
    """Return the variables of its notebook that a function, or a class by its methods, reads."""
    inner = inspect.unwrap(value)
    functions = [inner] if isinstance(inner, FunctionType) else [f for f in vars(inner).values() if _is_function(f)]
    found: dict[str, Any] = {}
    for function in functions:
        known = function.__globals__
        found |= {name: known[name] for name in sorted(_names(function.__code__)) if name in known}
        free = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in free:
            with suppress(ValueError):  # not bound yet
                found[f"{function.__qualname__}.{name}"] = cell.cell_contents
    return {name: one for name, one in found.items() if one is not value and one is not inner}


def _is_function(value: Any) -> bool:
    return isinstance(value, FunctionType)


def _names(code: CodeType) -> set[str]:
    return set(code.co_names) | {name for one in code.co_consts if isinstance(one, CodeType) for name in _names(one)}
