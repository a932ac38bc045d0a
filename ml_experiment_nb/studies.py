"""Where Optuna's studies are kept: opened, found again, and read for the trials that another group can take over."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from ml_experiment_nb import optuna_spaces
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.again import IMPORTED
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.quantities import line_of
from ml_experiment_nb.specs import Group


def load_study(storage: str, name: str, *, own: bool) -> optuna.Study:
    """Return a study that is there already.

    Args:
        storage: Where it is kept: a path or an address.
        name: Its name.
        own: Whether its journal is one of ours.

    Raises:
        StoreError: It isn't there.
    """
    if "://" not in storage and not Path(storage).exists():
        raise StoreError(f"the group's study is gone: there is no {storage}; run it anew")
    if own:
        mend(Path(storage))
    try:
        return optuna.load_study(study_name=name, storage=open_storage(storage, own=own))
    except KeyError as error:
        raise StoreError(f"{storage} has no study {name!r} any more: run the group anew") from error


def open_storage(url: str, *, own: bool) -> BaseStorage:
    """Open where studies are kept.

    Args:
        url: A path, of a journal, or an address.
        own: Whether it is a journal of ours.

    Raises:
        StoreError: It can't be opened.
    """
    path = Path(url)
    try:
        if "://" in url:
            return optuna.storages.get_storage(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_Journal(str(path)) if own else JournalFileBackend(str(path)))
    except Exception as error:  # each storage of Optuna's, and each driver, has errors of its own
        why = line_of(str(error).partition("(Background on")[0], 400)  # SQLAlchemy's pages tell a user nothing
        raise StoreError(without_password(f"the study's storage {url} can't be opened: {why}")) from error


def mend(journal: Path) -> None:
    """Cut off what a loss of power has left at a journal's end: a line that isn't whole, or isn't there.

    All that is written after it would be lost. What is cut off is kept beside it, with ``.cut`` behind its name.
    """
    data = journal.read_bytes()
    lines = data.splitlines(keepends=True)
    whole = len(lines)
    while whole and not _is_whole(lines[whole - 1]):
        whole -= 1
    size = sum(map(len, lines[:whole]))
    if size < len(data):
        journal.with_name(f"{journal.name}.cut").write_bytes(data[size:])
        os.truncate(journal, size)


def _is_whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


class _Journal(JournalFileBackend):
    """Optuna's journal for a study of our own, without a wait for the disk after each of a trial's four lines."""

    def __init__(self, path: str) -> None:
        self._path, self._own_lock = path, JournalFileSymlinkLock(path)
        super().__init__(path, self._own_lock)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Return the journal's lines from one on."""
        with self._told():
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines at the journal's end: all of them, or none."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._told():
            self._own_lock.acquire()
            try:
                with open(self._path, "ab", buffering=0) as file:
                    end = file.tell()
                    if file.write(lines) < len(lines):  # the disk is full, and half a line would spoil the next one
                        file.truncate(end)
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                self._own_lock.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"the group's study {self._path} can't be used: {error.strerror}") from error


@dataclass(frozen=True)
class Ended:
    """A trial of a study that finished or was pruned: its number, parameters, metrics' values and those on the way.

    `origin` is the run of a trial that its group had taken over from another; `drawn` what its code drew by itself, by
    name: the distribution, as Optuna has it, and the value.
    """

    number: int
    params: Mapping[str, Any]
    values: tuple[float, ...] | None
    steps: Mapping[int, float]
    origin: str | None = None
    drawn: Mapping[str, tuple[BaseDistribution, Any]] = field(default_factory=dict)


def ended_trials(group: Group, storage: str, name: str) -> list[Ended]:
    """Return the trials of a group's study that finished or were pruned.

    Raises:
        StoreError: The study isn't there.
        SpaceError: It isn't the group's.
    """
    study = load_study(storage, name, own=group.storage is None)
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    asked = optuna_spaces.to_optuna(group.param_space).keys()
    return [
        Ended(
            one.number,
            optuna_spaces.from_optuna(group.param_space, one.params),
            tuple(one.values) if one.state is TrialState.COMPLETE else None,
            one.intermediate_values,
            one.user_attrs.get(IMPORTED),
            {name: (one.distributions[name], value) for name, value in one.params.items() if name not in asked},
        )
        for one in study.get_trials(deepcopy=False, states=states)
    ]
