"""What is known of a run, read from the store for a comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from ml_experiment_nb.archive import Archive
from ml_experiment_nb.comparison.differences import Evidence
from ml_experiment_nb.comparison.texts import is_notebook
from ml_experiment_nb.entries import key_of
from ml_experiment_nb.readings import Point, id_of
from ml_experiment_nb.records import Record, size

LARGEST = 50_000_000  # bytes of a file that is read to see whether it is the same
ALL_OF_THEM = 500_000_000  # bytes of all of these
_LARGEST_PAGE = 5_000_000  # bytes of an HTML file that is read without the ids in it
_MADE_ANEW = re.compile(r"\bid-\d+\b|\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")  # scikit-learn's, and UUIDs
_OURS = "record/"
_SOURCE = "record/source/"


def read_both(store: Archive, a: str | Record, b: str | Record) -> tuple[Evidence, Evidence]:
    """Read what is known of two runs; of their files, no more than is needed to tell them apart.

    Raises:
        RunNotFoundError: There is no such run, or more than one.
        StoreError: The store can't be reached.
    """
    records = [_record(store, one) for one in (a, b)]
    lists = [store.files(record) for record in records]
    doubtful = _doubtful(*lists)
    pages = _same_pages(store, records, lists)
    return (
        _evidence(store, records[0], lists[0], lists[1], doubtful, pages),
        _evidence(store, records[1], lists[1], lists[0], doubtful, pages),
    )


def curve(store: Archive, record: Record, metric: str) -> list[Point]:
    """Return what a run has reported of a metric, in the order of its steps.

    Raises:
        StoreError: The store can't be reached.
    """
    return store.history(record, key_of(metric))


def _record(store: Archive, run: str | Record) -> Record:
    """Return a run as the store has it: all that is compared is text then."""
    return store.record(id_of(run))


def _doubtful(a: Mapping[str, int], b: Mapping[str, int]) -> set[str]:
    """Return the files that may be the same: those of the same size, as far as they are to be read for that."""
    found, rest = set(), ALL_OF_THEM
    for path, amount in a.items():
        if b.get(path) == amount <= min(LARGEST, rest):
            found.add(path)
            rest -= amount
    return found


def _same_pages(store: Archive, records: Sequence[Record], lists: Sequence[Mapping[str, int]]) -> set[str]:
    """Return the pages that both runs have, the same but for ids that are made anew each time."""
    found = set()
    for path, amount in lists[0].items():
        other = lists[1].get(path)
        if other is None or not path.endswith(".html") or path.startswith(_OURS) or max(amount, other) > _LARGEST_PAGE:
            continue
        a, b = (store.text(one, path) for one in records)
        if a is not None and b is not None and _MADE_ANEW.sub("", a) == _MADE_ANEW.sub("", b):
            found.add(path)
    return found


def _size(amount: int, other: int | None) -> str:
    """Return a file's size; to the byte where the other run's file has another one that reads the same."""
    text = size(amount)
    return f"{amount:,} B" if other not in (None, amount) and size(other or 0) == text else text


def _told(store: Archive, record: Record, path: str) -> str:
    """Return what tells a file's content, for one that may be the other run's too."""
    found = store.digest(record, path)
    return f" sha256:{found[:12]}" if found else f" (can't be read in {str(record.run_id)[:8]})"


def _evidence(
    store: Archive, record: Record, sizes: Mapping[str, int], others: Mapping[str, int], doubtful: set[str],
    pages: set[str],
) -> Evidence:  # fmt: skip
    own = {path: amount for path, amount in sizes.items() if not path.startswith(_OURS)}
    executed = [path for path in own if is_notebook(path)]
    for path in executed:
        own.pop(str(PurePosixPath(path).with_suffix(".html")), None)  # the same as a page
    sources = [path for path in sizes if path.startswith(_SOURCE)]
    return Evidence(
        record,
        sources={path.removeprefix(_SOURCE): store.text(record, path) or "" for path in sources},
        notebooks={path: store.text(record, path) or "" for path in executed},
        packages=packages_in(store.text(record, "record/requirements.txt") or ""),
        git_diff=(store.text(record, "record/git.diff") or "") if "record/git.diff" in sizes else "",
        data=data_of(store, record),
        files={
            path: "the same page"
            if path in pages
            else _size(amount, others.get(path)) + (_told(store, record, path) if path in doubtful else "")
            for path, amount in own.items()
            if path not in executed
        },
        unread=frozenset(
            path for path, amount in own.items() if others.get(path) == amount and path not in doubtful | pages
        ),
    )


def packages_in(text: str) -> dict[str, str]:
    """Return the packages of a list of requirements, each with what stands behind its name; local ones are comments."""
    found = {}
    for line in text.splitlines():
        words = line.removeprefix("# ").strip()
        for mark in ("==", " @ "):
            if mark in words:
                name, _, rest = words.partition(mark)
                found[name.strip()] = rest.strip()
                break
    return found


def data_of(store: Archive, record: Record) -> dict[str, str]:
    """Return the digest of each data set that a run says to have read.

    Raises:
        StoreError: The store can't be reached.
    """
    return {one.name: one.digest for one in store.data_sets(record)}
