"""Two versions of a text, or of a notebook cell by cell, laid side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from typing import Any

from ml_experiment_nb.ipynb import joined

CONTEXT = 2  # lines that are the same, around those that aren't
_ALIKE = 0.5  # of their lines and words, that two cells are versions of one another
_PAPERMILLS = {"papermill-error-cell-tag", "injected-parameters"}  # the tags of cells that it writes
_MANY = 200  # cells in a row that were replaced by others: their likeness is not worth the time


@dataclass(frozen=True)
class Hunk:
    """A piece of text that differs.

    Attributes:
        name: Where it is: a file's name, with a notebook's cell.
        lines: Its lines, each with ``-``, ``+`` or a blank before it.
    """

    name: str
    lines: tuple[str, ...]


def text_hunks(name: str, a: str | None, b: str | None) -> list[Hunk]:
    """Return where two versions of a file differ; None stands for one that isn't there."""
    if a == b:
        return []
    where = name if a is not None and b is not None else f"{name} ({'added' if a is None else 'removed'})"
    if is_notebook(name):
        first, second = ([] if one is None else code_of(one) for one in (a, b))
        if first is not None and second is not None:
            return cell_hunks(name, first, second)
    lines = tuple(_lines((a or "").splitlines(), (b or "").splitlines()))
    return [Hunk(where, lines or (" (they differ in the ends of their lines alone)",))]


def cell_hunks(name: str, a: Sequence[str], b: Sequence[str]) -> list[Hunk]:
    """Return where two lists of cells differ, those that are versions of one another side by side.

    Cells are numbered from 1 as they stand in `b`, those that were removed as they stood in `a`.
    """
    hunks = []
    for i, j in _pairs(a, b):
        if i is None and j is not None:
            hunks.append(Hunk(f"{name}, cell {j + 1} (added)", tuple(f"+{line}" for line in b[j].splitlines())))
        elif j is None and i is not None:
            hunks.append(Hunk(f"{name}, cell {i + 1} (removed)", tuple(f"-{line}" for line in a[i].splitlines())))
        elif i is not None and j is not None and a[i] != b[j]:
            moved = f" (it was cell {i + 1})" if i != j else ""
            hunks.append(Hunk(f"{name}, cell {j + 1}{moved}", tuple(_lines(a[i].splitlines(), b[j].splitlines()))))
    return hunks


def is_notebook(name: str) -> bool:
    """Whether a file is a notebook, by its name."""
    return name.endswith(".ipynb")


def code_of(text: str) -> list[str] | None:
    """Return the source of a notebook's cells; None where the text is no notebook."""
    return _sources(_cells(text))


def outputs_of(text: str) -> list[str] | None:
    """Return what each of a notebook's own cells has shown, as text; pictures and the like by what they are."""
    cells = _own_cells(text)
    if cells is None:
        return None
    return ["\n".join(_shown(output) for output in cell.get("outputs", ())) for cell in cells]


def output_hunks(name: str, a: str, b: str) -> list[Hunk]:
    """Return where the outputs of two executed notebooks differ, cell by cell as their sources belong together."""
    sources = _own_code(a), _own_code(b)
    outputs = outputs_of(a), outputs_of(b)
    if sources[0] is None or sources[1] is None or outputs[0] is None or outputs[1] is None:
        return []
    hunks = []
    for i, j in _pairs(sources[0], sources[1]):
        if i is not None and j is not None and outputs[0][i] != outputs[1][j]:
            lines = _lines(outputs[0][i].splitlines(), outputs[1][j].splitlines())
            hunks.append(Hunk(f"{name}, cell {j + 1}", tuple(lines)))
    return hunks


def _cells(text: str) -> list[dict[str, Any]] | None:
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, TypeError, KeyError):
        return None
    return [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else None


def _own_cells(text: str) -> list[dict[str, Any]] | None:
    """Return the cells of an executed notebook that are the user's, who hasn't got papermill's to count."""
    cells = _cells(text)
    return None if cells is None else [cell for cell in cells if not _tags(cell) & _PAPERMILLS]


def _own_code(text: str) -> list[str] | None:
    return _sources(_own_cells(text))


def _sources(cells: Sequence[Mapping[str, Any]] | None) -> list[str] | None:
    return None if cells is None else [joined(cell.get("source", "")) for cell in cells]


def _tags(cell: Mapping[str, Any]) -> set[str]:
    tags = (cell.get("metadata") or {}).get("tags", ())
    return set(map(str, tags)) if isinstance(tags, list) else set()


def _shown(output: Mapping[str, Any]) -> str:
    match output.get("output_type"):
        case "stream":
            return joined(output.get("text", "")).rstrip("\n")
        case "error":
            return f"{output.get('ename')}: {output.get('evalue')}"
    data = output.get("data", {})
    others = [f"<{kind}, {_mark(data[kind])}>" for kind in sorted(data) if kind.startswith(("image/", "application/"))]
    return "\n".join([joined(data.get("text/plain", "")), *others]).strip("\n")


def _mark(value: Any) -> str:
    """Return what tells a picture from another one."""
    from hashlib import sha256

    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _lines(a: Sequence[str], b: Sequence[str]) -> Iterator[str]:
    for k, line in enumerate(unified_diff(a, b, lineterm="", n=CONTEXT)):
        if k < 2:
            continue  # the names of the files
        if not line.startswith("@@"):
            yield line
        elif k > 2:
            yield " …"


def _pairs(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int | None, int | None]]:
    """Give each cell its other version, in the order of `b`; None where there is no such."""
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(range(i1, i2), range(j1, j2), strict=True)
        else:
            yield from _matched(a, b, range(i1, i2), range(j1, j2))


def _matched(
    a: Sequence[str], b: Sequence[str], first: Sequence[int], second: Sequence[int]
) -> Iterator[tuple[int | None, int | None]]:
    """Match cells of a block that was replaced, in their order, by how much of them is alike."""
    left = list(first)
    for j in second:
        best = None
        if len(first) * len(second) <= _MANY**2 / 4:
            alike = [(_likeness(a[i], b[j]), -i) for i in left]
            best = max((one for one in alike if one[0] >= _ALIKE), default=None)
        if best is None:
            yield None, j
            continue
        while left and left[0] != -best[1]:
            yield left.pop(0), None
        yield left.pop(0), j
    for i in left:
        yield i, None


def _likeness(a: str, b: str) -> float:
    matcher = SequenceMatcher(None, a.split(), b.split(), autojunk=False)
    if matcher.real_quick_ratio() < _ALIKE or matcher.quick_ratio() < _ALIKE:
        lines = SequenceMatcher(None, a, b, autojunk=False)
        return lines.ratio() if len(a) + len(b) < 400 and lines.quick_ratio() >= _ALIKE else 0.0
    return max(matcher.ratio(), SequenceMatcher(None, a, b).ratio() if len(a) + len(b) < 400 else 0.0)
