"""Where notebooks lie: files, standard input and output, and what papermill's handlers reach.

The handlers are papermill's own and those that other packages register with it (``papermill.io``).
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.masking import Veil


def read_text(path: str) -> str:
    """Return the text of what lies at a path, by the handler that papermill has for it.

    Raises:
        SpecError: It can't be had; says what to install where a package is missing.
    """
    if path == "-":
        return standard_input()
    with _translated("read", path):
        text = _handler(path).read(path)
        return text.decode("utf-8") if isinstance(text, bytes | bytearray) else str(text)


def write_text(text: str, path: str) -> None:
    """Write a text to a path, by the handler that papermill has for it.

    Raises:
        SpecError: It can't be written; says what to install where a package is missing.
    """
    with _translated("written", path):
        _handler(path).write(text, path)


def standard_input() -> str:
    """Return the text on standard input.

    Raises:
        SpecError: It is no text.
    """
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: byte {error.start} can't be read", file="standard input") from None


def file_name(path: str) -> str:
    """Return the name that a local copy of a notebook gets."""
    if path == "-":
        return "stdin.ipynb"
    name = PurePath(urlsplit(path).path).name if "://" in path else PurePath(path).name
    return name if name.endswith(".ipynb") else f"{PurePath(name).stem or 'notebook'}.ipynb"


class Places:
    """What stands behind the paths of one notebook while papermill executes it.

    papermill reads a notebook and writes it time and again, by the paths that it notes in the notebook. Behind the
    one that it reads stands our local file, in which every cell has its id; what it writes goes to a file of ours,
    and to the path itself when that is wanted.

    Args:
        notebook: The notebook's text.
        input_path: What papermill should call the notebook it reads.
        output_path: What papermill should call the notebook it writes.
        kept: The file that gets every state.
        copied: Whether `output_path` gets every state too; `finish` gives it the last one in any case.
        old_outputs: Outputs to keep, by the id of a cell that is not executed.
    """

    def __init__(
        self, notebook: str, *, input_path: str, output_path: str, kept: Path, copied: bool = False,
        old_outputs: dict[str, dict[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self._notebook = notebook
        self.input_path, self.output_path = input_path, output_path
        self._kept = kept
        self._copied = copied
        self._old_outputs = old_outputs or {}
        self._written: str | None = None
        self.veil = Veil()
        self.problem: str | None = None
        """Why the path was not written to any more while the notebook was executed."""

    @contextmanager
    def registered(self) -> Iterator[None]:
        """Stand behind the two paths while the block runs."""
        from papermill.iorw import papermill_io

        found = [(path, self) for path in {self.input_path, self.output_path}]
        for path, place in found:
            papermill_io.register(path, place)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "the file is not specified with any extension : -")
                yield
        finally:
            for one in found:
                papermill_io._handlers.remove(one)

    def finish(self) -> None:
        """Write the last state to the output's path, if that isn't our own file, and could be written to at first."""
        refused = self.problem is not None and self._written is None
        if refused or not self._kept.exists() or self.output_path == str(self._kept):
            return
        text = self._kept.read_text(encoding="utf-8")
        if text != self._written:
            write_text(text, self.output_path)

    def read(self, path: str) -> str:
        """Give papermill the notebook, or what was written last."""
        return self._notebook if path == self.input_path else self._kept.read_text(encoding="utf-8")

    def write(self, text: str, path: str) -> None:
        """Take what papermill writes."""
        text = self._with_old_outputs(text) if self._old_outputs else text
        text = self.veil.text(text, self._kept.name)
        partial = self._kept.parent.with_name(f"{self._kept.name}.partial")  # not among the artifacts
        partial.write_text(text, encoding="utf-8")
        partial.replace(self._kept)
        if self._copied and self.problem is None and self.output_path != str(self._kept):
            self._copy(text)

    def _copy(self, text: str) -> None:
        try:
            write_text(text, self.output_path)
            self._written = text
        except SpecError as error:
            self.problem = str(error)
            if self._written is None:  # nothing has been executed yet
                raise

    def pretty_path(self, path: str) -> str:
        """Return the path as papermill's log shows it."""
        return path

    def _with_old_outputs(self, text: str) -> str:
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell.update(self._old_outputs.get(cell.get("id"), {}))
        return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _handler(path: str) -> Any:
    """Return the handler for a path as papermill chooses it, but past one of ours that stands before it."""
    from papermill.iorw import papermill_io

    handlers = [(scheme, one) for scheme, one in papermill_io._handlers if not isinstance(one, Places)]
    local = next((one for scheme, one in handlers if scheme == "local"), None)
    found = next((one for scheme, one in handlers if scheme != "local" and path.startswith(scheme)), local)
    if found is local and "://" in path:
        schemes = ", ".join(sorted(scheme for scheme, _ in handlers if scheme.endswith("://")))
        raise SpecError(f"papermill knows no such place; it knows {schemes}", file=path)
    return found


@contextmanager
def _translated(done: str, path: str) -> Iterator[None]:
    """Turn whatever a handler raises into one line: each store's client has errors of its own."""
    try:
        yield
    except SpecError:
        raise
    except Exception as error:
        said = str(error).strip() or type(error).__name__
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else said
        raise SpecError(f"can't be {done}: {why}", file=path) from error
