"""The session of a notebook in which a run took place inline: its executed cells, and those that the run depends on.

Both are kept as notebooks that run from top to bottom: ``record/session.ipynb`` has the cells in the order in which
they were executed, up to the run's own, and ``record/slice.ipynb`` those among them that the run's own depends on.
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
import tokenize
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_experiment_nb.capture.notebook import this_notebook
from ml_experiment_nb.ipynb import code_cells, joined
from ml_experiment_nb.magic_lines import OF_OURS
from ml_experiment_nb.proofs import Ran, Saved, changed_cells

if TYPE_CHECKING:
    from ml_experiment_nb.effects import Executed

SESSION, SLICE = "session.ipynb", "slice.ipynb"
_METADATA = "ml_experiment_nb"  # the key of what is ours in a notebook's metadata
_MOST_CELLS = 2000
_MOST_BYTES = 5_000_000
_NOT_AGAIN = re.compile(r"\s--(?:prove\b|needed\b|notify(?:=|\s+)(?:'[^']*'|\"[^\"]*\"|\S+))")
_SHOWN = 5  # problems that a note tells
_LOADS = re.compile(r"^\s*%(?:load_ext|reload_ext)\s+ml_experiment_nb\b", re.MULTILINE)
_ENDS = re.compile(r"\s*(?:%debug|%pdb|%tb|exit|quit|exit\(\)|quit\(\)|%reset)\b[^\n]*\s*")
_NOTHING_DONE = frozenset({"KeyboardInterrupt", "SyntaxError", "IndentationError"})

_failures: weakref.WeakKeyDictionary[Any, dict[int, str]] = weakref.WeakKeyDictionary()
_times: weakref.WeakKeyDictionary[Any, dict[int, float]] = weakref.WeakKeyDictionary()
_ids: weakref.WeakKeyDictionary[Any, dict[int, str]] = weakref.WeakKeyDictionary()
"""The ids of the cells that were executed in a shell, by their numbers, where the front end says them."""


_kept: dict[str, Any] = {}  # what was made of the cell that was executed last


def watch(shell: Any) -> None:
    """Note from now on which cells of a shell fail, and with what."""
    if shell in _failures:
        return
    failed = _failures[shell] = {}

    ids, times = _ids.setdefault(shell, {}), _times.setdefault(shell, {})

    def note(result: Any) -> None:
        if result.execution_count is not None:
            times[result.execution_count] = time.time()
        if result.execution_count is not None and (cell := _cell_id(shell)) is not None:
            ids[result.execution_count] = cell
        error = result.error_before_exec or result.error_in_exec
        if error is not None and result.execution_count is not None:
            failed[result.execution_count] = type(error).__name__

    shell.events.register("post_run_cell", note)


def failures(shell: Any) -> dict[int, str]:
    """Return which of a shell's executed cells failed, by their numbers, and the names of their errors."""
    kept = getattr(shell.history_manager, "exceptions", None) or {}  # IPython keeps them too, since 9
    return {number: str(one.get("ename", "Exception")) for number, one in kept.items()} | dict(_failures.get(shell, {}))


def _cell_id(shell: Any) -> str | None:
    kernel = getattr(shell, "kernel", None)
    return None if kernel is None else kernel.get_parent("shell").get("metadata", {}).get("cellId")


def edited_since(needed: Iterable[Executed], cells: Sequence[Executed], ids: Mapping[int, str]) -> list[str]:
    """Return which executed cells stand in the notebook with another text by now, each in a few words.

    Args:
        needed: The cells that are asked about.
        cells: All that were executed, in their order.
        ids: Their ids, as far as they are known: a cell that was executed again has the same one.
    """
    latest = {ids[one.number]: one for one in cells if one.number in ids}
    return [
        f"In [{one.number}] was edited since, as In [{latest[ids[one.number]].number}]"
        for one in needed
        if one.number in ids and latest[ids[one.number]].source != one.source
    ]


