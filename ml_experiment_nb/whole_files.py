"""Files that nobody ever sees a part of."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, errors: str = "strict") -> None:
    """Write a file in one step: whoever reads it meanwhile, and a process that is killed, finds the one before.

    Args:
        path: The file; its folder is there.
        content: What is to stand in it; a text is written as UTF-8.
        errors: What is done with characters that UTF-8 has no form for, as in `str.encode`.

    Raises:
        OSError: It can't be written; nothing is left of the attempt.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        partial.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", errors))
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
