"""What code shows, as files of its run: a figure, a table, whatever a notebook has a picture for."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_experiment_nb.capture.artifacts import save_artifact

FOLDER = "figures"
MOST = 100  # things of one run that are kept
MOST_BYTES = 50_000_000  # of one run
SECONDS = 2.0  # that one run may take to write what was not drawn to be shown anyway
PAGES = 5  # Plotly figures of one run that also become pages, which take 5 MB each
CELLS = 100_000  # of a data frame that is kept whole; of a larger one what is shown
POINTS = 20_000  # of a Matplotlib figure that is also kept as a drawing, whose size grows with them

PLOTLY = "application/vnd.plotly.v1+json"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_OUR_OWN = "application/vnd.ml-experiment-nb.v1+json"
_SUFFIXES = {
    "image/svg+xml": ".svg",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "application/pdf": ".pdf",
    "text/html": ".html",
    "text/latex": ".tex",
    "text/markdown": ".md",
    "application/json": ".json",
}
_PICTURES = tuple(list(_SUFFIXES)[:6])
_PAGE = '<!doctype html>\n<meta charset="utf-8">\n'


@dataclass
class _Shown:
    """One thing that was shown: what its files are called, and what they take."""

    name: str
    files: list[Path] = field(default_factory=list)
    size: int = 0


class Gallery:
    """Keeps what is shown as ``figures/1.png``, ``figures/2.csv`` …, numbered as it is shown.

    ======================  =====================================================================
    what is shown           what is kept
    ======================  =====================================================================
    Matplotlib figure       what is seen (``.png``) and, with few points, a drawing (``.svg``)
    Plotly figure           ``.json``, which ``plotly.io.read_json`` reads; not in a trial also a
                            page that works offline (``.html``)
    pandas DataFrame        ``.csv``; of a large one what is seen (``.html``)
    anything else           its pictures, or the richest of its other forms; not mere text
    ======================  =====================================================================

    What is kept is bounded in number, bytes and time: see the constants above.

    Args:
        folder: The folder of the run's artifacts.
        note: Is told what is left out, each thing once.
        is_trial: Whether the run is one of many.
    """

    def __init__(self, folder: Path, note: Callable[[str], None], *, is_trial: bool = False) -> None:
        self._folder = folder
        self._note = note
        self._is_trial = is_trial
        self._shown: list[_Shown] = []
        self._by_id: dict[str, _Shown] = {}
        self._in_cell = 0
        self._is_to_clear = False
        self._seconds = SECONDS
        self._pages = PAGES
        self._seen: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
        self._told: set[str] = set()

    def take(
        self, value: Any, bundle: Mapping[str, Any], *, display_id: str | None = None, update: bool = False
    ) -> None:
        """Keep something that is shown.

        Args:
            value: The object itself; None where it isn't known.
            bundle: Its forms by MIME type.
            display_id: What the same thing is updated by.
            update: Whether it takes the place of what had that id.
        """
        with self._lock:
            if self._is_to_clear:
                self._clear()
            if not _is_worth_keeping(value, bundle):
                return
            shown = self._by_id.get(display_id or "") if update else None
            if kind(value) == "figure":
                shown = self._figure(value, _bytes(bundle.get("image/png")), shown)
            elif (shown := self._emptied(shown)) is None:
                return
            elif PLOTLY in bundle or kind(value) == "plotly":
                self._plotly(shown, bundle.get(PLOTLY, value))
            else:
                self._others(shown, value, bundle)
            if display_id is not None and shown is not None:
                self._by_id[display_id] = shown

    def figure(self, value: Any) -> None:
        """Keep a Matplotlib figure, unless it looks as it did when it was kept before."""
        with self._lock:
            self._figure(value, None, None)

    def plotly(self, figure: Any) -> None:
        """Keep a Plotly figure, or its JSON."""
        with self._lock:
            if (shown := self._next()) is not None:
                self._plotly(shown, figure)

    def fail(self, error: Exception) -> None:
        """Note that something couldn't be kept."""
        self._tell(f"something that was shown is not in {FOLDER}/: {type(error).__name__}: {error}")

    def begin_cell(self) -> None:
        """Say that a cell begins: what is cleared from now on is its own."""
        self._in_cell, self._is_to_clear = len(self._shown), False

    def clear(self, *, wait: bool) -> None:
        """Forget what the cell has shown so far, at once or when it shows something else."""
        with self._lock:
            self._is_to_clear = wait
            if not wait:
                self._clear()

    def _clear(self) -> None:
        self._is_to_clear = False
        for shown in self._shown[self._in_cell :]:
            self._drop_files(shown)
        del self._shown[self._in_cell :]
        self._by_id = {name: shown for name, shown in self._by_id.items() if shown in self._shown}
        self._seen.clear()

    def _figure(self, value: Any, png: bytes | None, shown: _Shown | None) -> _Shown | None:
        """Keep a figure; `png` is what is seen of it, where it has been drawn already, `shown` what it replaces."""
        if png is None:
            png = self._timed(lambda: _drawn(value), b"")
        digest = hashlib.sha256(png or b"").hexdigest()
        if not png or self._seen.get(value) == digest or (shown := self._emptied(shown)) is None:
            return shown
        self._seen[value] = digest
        self._write(shown, ".png", png)
        if _points(value) <= POINTS:
            drawing = shown
            self._timed(lambda: self._save(drawing, value, ".svg"), None)
        return shown

    def _emptied(self, shown: _Shown | None) -> _Shown | None:
        """Return what was shown before without its files, or the next thing to keep."""
        if shown is None:
            return self._next()
        self._drop_files(shown)
        return shown

    def _next(self) -> _Shown | None:
        """Return the next thing to keep; None when there are too many."""
        if len(self._shown) >= MOST:
            self._tell(f"more than {MOST} things were shown: {FOLDER}/ has the first ones")
            return None
        number = int(self._shown[-1].name) + 1 if self._shown else 1
        while any((self._folder / FOLDER).glob(f"{number}.*")):  # of the step before, or the user's own
            number += 1
        self._shown.append(_Shown(str(number)))
        return self._shown[-1]

    def _plotly(self, shown: _Shown, figure: Any) -> None:
        plotly: Any = sys.modules.get("plotly.io")
        if plotly is None:
            self._write(shown, ".json", json.dumps(figure).encode())
            return
        self._write(shown, ".json", str(plotly.to_json(figure, validate=False)).encode())
        if not self._is_trial and self._pages > 0:
            self._pages -= 1
            page = plotly.to_html(figure, include_plotlyjs=True, include_mathjax=False, validate=False)
            self._write(shown, ".html", page.encode())

    def _others(self, shown: _Shown, value: Any, bundle: Mapping[str, Any]) -> None:
        if kind(value) == "frame" and value.size <= CELLS:
            self._timed(lambda: self._save(shown, value, ".csv"), None)
            if shown.files:
                return
        for suffix, data in _forms(bundle):
            self._write(shown, suffix, data)

    def _save(self, shown: _Shown, value: Any, suffix: str) -> None:
        path = save_artifact(value, f"{FOLDER}/{shown.name}{suffix}", self._folder)
        size = path.stat().st_size
        if not self._has_room(size):
            path.unlink()
            return
        shown.files.append(path)
        shown.size += size

    def _write(self, shown: _Shown, suffix: str, data: bytes) -> None:
        if not self._has_room(len(data)):
            return
        path = self._folder / FOLDER / f"{shown.name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        shown.files.append(path)
        shown.size += len(data)

    def _has_room(self, size: int) -> bool:
        if sum(one.size for one in self._shown) + size <= MOST_BYTES:
            return True
        self._tell(f"what was shown takes more than {MOST_BYTES // 10**6} MB: {FOLDER}/ doesn't have all of it")
        return False

    def _drop_files(self, shown: _Shown) -> None:
        for path in shown.files:
            path.unlink(missing_ok=True)
        shown.files, shown.size = [], 0

    def _timed(self, write: Callable[[], Any], otherwise: Any) -> Any:
        """Do what takes time, as long as there is some left."""
        if self._seconds <= 0:
            self._tell(f"drawing what was shown took more than {SECONDS:g} s: {FOLDER}/ doesn't have all of its forms")
            return otherwise
        began = time.perf_counter()
        try:
            return write()
        finally:
            self._seconds -= time.perf_counter() - began

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._note(text)