def executed_cells(shell: Any) -> list[Executed]:
    """Return the cells that were executed in a shell, in their order; the one that runs now is the last."""
    from ml_experiment_nb.effects import Executed

    failed = failures(shell)
    texts = list(shell.history_manager.input_hist_raw)
    return [Executed(number, text, number in failed) for number, text in enumerate(texts) if text.strip()]


@dataclass(frozen=True)
class Sliced:
    """What a run of the present cell depends on.

    Attributes:
        text: Its cells as a notebook, the run's own last.
        ran: The same, as they were run.
        problems: What can't be traced to any cell that was executed.
    """

    text: str
    ran: tuple[Ran, ...]
    problems: tuple[str, ...]


def sliced(shell: Any) -> Sliced | None:
    """Return what the run depends on whose session was kept last; None where it was not kept."""
    if _kept.get("shell") != id(shell):
        return None
    *before, own = _ran(shell)
    now = replace(own, cell=_cell_id(shell), ended=time.time())  # it is being executed
    return Sliced(_kept["texts"][1], (*before, now), tuple(_kept["problems"]))


def _ran(shell: Any) -> list[Ran]:
    """Return the cells that the run depends on whose session was kept last."""
    ids, times = _ids.get(shell, {}), _times.get(shell, {})
    return [Ran(one.number, one.source, ids.get(one.number), times.get(one.number)) for one in _kept["cells"]]


def keep_session(save: Callable[[str, str], None], note: Callable[[str], None]) -> None:
    """Keep the session of this process's notebook with a run that its present cell makes; nothing outside of one.

    Args:
        save: Takes a file's name and text.
        note: Takes what the record should say.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, "history_manager", None) is None:
        return
    _kept.pop("shell", None)
    try:
        if cells := executed_cells(shell):
            _keep(shell, cells, save, note)
    except Exception as error:  # the cell's run is still to be recorded
        note(f"the session could not be kept: {type(error).__name__}: {error}")


def _keep(shell: Any, cells: Sequence[Executed], save: Callable[[str, str], None], note: Callable[[str], None]) -> None:
    from ml_experiment_nb.lineage import dependencies

    *history, last = cells
    failed = failures(shell)
    size = sum(len(one.source) for one in cells)
    if len(cells) > _MOST_CELLS or size > _MOST_BYTES:
        note(f"the session is not kept: it has {len(cells):,} cells of {size:,} characters")
        return
    key = (id(shell), last.number, size, tuple(failed))
    if _kept.get("key") != key:  # a cell may call a job many times
        found = dependencies(last, history, shell.user_ns)
        cut = [*found.cells, last]
        texts = as_notebook(cells, failed, _folder(shell, cells)), as_notebook(cut, failed, _folder(shell, cut))
        problems = (*found.problems, *edited_since(found.cells, history, _ids.get(shell, {})))
        _kept.update(key=key, texts=texts, problems=problems, cells=(*found.cells, last))
    _kept["shell"] = id(shell)
    told = [*_kept["problems"], *_changed(shell)]
    for name, text in zip((SESSION, SLICE), _kept["texts"], strict=True):
        save(name, text)
    if told:
        more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        note(f"the session has hidden state, which its cells alone don't give: {'; '.join(told[:_SHOWN])}{more}")


def _changed(shell: Any) -> list[str]:
    """Return which cells that the run depends on are not in the notebook's file any more as they were run."""
    path = this_notebook()
    saved = None if path is None else saved_notebook(path)
    if saved is None:
        return []
    known = " ".join(_kept["problems"])
    return [
        one.text
        for one in changed_cells(_ran(shell)[:-1], saved)
        if not any(f"In [{number}] was edited since" in known for number in one.cells)
    ]


def saved_notebook(path: Path) -> Saved | None:
    """Return the code cells of a notebook's file; None where it can't be read."""
    try:
        return _saved(path, path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=2)
def _saved(path: Path, at: float) -> Saved:
    cells = code_cells(path.read_text(encoding="utf-8"))
    return Saved([(str(one.get("id", k)), joined(one["source"])) for k, one in enumerate(cells)], at)


