"""A run's card under its cell, at once; what only the store knows comes to it a moment later."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ml_experiment_nb import earlier, writing
from ml_experiment_nb.cards import Card, File, card_html, card_text
from ml_experiment_nb.markup import picture_type
from ml_experiment_nb.mlflow_page import address_of
from ml_experiment_nb.projects import find_root
from ml_experiment_nb.records import Record
from ml_experiment_nb.stores import store_uri
from ml_experiment_nb.widgets.badge import badge_of
from ml_experiment_nb.widgets.bundle import bundle

IMAGES, EACH, ALL = 3, 60_000, 100_000  # images that are shown, and the bytes of one and of all of them


class Shown:
    """A card that is shown, and what comes to it later, of any thread."""

    def __init__(self, handle: Any, card: Card) -> None:
        self._handle = handle
        self._card = card
        self._lock = threading.Lock()

    def change(self, **changes: Any) -> None:
        """Show it with other values of its fields."""
        with self._lock:
            self._card = replace(self._card, **changes)
            if self._handle is not None:
                self._handle.update(_bundle(self._card), raw=True)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Show it with more tags of its run."""
        self.change(record=replace(self._card.record, tags={**self._card.record.tags, **tags}))


def show_run(record: Record, folder: Path, kept: Mapping[str, int], *, later: bool) -> Shown:
    """Show a run's card, and return it.

    Args:
        record: The run.
        folder: Where its files are, as long as they are not sent to the store.
        kept: The files that its code has kept, and their bytes.
        later: Whether something may come to the card after the cell's end: where a kernel lives on.
    """
    from IPython.display import display

    root = find_root()
    page = address_of(record.run_id, root, store_uri(root)) if record.run_id else None
    card = Card(record, earlier.remembered(record), earlier.goals, files_of(folder, kept), page)
    handle = display(_bundle(card), raw=True, display_id=later)
    earlier.remember(record)
    shown = Shown(handle, card)
    if later and card.before is None and handle is not None:
        writing.later(lambda: _complete(shown, record, root), "the cell's run before could not be looked up")
    return shown


def show_card(record: Record) -> None:
    """Show the card of a run that was run before."""
    from IPython.display import display

    root = find_root()
    page = address_of(record.run_id, root, store_uri(root)) if record.run_id else None
    display(_bundle(Card(record, page=page)), raw=True)


def files_of(folder: Path, kept: Mapping[str, int]) -> list[File]:
    """Return what a run has kept, with the bytes of images that are few and small."""
    files, images, left = [], 0, ALL
    for name, length in kept.items():
        content = None
        if images < IMAGES and length <= min(EACH, left) and picture_type(name):
            with suppress(OSError):  # they have been sent to the store already
                content = (folder / name).read_bytes()
                images, left = images + 1, left - length
        files.append(File(name, length, content))
    return files


def _complete(shown: Shown, record: Record, root: Path) -> None:
    before = earlier.in_store(record, root)
    if before is not None:
        shown.change(before=before)


def _bundle(card: Card) -> dict[str, Any]:
    about = badge_of(card.record, card.goals)
    return bundle("run", text=card_text(card), html=card_html(card), about=about)
