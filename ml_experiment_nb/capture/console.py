"""What a run prints, as text to keep: progress bars are reduced to how they ended."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO, cast

from ml_experiment_nb.masking import Stream, Veil


def collapse(text: str) -> str:
    r"""Return `text` as a terminal leaves it: of a line redrawn with ``\r`` only its last state.

    >>> collapse(" 50%|##  |\r100%|####|\ndone\n")
    '100%|####|\ndone\n'
    """
    collapser = Collapser()
    return collapser.feed(text) + collapser.flush()


class Collapser:
    r"""Collapses text that comes in pieces, cut anywhere.

    The pieces' results put together are what `collapse` makes of the whole text.
    """

    def __init__(self) -> None:
        self._line: list[str] = []

    def feed(self, text: str) -> str:
        """Take the next piece, and return the lines that it completes."""
        self._line.append(text)
        if "\n" not in text:
            if "\r" in text:
                self._line = [_forget("".join(self._line))]
            return ""
        *complete, rest = "".join(self._line).split("\n")
        self._line = [rest]
        return "".join(f"{_final(line)}\n" for line in complete)

    def flush(self) -> str:
        """Return the last line, which has no end yet, and begin anew."""
        line = _final("".join(self._line))
        self._line = []
        return line


def _final(line: str) -> str:
    """Return the line's last state; a bar that was wiped out with blanks leaves an empty line."""
    if "\r" not in line:
        return line
    return line.rstrip("\r").rpartition("\r")[2].rstrip()


def _forget(line: str) -> str:
    """Drop a line's states before its last one, so that hours of progress take no memory."""
    state = line.rstrip("\r")
    ending = "\r" if state != line else ""
    return state[max(state.rfind("\r"), 0) :] + ending


class Tee:
    """Copies what Python code writes to `sys.stdout` and `sys.stderr` into a file, and still shows it.

    A line is copied when it is complete, and the file ends with a whole line. What C libraries and other
    programs write, and what goes through ``sys.stdout.buffer`` or through a stream that was taken before, is
    shown but not copied.

    Streams that the user's code put in place meanwhile are left alone when the block ends, and one of ours
    that it kept goes on showing. A file that can't be written never stops the code: a note says so.

    >>> with Tee(Path("console.txt")):  # doctest: +SKIP
    ...     print("hello")

    Args:
        file: The file to append to; its folder is made.
        notes: Gets a sentence when the file can't be written.
        veil: Masks what is copied, and what is shown.
    """

    def __init__(self, file: Path, *, notes: list[str] | None = None, veil: Veil | None = None) -> None:
        self.file = file
        self._veil = veil or Veil()
        self.notes = [] if notes is None else notes
        self._log: IO[str] | None = None
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._copies: dict[str, _Copy] = {}

    def __enter__(self) -> Self:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._log = self.file.open("a", encoding="utf-8", errors="backslashreplace", newline="")
        except OSError as error:
            self._give_up(error)
            return self
        for name in ("stdout", "stderr"):
            shown = getattr(sys, name)
            if shown is not None:  # as in a process without a terminal
                self._copies[name] = _Copy(shown, self, self._veil.stream("its output"))
                setattr(sys, name, self._copies[name])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, copy in self._copies.items():
            if getattr(sys, name) is copy:
                setattr(sys, name, copy.shown)
        with self._locked():
            for copy in self._copies.values():
                copy.write_held()
                if rest := copy.collapser.flush():
                    self._append(f"{rest}\n")
            self._copies = {}
            self._close()

    def _record(self, copy: _Copy, text: str) -> None:
        if self._log is not None:
            with self._locked():
                self._append(copy.collapser.feed(text))

    def _append(self, text: str) -> None:
        if self._log is None or not text:
            return
        try:
            self._log.write(text)
            self._log.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _locked(self) -> threading.RLock:
        if self._process != os.getpid():  # forked: another thread may have held the lock, and is not here
            self._process, self._lock = os.getpid(), threading.RLock()
        return self._lock

    def _give_up(self, error: Exception) -> None:
        self.notes.append(f"the console output is not recorded in {self.file}: {error}")
        self._close()

    def _close(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            with contextlib.suppress(OSError):  # every line was flushed: nothing more to lose or to note
                log.close()


class _Copy:
    """A stream that shows what is written to it and gives it to its `Tee`; all else is the shown stream's."""

    def __init__(self, shown: TextIO, tee: Tee, veil: Stream) -> None:
        self.shown = shown
        self.collapser = Collapser()
        self._tee = tee
        self._veil = veil

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            return self.shown.write(text)  # which says what is wrong with that
        self._show(self._veil.feed(text))
        return len(text)

    def write_held(self) -> None:
        """Show what was held back, as it might have been a secret's beginning."""
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            self._show(self._veil.flush())

    def _show(self, text: str) -> None:
        self.shown.write(text)
        self._tee._record(self, text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(cast(TextIO, object.__getattribute__(self, "shown")), name)