_KINDS = {
    ("matplotlib", "Figure"): "figure",
    ("plotly", "BaseFigure"): "plotly",
    ("pandas", "DataFrame"): "frame",
}


def kind(value: Any) -> str | None:
    """Return ``figure``, ``plotly`` or ``frame``; None for anything else. Told by the class's name."""
    for one in type(value).__mro__:
        if found := _KINDS.get((one.__module__.partition(".")[0], one.__name__)):
            return found
    return None


def _is_worth_keeping(value: Any, bundle: Mapping[str, Any]) -> bool:
    if kind(value) is not None or PLOTLY in bundle:
        return True
    if (
        _WIDGET in bundle
        or _OUR_OWN in bundle
        or type(value).__module__.partition(".")[0] == __name__.partition(".")[0]
    ):
        return False  # a slider or a bar that nobody can move any more; our own records and views
    page = bundle.get("text/html")
    return any(True for _ in _forms(bundle)) and not (isinstance(page, str) and page.startswith("<progress"))


def _forms(bundle: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield the suffix and the content of each picture in a bundle; without one, of the richest other form."""
    pictures = [mime for mime in _PICTURES if mime in bundle]
    others = [mime for mime in bundle if mime.endswith("+json") and mime != _WIDGET and mime not in pictures]
    others += [mime for mime in _SUFFIXES if mime in bundle]
    for mime in pictures or others[:1]:
        data = bundle[mime]
        if mime.endswith("json"):
            yield ".json", (data if isinstance(data, str) else json.dumps(data, default=str)).encode()
        elif mime == "text/html":
            yield ".html", f"{_PAGE}{data}".encode(errors="backslashreplace")
        elif (found := _bytes(data, is_text=mime == "image/svg+xml" or mime.startswith("text/"))) is not None:
            yield _SUFFIXES[mime], found


def _bytes(data: Any, *, is_text: bool = False) -> bytes | None:
    """Return the content of a form: text, bytes, or bytes as base64."""
    if isinstance(data, str):
        return data.encode(errors="backslashreplace") if is_text else base64.b64decode(data)
    return data if isinstance(data, bytes) else None


def _drawn(figure: Any) -> bytes:
    from io import BytesIO

    file = BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


def _points(figure: Any) -> int:
    """Return about how many points a figure has to draw."""
    count = 0
    for axes in figure.axes:
        count += sum(len(line.get_xdata(orig=False)) for line in axes.lines)
        count += sum(max(len(one.get_offsets()), len(one.get_paths())) for one in axes.collections)
        count += len(axes.patches)
    return count
