"""Whether git has the code as it is: what a record names by its commit can be had again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ml_experiment_nb.capture.git import GitState, git_state, is_tracked
from ml_experiment_nb.preflight.findings import Finding

_CODE = (".py", ".ipynb", ".yaml", ".yml", ".json", ".toml", ".cfg", ".txt", ".pyx", ".c", ".cpp", ".cu")
_SHOWN = 3


def check(files: Iterable[str]) -> Iterator[Finding]:
    """Yield what of files, and of the work tree that they stand in, git doesn't have. Outside of one there is nothing.

    Args:
        files: The files, as they were named.
    """
    states: dict[Path, GitState | None] = {}
    told: set[str] = set()
    for file in files:
        path = Path(file).absolute()
        if path.parent not in states:
            states[path.parent] = git_state(path.parent)
        state = states[path.parent]
        if state is None:
            continue
        name = os.path.relpath(path.resolve(), Path(state.root).resolve())
        changed = state.changed
        if _is_untracked(name, state) or (name not in changed and not is_tracked(Path(state.root), name)):
            yield _finding(file, "git doesn't have this file")
        elif name in changed or (state.commit is None and state.dirty):
            yield _finding(file, f"differs from commit {(state.commit or 'none')[:8]}")
        others = [one for one in changed if one != name and one.endswith(_CODE)]
        if others and state.root not in told:
            told.add(state.root)
            more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
            verb = "differs" if len(others) == 1 else "differ"
            yield _finding(file, f"{', '.join(others[:_SHOWN])}{more} in its work tree {verb} from the commit")


def _is_untracked(name: str, state: GitState) -> bool:
    return any(name == one or (one.endswith("/") and name.startswith(one)) for one in state.untracked)


def _finding(file: str, text: str) -> Finding:
    return Finding("uncommitted", text, "commit it, so that the record's commit has the code that ran", file)
