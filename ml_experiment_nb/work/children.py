"""The process that performs a step, as its slot sees it, whichever way it was made."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.work.memory import Tree
from ml_experiment_nb.work.tree import MARK, end_tree, members


class Child(Protocol):
    """A process with an output to read and an end to wait for."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def output(self) -> int:
        """The descriptor on which its output is read."""

    @property
    def life(self) -> int | None:
        """A descriptor that becomes readable when it has ended, where the system has one."""

    def poll(self) -> int | None:
        """Return how it ended: an exit code, or a signal's number below zero; None while it lives."""

    def wait(self, timeout: float) -> int | None:
        """Wait until it has ended, or for `timeout` seconds, and return as `poll` does."""

    def terminate(self) -> None:
        """Ask it to end."""

    def end(self) -> None:
        """End it with all that it started, and wait for that."""

    def end_others(self) -> None:
        """End all that it started, and wait for that; it goes on itself."""

    def tree(self) -> Tree:
        """Return it with what it has started."""

    def death(self, code: int) -> Outcome:
        """Return what came of it if it has ended with this code, and without a word."""

    def close(self) -> None:
        """Close the descriptors."""


def death(code: int) -> Outcome:
    """Return what came of a process that ended without a word."""
    if code >= 0:
        message = f"the process ended with exit code {code} before its work was done"
    else:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        message = f"the process was ended by {name}{hint}"
    return Outcome(Status.FAILED, Failure("TaskDiedError", message))


class Fresh:
    """A `Child` that is a new Python process.

    Args:
        request: The file that says what it is asked to perform.
        env: Its environment, which holds the task's mark.
        cwd: Its working directory.
        python: The interpreter, if it isn't this one's.
    """

    def __init__(self, request: str, *, env: Mapping[str, str], cwd: str, python: str | None = None) -> None:
        self._mark = env[MARK]
        self._process = subprocess.Popen(
            [python or sys.executable, "-u", "-P", "-m", "ml_experiment_nb.work.child", request],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is the driver's to handle
        )
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self.output = self._process.stdout.fileno()
        self.life = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None

    def poll(self) -> int | None:
        """Return how it ended."""
        return self._process.poll()

    def wait(self, timeout: float) -> int | None:
        """Wait until it has ended."""
        if self.life is not None:
            poll = select.poll()  # `select` takes no descriptor above 1023
            poll.register(self.life, select.POLLIN)
            poll.poll(max(0.0, timeout) * 1000)
        else:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def end(self) -> None:
        """End it with all that it started: what descends from it, and what carries the task's mark."""
        end_tree(self.pid, self._mark, spare=self._process.poll() is not None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def end_others(self) -> None:
        """End all that it started."""
        end_tree(self.pid, self._mark, spare=True)

    def tree(self) -> Tree:
        """Return it with what it has started."""
        return Tree(tuple(one.pid for one in members(self.pid, self._mark)))

    def death(self, code: int) -> Outcome:
        """Return what came of it."""
        return death(code)

    def close(self) -> None:
        """Close the descriptors."""
        if self.life is not None:
            os.close(self.life)
        if self._process.stdout is not None:
            self._process.stdout.close()
