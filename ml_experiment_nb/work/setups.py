"""What a fork server should have imported before it forks, found by reading the task, not by running it."""

from __future__ import annotations

import ast
import importlib.util
import os
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ml_experiment_nb import cells
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.plans import Task
from ml_experiment_nb.projects import SOCKETS
from ml_experiment_nb.specs import Cell, Notebook, Script, Target
from ml_experiment_nb.work.forkserver import Setup

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def setup_of(task: Task) -> Setup:
    """Return the setup that a task, and any other task of its plan, can be forked from.

    Installed modules are imported. The user's own modules are not: they may look at what differs between tasks;
    they are read for what they import in turn.
    """
    modules: dict[str, None] = {}
    for step in task.steps:
        modules |= dict.fromkeys(_modules(step.target, Path(task.cwd)))
    listen = None
    if any(isinstance(step.target, Notebook) for step in task.steps):
        listen = os.path.join(tempfile.mkdtemp(prefix="mlexp-", dir=SOCKETS), "forks")
    return Setup(task.cwd, task.path, tuple(modules), task.payload, task.env, listen)


def _modules(target: Target, cwd: Path) -> Iterator[str]:
    match target:
        case Script():
            yield from installed_imports(Path(target.path), {Path(target.path)}, [Path(target.path).parent, cwd])
        case Cell():
            yield "IPython.core.interactiveshell"
            yield "ml_experiment_nb.work.shell"
            with suppress(SpecError):
                yield from _installed(_imports(cells.parse(target.source)), set(), [cwd])
        case Notebook():
            from ml_experiment_nb import notebooks
            from ml_experiment_nb.work.kernels import MODULES

            yield "ml_experiment_nb.work.notebook"
            yield from MODULES
            with suppress(SpecError):
                for _, cell in notebooks.code_cells(notebooks.read_notebook(Path(target.path))):
                    yield from _installed(_imports(cells.parse(cell.source)), set(), [cwd])
        case _:
            return


def installed_imports(path: Path, seen: set[Path], local: list[Path]) -> Iterator[str]:
    """Yield the installed modules that a file imports, also through modules in the `local` folders."""
    with suppress(OSError, SyntaxError, ValueError):
        yield from _installed(_imports(ast.parse(path.read_bytes())), seen, local)


def _installed(names: Iterator[str], seen: set[Path], local: list[Path]) -> Iterator[str]:
    for name in names:
        own = _own_file(name, local)
        if own is not None and own not in seen:
            seen.add(own)
            yield from installed_imports(own, seen, local)
        elif own is None and _is_installed(name):
            yield name


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that code imports as soon as it runs, not those that its functions import later."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _own_file(name: str, local: list[Path]) -> Path | None:
    inside = Path(*name.split("."))
    candidates = [folder / one for folder in local for one in (inside.with_suffix(".py"), inside / "__init__.py")]
    return next((one for one in candidates if one.is_file()), None)


def _is_installed(name: str) -> bool:
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return False
    where = found.origin if found is not None else None
    return where is not None and (where in ("built-in", "frozen") or where.startswith(_INSTALLED))
