"""The notebooks of runs as pages: made for the runs that people look at, beside the notebook that was executed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ml_experiment_nb.capture.page import page, without_page
from ml_experiment_nb.records import Record
from ml_experiment_nb.stores import translated
from ml_experiment_nb.tracking import Store


def add_pages(store: Store, record: Record) -> list[str]:
    """Have each notebook among a run's artifacts be a page, too, and return the pages' paths below the artifacts.

    A page that is there already is left as it is.

    Raises:
        StoreError: The store can't be read or written.
    """
    found: list[str] = []
    there = store.artifacts(record)
    for path in there:
        wanted = PurePosixPath(path).with_suffix(".html")
        if not path.endswith(".ipynb") or path.startswith("record/source/"):
            continue
        if str(wanted) not in there:
            text = store.text(record, path)
            if text is None or (made := _page(text, wanted.stem)) is None:
                continue
            with translated(store.uri), tempfile.TemporaryDirectory() as folder:
                file = Path(folder, wanted.name)
                file.write_text(made, encoding="utf-8", errors="backslashreplace")
                above = str(wanted.parent)
                store.client.log_artifact(str(record.run_id), str(file), None if above == "." else above)
        found.append(str(wanted))
    return found


def add_page_of_best(store: Store, best: Record | None) -> Iterable[str]:
    """Make the pages of a group's best trial, and yield a sentence if that can't be done."""
    if best is None:
        return
    try:
        add_pages(store, best)
    except Exception as error:  # the group's run is still to be closed
        yield without_page(f"the notebook of {best.name}", error)


def _page(text: str, title: str) -> str | None:
    try:
        return page(text, title)
    except ValueError:  # it only has a notebook's name
        return None
