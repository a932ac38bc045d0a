"""A project as the backend holds it: its store, opened when it is needed, and MLflow's page, if somebody wants that."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ml_experiment_nb.archive import Archive
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.mlflow_page import address_of
from ml_experiment_nb.projects import has_store, home
from ml_experiment_nb.stores import only_readable, store_uri

if TYPE_CHECKING:
    from ml_experiment_nb.tracking import Store

PAGE_SECONDS = 60.0  # that MLflow's page may take to start


class Project:
    """A project, for as long as this process answers for it.

    Args:
        root: The project's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opening = threading.Lock()
        self._page_lock = threading.Lock()
        self._page: subprocess.Popen[bytes] | None = None

    def store(self) -> Store:
        """Return the store in use; see `sweeps.opened_store`.

        Raises:
            RunNotFoundError: There is none yet.
            StoreError: It can't be reached.
        """
        with self._opening:  # MLflow takes seconds to import: whoever asks first waits for that
            from ml_experiment_nb.sweeps import opened_store

            return opened_store(self.root)

    def archive(self) -> Archive:
        """Return the store in use, to be read; see `looking.opened_archive`.

        Raises:
            RunNotFoundError: There is none yet.
            StoreError: It can't be reached.
        """
        return opened_archive(self.root) if only_readable(store_uri(self.root), self.root) else self.store()

    def warm(self) -> None:
        """Open the store, for the next one who asks."""
        if has_store(self.root):
            with suppress(Exception):  # who asks is told
                self.archive()

    def page(self, run_id: str, *, start: bool = False) -> str | None:
        """Return the address of a run in MLflow's page; None where nobody serves it.

        Args:
            run_id: The run.
            start: Start the page, if nobody serves it; it ends with this process.

        Raises:
            StoreError: It didn't start.
        """
        uri = store_uri(self.root)
        address = address_of(run_id, self.root, uri)
        if address is not None or not start:
            return address
        with self._page_lock:
            return address_of(run_id, self.root, uri) or self._start_page(run_id, uri)

    @property
    def serves_page(self) -> bool:
        """Whether MLflow's page was started here, and goes on."""
        return self._page is not None and self._page.poll() is None

    def close(self) -> None:
        """End what was started here."""
        if self._page is not None and self.serves_page:
            with suppress(ProcessLookupError):
                os.killpg(self._page.pid, signal.SIGTERM)

    def _start_page(self, run_id: str, uri: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = home(self.root) / "ui.log"
        words = [sys.executable, "-P", "-m", "ml_experiment_nb.cli", "ui", f"--port={port}"]
        with log.open("wb") as file:
            self._page = subprocess.Popen(
                words, cwd=self.root, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        until = time.monotonic() + PAGE_SECONDS
        while time.monotonic() < until and self.serves_page:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
                if (address := address_of(run_id, self.root, uri)) is not None:
                    return address
            time.sleep(0.3)
        self.close()
        raise StoreError(f"MLflow's page did not start: {log} says why")
