"""All that is wrong with a spec's text: what reads one ends at the first mistake, and who edits it wants to see each.

What is wrong is left out, and the rest looked at again. What is said then of something that was left out, or that
depends on it, is no mistake of the text's own, and isn't told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.spec_files import located, parse_keys, placed, spec_of_keys
from ml_experiment_nb.specs import Group

MOST = 50  # mistakes that are told at once
_NOTHING = {"command": "true"}  # what stands for a target that can't be read
_DECISIVE = ("kind", "root_path")  # what is said of the rest depends on them
_KEYS = {*Group.model_fields, "kind", "samples"}
_OPEN = ("params", "param_space")  # whose entries a plan can do without


def look_through(text: str, path: Path) -> tuple[Plan | None, list[SpecError]]:
    """Return the plan of a spec's text, or all that is wrong with that, from its first line to its last.

    No function is imported for it: to look at a file runs nothing.

    Args:
        text: The text.
        path: The file that it stands in, or is to be saved in.
    """
    try:
        data, lines = parse_keys(text, path)
    except SpecError as error:
        return None, [placed(error, path, {})]
    plan: Plan | None = None
    found: list[SpecError] = []
    while len(found) < MOST:
        try:
            plan = _planned(data, path, text, whole=all(_top(one.key or "") in _OPEN for one in found))
            break
        except SpecError as error:
            if _is_of_what_was_left_out(error.key, found):
                break
            found.append(error)
            rest = None if error.key is None else _without(data, error.key)
            if rest is None:
                break
            data = rest
    return (None if found else plan), _in_order(found, path, lines)


def _planned(data: dict[str, Any], path: Path, text: str, *, whole: bool) -> Plan | None:
    """Return the plan of a spec's keys; None where too much was left out of them for one.

    Raises:
        SpecError: The first thing that is wrong; what it says of another file is said in words.
    """
    spec = spec_of_keys(data, path, imports=False)
    if not whole:
        return None
    try:
        return make_plan(spec)
    except SpecError as error:
        where = f"{error.file}{f':{error.line}' if error.line else ''}: " if error.file else ""
        raise located(SpecError(f"{where}{error.problem}", key=error.key), path, text) from None


def _in_order(found: Sequence[SpecError], path: Path, lines: dict[str, int]) -> list[SpecError]:
    """Return mistakes with their lines, in their order; a misspelt key explains one that is missing."""
    misspelt = any(one.key is not None and "." not in one.key and _top(one.key) not in _KEYS for one in found)
    told = [one for one in found if not misspelt or one.key is None or _top(one.key) in {_top(key) for key in lines}]
    return sorted((placed(one, path, lines) for one in told), key=lambda one: one.line or 0)


def _is_of_what_was_left_out(key: str | None, found: Sequence[SpecError]) -> bool:
    return key is not None and any(
        one.key is not None and (one.key == key or one.key.startswith((f"{key}.", f"{key}["))) for one in found
    )


def _top(key: str) -> str:
    return re.split(r"[.\[]", key)[0]


def _without(data: dict[str, Any], key: str) -> dict[str, Any] | None:
    """Return the keys without one of them, or without the nearest above it; None where the rest means nothing then."""
    top = _top(key)
    if top in _DECISIVE:
        return None
    if top == "run":
        return data | {"run": _without_target(data.get("run"), key)}
    if top == "param_space" and top not in data:
        return data | {top: {}}
    entry = key.removeprefix(f"{top}.")
    if isinstance(data.get(top), dict) and entry in data[top]:
        return data | {top: {name: value for name, value in data[top].items() if name != entry}}
    if top not in data:
        return None
    kept = {name: value for name, value in data.items() if name != top}
    return kept | {"param_space": {}} if top == "param_space" else kept


def _without_target(run: Any, key: str) -> Any:
    """Return what is to be run, with something that does nothing in the place of what is wrong with it."""
    found = re.match(r"run\[(\d+)\]", key)
    if isinstance(run, list) and found is not None and int(found[1]) < len(run):
        return [_NOTHING if k == int(found[1]) else one for k, one in enumerate(run)]
    return _NOTHING
