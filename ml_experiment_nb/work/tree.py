"""A process and everything that it started: found, and ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

MARK = "ML_EXPERIMENT_TASK"


def end_tree(pid: int, mark: str, spare: bool = False) -> None:
    """Kill a task's processes: `pid`, its descendants, its session, and what carries its mark in the environment.

    A process that has left the tree (a daemon, or a kernel in a session of its own whose parent died) is still
    found by its mark, one that was started with an empty environment by its session.

    Args:
        pid: The task's first process, the leader of its session.
        mark: The value of ``ML_EXPERIMENT_TASK`` in the task's environment.
        spare: Leave `pid` itself alone: it goes on, or has ended, and its number may be another's.
    """
    for _ in range(5):  # a process may start another while we look
        found = members(pid, mark)
        if spare:
            found = [one for one in found if one.pid != pid]
        if not found:
            return
        _end(found)


def end_all(pids: Iterable[int]) -> None:
    """Kill some processes, and wait for that."""
    found = []
    for pid in pids:
        with suppress(psutil.Error):
            found.append(psutil.Process(pid))
    _end(found)


def _end(found: list[psutil.Process]) -> None:
    for process in found:
        with suppress(psutil.Error):  # gone, or run as another user
            process.kill()
    until = time.monotonic() + 0.5
    while any(map(_alive, found)) and time.monotonic() < until:
        time.sleep(0.002)


def members(pid: int, mark: str) -> list[psutil.Process]:
    """Return a task's processes that live; see `end_tree`."""
    found = {one.pid: one for one in psutil.process_iter() if _belongs(one, pid, mark)}
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        found |= {one.pid: one for one in (first, *first.children(recursive=True))}
    return [one for one in found.values() if _alive(one)]


def _belongs(process: psutil.Process, session: int, mark: str) -> bool:
    try:
        return os.getsid(process.pid) == session or process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # it has just ended, or is another user's
        return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
