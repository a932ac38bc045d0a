"""How much memory processes use, and when to look again.

What a fork shares with the process that it was forked from is not its own, however large; what it shares with its own
children is, once. Pages of files don't count: the system takes them back when it needs them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil

FILL_RATE = 4e9  # bytes that a process can fill in a second: how soon a limit may be reached
LONGEST, SHORTEST = 0.25, 0.02  # seconds between two looks
SHARE = 0.05  # of one CPU that looking may take


@dataclass(frozen=True)
class Tree:
    """Processes of a task, and the process that the first of them was forked from, if it was.

    Attributes:
        pids: The processes.
        template: What the first was forked from.
        heirloom: Bytes that it has from a template that is gone.
    """

    pids: tuple[int, ...]
    template: int | None = None
    heirloom: int = 0


class MemoryWatch:
    """Looks at a task's memory as often as its limit demands.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._next = time.monotonic()
        self._templates: dict[int, tuple[int, int]] = {}

    @property
    def due_in(self) -> float:
        """Seconds until it is time to look."""
        return max(0.0, self._next - time.monotonic())

    def look(self, trees: Iterable[Tree]) -> int | None:
        """Return how many bytes are used if they are more than the limit, and None if they are not."""
        began = time.monotonic()
        found = used([self._with_heirloom(tree) for tree in trees], self.limit)
        now = time.monotonic()
        soon = (self.limit - found) / FILL_RATE
        self._next = now + max(min(LONGEST, max(SHORTEST, soon)), (now - began) / SHARE)
        return found if found > self.limit else None

    def _with_heirloom(self, tree: Tree) -> Tree:
        """Return the tree of a fork whose template was killed with what the template had: it has that alone now."""
        if tree.template is None or not tree.pids:
            return tree
        first, resident = self._templates.setdefault(tree.pids[0], (tree.template, _resident(tree.template)))
        return tree if tree.template == first else replace(tree, template=None, heirloom=resident)


def used(trees: list[Tree], enough: int = 0) -> int:
    """Return how many bytes some processes use; roughly, and never too little, where that is not over `enough`."""
    if sys.platform != "linux":
        return sum(_unique(pid) for tree in trees for pid in tree.pids)
    at_most = sum(_resident(pid) for tree in trees for pid in tree.pids)
    return at_most if at_most <= enough else sum(map(_own, trees))


def _own(tree: Tree) -> int:
    """Return a tree's own bytes: each page once, without those that its template has too.

    A page that n processes map counts 1/n for each of them (PSS). So a fork that still has all of the template's
    pages counts as much for them as the template itself does for those that it doesn't have for itself alone.
    """
    shared, stack = 0, None
    if tree.template is not None:
        total, private = _anonymous(tree.template)
        shared, stack = total - private, _stack(tree.template)
    found = 0
    for pid in tree.pids:
        total, private = _anonymous(pid)
        inherited = shared if stack is not None and _stack(pid) == stack else 0
        found += max(private, total - inherited)
    return max(0, found - tree.heirloom)


def _resident(pid: int) -> int:
    """Return the bytes of a process that are in memory and belong to no file: an upper bound, cheap to get."""
    return sum(_fields(f"/proc/{pid}/status", ("RssAnon", "RssShmem", "VmSwap")))


def _anonymous(pid: int) -> tuple[int, int]:
    """Return a process's proportional share of what belongs to no file, and what of it no other process has."""
    anonymous, shmem, swap, dirty = _fields(
        f"/proc/{pid}/smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss", "Private_Dirty")
    )
    total = anonymous + shmem + swap
    return total, min(total, dirty)


def _fields(path: str, names: tuple[str, ...]) -> list[int]:
    found = dict.fromkeys(names, 0)
    with suppress(OSError), open(path) as file:  # it may have ended
        for line in file:
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = 1024 * int(rest.split()[0])
    return list(found.values())


def _stack(pid: int) -> str | None:
    """Return where a process's stack begins: a fork keeps it, a program that is started gets another one."""
    with suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[25]
    return None


def _unique(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0


def descendants(pid: int) -> tuple[int, ...]:
    """Return a process and all that it has started, on Linux; those that left it are found where they come back to."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as file:
                    found += [int(word) for word in file.read().split()]
    return tuple(found)


def parent(pid: int) -> int | None:
    """Return a process's parent."""
    with suppress(psutil.Error):
        return psutil.Process(pid).ppid()
    return None
