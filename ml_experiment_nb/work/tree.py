"""A process and everything that it started: found, and ended."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

MARK = "ML_EXPERIMENT_TASK"


def end_tree(pid: int | None, mark: str, spare: bool = False) -> None:
    """Kill a task's processes: `pid`, what descends from it, and what carries its mark in the environment.

    A process that has left the tree (a daemon, or a kernel in a session of its own whose parent died) is still
    found by its mark.

    Args:
        pid: The task's first process; None when it has ended.
        mark: The value of ``ML_EXPERIMENT_TASK`` in the task's environment.
        spare: Leave `pid` itself alive.
    """
    for _ in range(5):  # a process may start another while we look
        found = _members(pid, mark)
        if spare:
            found = [one for one in found if one.pid != pid]
        if not found:
            return
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([one for one in found if one.pid != pid], timeout=0.5)


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes of this user that carry a task's mark in their environment."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if one.environ().get(MARK) == mark and one.pid != os.getpid():
                found.append(one)
    return found


def _members(pid: int | None, mark: str) -> list[psutil.Process]:
    found = {one.pid: one for one in marked(mark)}
    if pid is not None:
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(pid)
            found |= {one.pid: one for one in (first, *first.children(recursive=True))}
    return [one for one in found.values() if _alive(one)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
