"""Whether random numbers are seeded, as far as the text tells: a library is known by its import, and never imported.

What a function draws counts as drawn when it is called, of which nothing is known: a seed anywhere will do. Other code
needs one above it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ml_experiment_nb.preflight.findings import Finding
from ml_experiment_nb.preflight.generators import ALL, GENERATORS, HOW, NUMPY, PYTHON, SEEDS, family_of, is_none
from ml_experiment_nb.preflight.reading import CheckedCell, Source
from ml_experiment_nb.scripts import aliases

_LATER = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FIXES = re.compile(r"(?:^|_)(?:fix|set|reset|init|lock|freeze|pin)\w*random(?:ness|_?states?)?$|determin")
_SEED_WORDS: Final = frozenset({"random_state", "seed", "rng", "generator", "random_seed", "seed_generator"})


@dataclass
class _Draw:
    """A place that draws: which generator, what is called, and whether a function does it."""

    cell: CheckedCell
    node: ast.Call
    family: str
    called: str
    in_function: bool
    own: bool = False
    lacks: str = ""


@dataclass
class _Seen:
    """What was seen of a source, in its order."""

    draws: list[_Draw] = field(default_factory=list)
    seeded: set[str] = field(default_factory=set)
    unseeded: list[_Draw] = field(default_factory=list)


def check(source: Source) -> Iterator[Finding]:
    """Yield what draws without a seed: of a cell and a generator that others share the first place alone."""
    if source.seeded:
        return
    seen = _look(source)
    late = [draw for draw in seen.draws if draw.in_function and (draw.own or draw.family not in seen.seeded)]
    told: set[tuple[int, str]] = set()
    for draw in sorted([*seen.unseeded, *late], key=lambda one: (one.cell.number or 0, one.node.lineno)):
        key = (id(draw.cell), draw.family)
        if draw.own or draw.lacks or key not in told:
            yield _finding(source, draw)
        if not (draw.own or draw.lacks):
            told.add(key)


def _look(source: Source) -> _Seen:
    seen = _Seen()
    known: dict[str, str] = {}
    rebound = _rebound(source.cells)
    exempt = {id(node) for _, function, one in source.jobs if _is_seeding_job(one) for node in ast.walk(function)}
    for cell in source.cells:
        for node in cell.nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                known.update(aliases(node))
        if "--seed" in cell.line.split() or "--seed=" in cell.line:
            continue
        later, given_later = _inside_functions(cell), _given_later(cell)
        for call in sorted(_calls(cell), key=lambda one: (one.lineno, one.col_offset)):
            name = _dotted(call.func, known, rebound)
            seen.seeded |= _seeded_by(call, name)
            draw = _draw(cell, call, name, id(call) in later)
            if draw is None or id(call) in exempt or (draw.lacks and id(call) in given_later):
                continue
            if draw.in_function:
                seen.draws.append(draw)
            elif draw.own or draw.family not in seen.seeded:
                seen.unseeded.append(draw)
    return seen


def _calls(cell: CheckedCell) -> Iterator[ast.Call]:
    return (node for node in cell.nodes if isinstance(node, ast.Call))


def _inside_functions(cell: CheckedCell) -> set[int]:
    found: set[int] = set()
    for node in cell.nodes:
        if isinstance(node, _LATER):
            body = node.body if isinstance(node.body, list) else [node.body]
            found |= {id(inner) for statement in body for inner in ast.walk(statement)}
    return found


def _given_later(cell: CheckedCell) -> set[int]:
    """Return the ids of what ``set_params`` gives a `random_state`: the call that it stands on, or what it names."""
    found: set[int] = set()
    made: dict[str, ast.expr] = {}
    for node in sorted(cell.nodes, key=lambda one: getattr(one, "end_lineno", None) or 0):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                made[name] = value
            case ast.Call(func=ast.Attribute(value=owner, attr="set_params"), keywords=keywords):
                words = [one for one in keywords if (one.arg or "random_state").endswith("random_state")]  # ** may
                model = made.get(owner.id) if isinstance(owner, ast.Name) else owner
                if model is not None and any(not is_none(one.value) for one in words):
                    found |= {id(inner) for inner in ast.walk(model)}
    return found


def _is_seeding_job(decorator: ast.expr) -> bool:
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    return any(one.arg == "seed" and not is_none(one.value) for one in keywords)


def _rebound(cells: Sequence[CheckedCell]) -> set[str]:
    """Return the names that are bound otherwise than by an import, anywhere: what they stand for is not known."""
    found: set[str] = set()
    for cell in cells:
        for node in cell.nodes:
            match node:
                case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                    found.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
    return found


def _dotted(node: ast.expr, known: Mapping[str, str], rebound: set[str]) -> str:
    """Return what is called, by its module: ``numpy.random.rand`` for ``np.random.rand``; empty if unknown."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id in rebound:
        return ""
    return ".".join([known.get(node.id, f"?{node.id}"), *words])


def _seeded_by(call: ast.Call, name: str) -> frozenset[str]:
    given = [*call.args, *(one.value for one in call.keywords)]
    if given and all(map(is_none, given)):
        return frozenset()
    if name in SEEDS:
        return SEEDS[name] if given else frozenset()
    # Whatever a function of the user's or of another library seeds is taken for all: it says so by its name.
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    words = called.lower()
    fixes = any(isinstance(one, ast.Constant) and type(one.value) is int for one in given) and _FIXES.search(words)
    return ALL if fixes or ("seed" in words and words != "seed") else frozenset()


def _draw(cell: CheckedCell, call: ast.Call, name: str, in_function: bool) -> _Draw | None:
    module, _, last = name.rpartition(".")
    if any(one.arg is None for one in call.keywords) or not module or name.startswith("?"):
        return None  # ** may give a seed
    seed = next((one.value for one in call.keywords if one.arg in _SEED_WORDS), None)
    if name in GENERATORS:
        first = seed if seed is not None else call.args[0] if call.args else None
        entropy = next((one.value for one in call.keywords if one.arg in ("entropy", "x")), None)
        unseeded = (first is None or is_none(first)) and entropy is None
        if not unseeded or (last == "SeedSequence" and call.args):
            return None
        shared = name.startswith("sklearn.")  # NumPy's global one
        return _Draw(cell, call, NUMPY if module != "random" else PYTHON, last, in_function, own=not shared)
    if seed is not None and not is_none(seed):
        return None
    family = family_of(module, last, call)
    if not family:
        return None
    lacks = "random_state" if module.startswith("sklearn") else ""
    return _Draw(cell, call, family, name if not lacks else last, in_function, lacks=lacks)


def _finding(source: Source, draw: _Draw) -> Finding:
    ours = "" if source.is_script or draw.cell.magic not in ("experiment", "group") else ", or run it with --seed 1"
    if draw.own:
        text = f"{draw.called}() is given no seed: it draws other numbers each time"
        advice = f"give it one, such as {draw.called}(1){ours}"
    elif draw.lacks:
        text = f"{draw.called}() is given no {draw.lacks}: it draws other numbers each time"
        advice = f"give it {draw.lacks}=1, or call {HOW[draw.family]} above{ours}"
    else:
        text = f"{draw.called}() draws from {draw.family}'s global generator, and nothing above seeds it"
        if draw.in_function:
            text = f"{draw.called}() draws from {draw.family}'s global generator, and nothing seeds it"
        advice = f"call {HOW[draw.family]} first{ours}"
    cell = draw.cell
    line, last = cell.line_of(draw.node), cell.last_line_of(draw.node)
    return Finding("unseeded", text, advice, source.file, cell.number, cell.id, line, last)
