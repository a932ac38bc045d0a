"""Where MLflow's web page on a store is, if somebody serves it: a tracking server, or ``ml-experiment ui``."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

import psutil

from ml_experiment_nb.projects import FOLDER, home
from ml_experiment_nb.whole_files import write_whole

_FILE = "ui.json"


def address_of(run_id: str, root: Path, uri: str) -> str | None:
    """Return the address of a run in MLflow's page; None where no page is known to be there.

    Args:
        run_id: The run's id.
        root: The project's root.
        uri: The store's address.
    """
    page = _without_user(uri) if uri.startswith(("http://", "https://")) else _served(root, uri)
    return f"{page.rstrip('/')}/#/runs/{run_id}" if page is not None else None


def announce(root: Path, uri: str, host: str, port: int) -> None:
    """Leave word that this process is about to become the server of a store's page."""
    said = {"store": _digest(uri), "pid": os.getpid(), "began": psutil.Process().create_time(), "port": port}
    said["host"] = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    write_whole(home(root) / _FILE, json.dumps(said))


def _served(root: Path, uri: str) -> str | None:
    """Return the page that ``ml-experiment ui`` serves, if the process that left word of it lives."""
    with suppress(OSError, ValueError, KeyError, psutil.Error):
        said = json.loads((root / FOLDER / _FILE).read_text())
        if said["store"] == _digest(uri) and psutil.Process(said["pid"]).create_time() == said["began"]:
            host = f"[{said['host']}]" if ":" in said["host"] else said["host"]
            return f"http://{host}:{said['port']}"
    return None


def _digest(uri: str) -> str:
    """Return what tells a store's address, which may have a password in it, from others."""
    return hashlib.sha256(uri.encode()).hexdigest()


def _without_user(uri: str) -> str:
    return re.sub(r"://[^/]*@", "://", uri.partition("?")[0])
