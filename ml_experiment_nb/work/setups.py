"""What a fork server should have imported before it forks, found by reading the task, not by running it."""

from __future__ import annotations

import ast
import importlib.util
import os
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ml_experiment_nb import cells
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.observing import observers
from ml_experiment_nb.plans import Task
from ml_experiment_nb.projects import SOCKETS
from ml_experiment_nb.targets import Cell, Notebook, Script, Target
from ml_experiment_nb.work.forkserver import ForkServer
from ml_experiment_nb.work.forkwire import Setup

if TYPE_CHECKING:
    from ml_experiment_nb.kernelspecs import Beginning

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Warm:
    """The fork servers that the tasks of one plan are forked from: one for the work, one for each notebook.

    A notebook whose kernels can't be forked has none.

    Args:
        task: Any task of the plan: they differ in their parameters alone.
    """

    def __init__(self, task: Task) -> None:
        self._setups: dict[Notebook | None, Callable[[], Setup]] = {None: partial(work_setup, task)}
        self._started: dict[Notebook, str] = {}
        for target in (step.target for step in task.steps):
            if isinstance(target, Notebook):
                self._add(task, target)
        self._servers = {key: ForkServer(setup()) for key, setup in self._setups.items()}
        self._lost: list[ForkServer] = []
        self._lock = threading.Lock()

    def started(self, notebook: Notebook) -> str | None:
        """Return why a notebook's kernels are started as usual; None when they have a server."""
        return self._started.get(notebook)

    def server(self, notebook: Notebook | None = None) -> tuple[ForkServer, bool]:
        """Return the server for the work, or for a notebook's kernels, and whether it had to be started anew.

        A task may have killed the one that was there; what it has forked goes on.
        """
        with self._lock:
            lost = self._servers[notebook].lost
            if lost:
                self._lost.append(self._servers[notebook])
                self._servers[notebook] = ForkServer(self._setups[notebook]())
            return self._servers[notebook], lost

    def close(self) -> None:
        """End the servers with every child that still runs."""
        for server in (*self._servers.values(), *self._lost):
            server.close()

    def _add(self, task: Task, target: Notebook) -> None:
        from ml_experiment_nb.kernelspecs import beginning

        how = beginning(target)
        if how.started is None:
            self._setups[target] = partial(kernel_setup, task, target, how)
        else:
            self._started[target] = how.started


def work_setup(task: Task) -> Setup:
    """Return the setup that a task's own process can be forked from.

    Installed modules are imported. The user's own modules are not: they may look at what differs between tasks;
    they are read for what they import in turn.
    """
    modules: dict[str, None] = dict.fromkeys(("ml_experiment_nb.work.child", *observers()))
    for step in task.steps:
        modules |= dict.fromkeys(_modules(step.target, Path(task.cwd)))
    return Setup(task.cwd, (*task.path, task.cwd), tuple(modules), task.payload, _env(task))


def kernel_setup(task: Task, target: Notebook, how: Beginning) -> Setup:
    """Return the setup that a notebook's kernels are forked from: its imports, and the cells above its parameters."""
    from ml_experiment_nb import notebooks
    from ml_experiment_nb.work.kernels import MODULES

    modules = dict.fromkeys((*MODULES, *observers()))
    with suppress(SpecError):
        nb = notebooks.read_notebook(target.file)
        text = "\n".join(cell.source for _, cell in notebooks.code_cells(nb) if _is_python(cell.source))
        modules |= dict.fromkeys(_installed(_imports(cells.parse(text)), set(), [Path(task.cwd)]))
    listen = os.path.join(tempfile.mkdtemp(prefix="mlexp-", dir=SOCKETS), "forks")
    env = _env(task)
    env |= {name: Template(value).safe_substitute({**os.environ, **env}) for name, value in how.env.items()}
    return Setup(
        task.cwd, task.path, tuple(modules), env=env, listen=listen, notebook=str(target.file), cells=how.cells
    )


def _env(task: Task) -> dict[str, str]:
    """Return what all tasks of a plan have in their environment: not the ids of the one task's run."""
    return {name: value for name, value in task.env.items() if name not in ("MLFLOW_RUN_ID", "ML_EXPERIMENT_RUN")}


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
            yield from ("ml_experiment_nb.work.notebook", "ml_experiment_nb.work.kernels")
        case _:
            return


def _is_python(source: str) -> bool:
    try:
        cells.parse(source)
    except SpecError:
        return False
    return True


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
    """Yield the modules that code imports as soon as it runs, not those that its functions import later.

    What follows a change of the environment or of the import path is left out: it may depend on it.
    """
    for statement in tree.body:
        if {"os.environ", "os.putenv", "sys.path"} & {ast.unparse(n) for n in ast.walk(statement) if _is_dotted(n)}:
            return
        yield from _imports_of(statement)


def _is_dotted(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)


def _imports_of(statement: ast.stmt) -> Iterator[str]:
    waiting: list[ast.AST] = [statement]
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
