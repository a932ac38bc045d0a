"""The source of what runs, as files for its record."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ml_experiment_nb.targets import Cell, Command, Function, Notebook, Script, Target


def sources(targets: Iterable[Target]) -> Mapping[str, str]:
    """Return file names and texts: a script's or notebook's own file, a cell's or function's text."""
    found: dict[str, str] = {}
    for target in targets:
        with suppress(OSError, TypeError, UnicodeDecodeError):  # source that isn't there is no fault of the run
            name, text = _source(target)
            found[name if name not in found else f"{len(found)}-{name}"] = text
    return found


def _source(target: Target) -> tuple[str, str]:
    match target:
        case Script() | Notebook():
            path = target.file if isinstance(target, Notebook) else Path(target.path)
            return path.name, path.read_text(encoding="utf-8")
        case Command():
            return "command.sh", target.command + "\n"
        case Cell():
            return "cell.py", target.source
        case Function():
            return f"{target.name}.py", _function_text(target.function)
        case _:
            raise TypeError(f"no source for {target!r}")


@lru_cache(maxsize=16)  # every trial of a group asks for the same
def _function_text(function: Callable[..., object]) -> str:
    return textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
