"""The process: reads questions from standard input, and writes answers and events to standard output.

A question is a line of JSON. An answer, and an event, is a line of JSON that says how many bytes follow it, and these.
The process ends when nobody writes to it any more, so that it never outlives its server.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.backend.runs import Content, Where
from ml_experiment_nb.backend.verbs import answer
from ml_experiment_nb.backend.watching import Watcher

AT_ONCE = 8  # questions; whoever asks lets no more of them come
LARGEST = 32_000_000  # bytes of an answer


class Wire:
    """Where answers and events are written, each as a whole.

    Args:
        file: The pipe.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, head: dict[str, Any], body: Any) -> None:
        """Write one of them."""
        text = json.dumps(body, allow_nan=False).encode()
        if len(text) > LARGEST and "id" in head:
            head = {**head, "status": 413}
            text = json.dumps({"message": "that is too much for one answer: ask for less, by limit"}).encode()
        line = json.dumps({**head, "bytes": len(text)}).encode()
        with self._lock:
            self._file.write(line + b"\n" + text)
            self._file.flush()


class Backend:
    """Answers the questions about one project.

    Args:
        root: The project's root.
        wire: Where the answers go.
    """

    def __init__(self, root: Path, wire: Wire) -> None:
        self._project = Project(root)
        self._wire = wire
        self._stopped: threading.Event | None = None

    def serve(self, questions: BinaryIO) -> None:
        """Answer until there are no more questions."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            for line in questions:
                pool.submit(self._take, json.loads(line))
        finally:
            self._project.close()

    def _take(self, question: dict[str, Any]) -> None:
        head: dict[str, Any] = {"id": question["id"]}
        try:
            status, found = self._answer(question)
            if isinstance(found, Content):
                head |= {"file": str(found.path), "temporary": found.is_temporary}
                found = {}
            self._wire.write(head | {"status": status}, found)
        except Refused as refused:
            self._wire.write(head | {"status": refused.status}, {"message": refused.message})
        except BaseException as error:  # SystemExit too: a module that a spec names may raise it
            traceback.print_exc()
            said = {"message": f"{type(error).__name__}: {error}"[:2000]}
            self._wire.write(head | {"status": 500}, said)

    def _answer(self, question: dict[str, Any]) -> tuple[int, Any]:
        root = Path(question["root"])
        match question["verb"]:
            case "watch":
                self._watch(root)
                return 200, {}
            case "unwatch":
                self._unwatch()
                return 200, {}
            case "busy":
                return 200, {"busy": self._project.serves_page}
        where = Where(root, Path(question["folder"]), question["route"])
        return answer(self._project, question["verb"], where, question["given"])

    def _watch(self, server_root: Path) -> None:
        self._unwatch()
        watcher = Watcher(self._project.root, server_root, lambda name, said: self._wire.write({"event": name}, said))
        watcher.begin()
        self._stopped = threading.Event()
        threading.Thread(target=watcher.run, args=[self._stopped], daemon=True).start()
        threading.Thread(target=self._project.warm, daemon=True).start()

    def _unwatch(self) -> None:
        if self._stopped is not None:
            self._stopped.set()


def main() -> None:
    """Answer for the project whose root is named, until standard input ends."""
    wire = Wire(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(BrokenPipeError, KeyboardInterrupt):
        Backend(Path(sys.argv[1]), wire).serve(sys.stdin.buffer)
    os._exit(0)  # whoever is still being answered has gone


if __name__ == "__main__":
    main()