def _folder(shell: Any, cells: Sequence[Executed]) -> str | None:
    """Return the folder that a shell has begun in, where cells change it; else they are in that of now."""
    from ml_experiment_nb.lineage import CHANGES_FOLDER

    changed = any(CHANGES_FOLDER.search(one.source) for one in cells)
    return getattr(shell, "starting_dir", None) if changed else None


def started_in(text: str) -> str | None:
    """Return the folder that a session's notebook has to begin in, as its cells change it; None for that of its run."""
    try:
        found = json.loads(text)["metadata"][_METADATA]["started_in"]
    except (ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, str) else None


def as_notebook(cells: Sequence[Executed], failed: dict[int, str], folder: str | None = None) -> str:
    """Return executed cells as a notebook's text; the last one is the run's own, and `started_in` reads the folder.

    A cell that failed stands in a ``try``, so that running the notebook goes on after it, as the session did. What was
    interrupted, was no Python, or would end the session is tagged to be skipped.
    """
    made = []
    if any(OF_OURS.match(one.source) for one in cells) and not _is_loaded(cells):
        made.append(_cell("extension", "%load_ext ml_experiment_nb", None, []))
    for one in cells[:-1]:
        error = failed.get(one.number)
        skipped = error in _NOTHING_DONE or _ENDS.fullmatch(one.source) is not None
        tags = ["skip-execution"] if skipped else ["raises-exception"] if error is not None else []
        source = one.source if skipped or error is None else _tried(one.source, error)
        made.append(_cell(f"in-{one.number}", source, one.number, tags))
    made.append(_cell(f"in-{cells[-1].number}", cells[-1].source, cells[-1].number, []))
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata: dict[str, Any] = {"kernelspec": spec, "language_info": {"name": "python"}}
    metadata |= {_METADATA: {"started_in": folder}} if folder is not None else {}
    lines = ",\n".join(json.dumps(cell, ensure_ascii=False) for cell in made)  # ten times as quick as with an indent
    return f'{{"cells": [\n{lines}\n],\n"metadata": {json.dumps(metadata)}, "nbformat": 4, "nbformat_minor": 5}}\n'


def as_repeated(slice_text: str) -> str:
    """Return a slice's notebook as it is run again: its cells are run, nobody is told of it, and nothing is proven."""
    notebook = json.loads(slice_text)
    for cell in notebook["cells"]:
        source = joined(cell["source"])
        if found := OF_OURS.match(source):
            line, newline, body = source[found.end() :].partition("\n")
            cell["source"] = [found[0].lstrip() + _NOT_AGAIN.sub("", line) + newline + body]
    return json.dumps(notebook)


def as_proven(slice_text: str, guard: str) -> str:
    """Return a slice's notebook as it is run for a proof: nobody is told of it, it is proven no further.

    Args:
        slice_text: The notebook.
        guard: The code of a first cell, which keeps the user's files from being written.
    """
    notebook = json.loads(as_repeated(slice_text))
    notebook["cells"].insert(0, _cell("guard", guard, None, []))
    return json.dumps(notebook)


def _tried(source: str, error: str) -> str:
    """Return a cell that does what it did before it failed; as it is, where it can't be put into a ``try``.

    papermill gives a notebook up that shows an error, whatever its cells' tags say.
    """
    if source.lstrip().startswith("%%"):
        return source
    lines = source.splitlines()
    within: set[int] = set()  # lines of a text, which an indent would change
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
                within |= set(range(token.start[0] + 1, token.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        return source
    body = [line if k in within or not line.strip() else f"    {line}" for k, line in enumerate(lines, start=1)]
    head = [f"# this cell failed with {error}, and the session went on", "try:"]
    return "\n".join([*head, *body, "except Exception:", "    __import__('traceback').print_exc(limit=0)"])


def _is_loaded(cells: Iterable[Executed]) -> bool:
    """Return whether the extension is loaded before the first cell that has a magic of ours."""
    for one in cells:
        if OF_OURS.match(one.source):
            return False
        if _LOADS.search(one.source):
            return True
    return False


def _cell(name: str, source: str, number: int | None, tags: list[str]) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": {"tags": tags} if tags else {},
        "execution_count": number,
        "source": source.splitlines(keepends=True),
        "outputs": [],
    }
