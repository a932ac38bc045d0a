"""A command that is read line by line, in a session of its own, so that it ends with all that it has started."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress


@contextmanager
def begun(words: Sequence[str], env: Mapping[str, str], *, patience: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    """Begin a command; what still runs of it when the block is left is ended.

    Args:
        words: The command.
        env: Its environment.
        patience: Seconds that it may take to end by itself once it is interrupted; without any it is killed.
    """
    process = subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        assert process.stdout is not None
        process.stdout.close()  # nobody reads on
        if process.poll() is None and patience:
            kill(process, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        if process.poll() is None:
            kill(process)
            process.wait()


def lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what a command says; a line that it has written again and again, as apt counts, is one."""
    assert process.stdout is not None
    text = io.TextIOWrapper(process.stdout, encoding="utf-8", errors="replace", newline="\n")
    yield from (line.rstrip() for line in text)


def kill(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """Send a signal to a command and to all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
