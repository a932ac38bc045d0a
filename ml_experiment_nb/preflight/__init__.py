"""Preflight: what is wrong with code that can be known before it runs. Nothing is run, imported or fetched for it.

`reading.py` reads a notebook, a script or a cell; each family of rules is a function of that, which yields findings.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.paths import is_elsewhere, is_spec
from ml_experiment_nb.preflight import commits, ignoring, literals, order, parameters, randomness, reading
from ml_experiment_nb.preflight.findings import RULES, Finding, Findings, sorted_findings
from ml_experiment_nb.preflight.reading import Source

if TYPE_CHECKING:
    from ml_experiment_nb.plans import Plan
    from ml_experiment_nb.targets import Target

__all__ = ["RULES", "TAG", "Finding", "Findings", "check", "check_cell", "check_plan", "told_of_cell"]

TAG = "mlexp.preflight"
"""The tag of an inline run that says what was found in its cell; its card shows it."""

_OF_ONE_CELL = ("overwritten-parameter", "stale-parameter", "absolute-path", "secret")
_OF_CODE = (order, parameters, randomness)


def check(target: str | os.PathLike[str] | Plan, *, ignore: Collection[str] = ()) -> Findings:
    """Look through a notebook, a script, or all that a spec or a plan runs, without running anything.

    Args:
        target: A file (.ipynb, .py, .yaml, .json), or a plan.
        ignore: The rules that are left out.

    Raises:
        SpecError: The file can't be read, its spec is wrong, or `ignore` names no rule.
    """
    for name in ignore:
        if name not in RULES:
            hint = nearest(name, RULES) or f"; the rules are {', '.join(RULES)}"
            raise SpecError(f"{name!r} is no rule{hint}", key="ignore")
    found = _check_file(os.fspath(target)) if isinstance(target, str | os.PathLike) else check_plan(target)
    return Findings(one for one in found if one.rule not in ignore)


def check_plan(plan: Plan, *, known: Collection[str] = (), above: Sequence[str] = ()) -> Findings:
    """Look through what a plan runs.

    Args:
        plan: The plan.
        known: The names that a cell's notebook has.
        above: The texts of the cells that were executed before.
    """
    found: list[Finding] = []
    for target in plan.targets:
        found += _check_target(target, plan, known, above)
    return Findings([*found, *commits.check(_files(plan))])


def check_cell(
    source: str, known: Collection[str] = (), *, above: Sequence[str] = (), seeded: bool = False
) -> Findings:
    """Look through one cell, with its magic.

    Args:
        source: The cell's text.
        known: The names that its notebook has.
        above: The texts of the cells that were executed before: what they import, seed and define counts.
        seeded: Whether the generators are seeded for it.
    """
    before = [reading.read_cell(text, number=0) for text in above]
    postponed = any("annotations" in one.trace.writes and "__future__" in one.source for one in before)
    cell = reading.read_cell(source, postponed=postponed)
    alone = Source((cell,), given=frozenset(known), seeded=seeded)
    whole = replace(alone, cells=(*before, cell))
    found = [*order.check(alone), *literals.check_paths(alone), *literals.check_secrets(alone)]
    found += [one for rule in (parameters, randomness) for one in rule.check(whole) if one.cell is None]
    return sorted_findings(list(ignoring.kept(alone, found)))


def told_of_cell(source: str, known: Collection[str]) -> str:
    """Return what is wrong with a cell that can be told by it alone, in a line; empty where nothing is.

    What it takes the cells above for, such as whether a function there reads a parameter, isn't looked at: a cell that
    is run should not wait for that.
    """
    found = [one for one in check_cell(source, known) if one.rule in _OF_ONE_CELL]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0].text} (line {found[0].line}){more}" if found else ""


def _check_file(file: str) -> Findings:
    suffix = Path(file).suffix.lower()
    if is_spec(file):
        from ml_experiment_nb.planning import make_plan
        from ml_experiment_nb.spec_files import read_spec

        found = check_plan(make_plan(read_spec(file)))
        own = [one for one in commits.check([file]) if one not in found]
        return Findings([*found, *own])
    if suffix == ".ipynb":
        source = reading.read_notebook(file)
    elif suffix == ".py":
        source = reading.read_script(file)
    else:
        raise SpecError("is neither a notebook (.ipynb), a script (.py) nor a spec (.yaml, .json)", file=file)
    return Findings([*_found_in(source), *commits.check([file])])


def _check_target(target: Target, plan: Plan, known: Collection[str], above: Sequence[str]) -> Findings:
    from ml_experiment_nb.specs import Group
    from ml_experiment_nb.targets import Cell, Notebook, Script

    spec = plan.spec
    seeded = spec.seed is not None
    match target:
        case Script():
            return _found_in(reading.read_script(target.path, file=_shown(target.path), seeded=seeded))
        case Notebook() if language := reading.language_of(target.file):
            text = f"is in {language}, and only Python can be looked at"
            return Findings([Finding("syntax", text, "look through it by hand", _shown(target.path))])
        case Notebook():
            space = spec.param_space if isinstance(spec, Group) else {}
            rows = plan.table.names if plan.table is not None else ()
            source = reading.read_notebook(
                target.file, file=_shown(target.path), given={*spec.params, *space, *rows}, seeded=seeded,
                left_out=_left_out(target),
            )  # fmt: skip
            return _found_in(source)
        case Cell():
            magic = "group" if isinstance(spec, Group) else "experiment"
            return check_cell(f"%%{magic}\n{target.source}", {*known, *plan.values}, above=above, seeded=seeded)
    return Findings()


def _left_out(target: Target) -> Collection[str]:
    from ml_experiment_nb.targets import Notebook

    if not isinstance(target, Notebook) or not target.part:
        return ()
    from ml_experiment_nb import notebooks

    nb = notebooks.read_notebook(target.file)
    return notebooks.left_out(nb, target.from_cell, target.until_cell, where=target.name)


def _files(plan: Plan) -> Iterator[str]:
    from ml_experiment_nb.targets import Notebook, Script

    for target in plan.targets:
        if isinstance(target, Script) or (isinstance(target, Notebook) and not target.is_elsewhere):
            yield _shown(target.path)


def _found_in(source: Source) -> Findings:
    found = [one for rule in _OF_CODE for one in rule.check(source)]
    found += [*literals.check_paths(source), *literals.check_secrets(source)]
    return sorted_findings(list(ignoring.kept(source, found)))


def _shown(path: str) -> str:
    """Return a file's path as it is shown: from here, where it lies below."""
    if is_elsewhere(path):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
