"""A real JupyterLab, or Notebook, for tests: on a free port of this machine, with settings and kernels of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import nbformat
import services

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
PAGE = {"exposeAppInBrowser": True, "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
"""What the page is told: `window.jupyterapp` is there for tests, and nobody asks the user about news."""


@dataclass(frozen=True)
class Lab:
    """A server that runs, and the folder of which it shows the notebooks."""

    url: str
    token: str
    root: Path
    settings: Path
    pages: str = "lab/tree"

    def address(self, path: Path) -> str:
        """Return the address of a notebook's page, in a workspace that remembers nothing."""
        return f"{self.url}/{self.pages}/{path.relative_to(self.root).as_posix()}?token={self.token}&reset"

    def set(self, plugin: str, values: Mapping[str, Any]) -> None:
        """Set what a page that is opened after this finds as its user's settings of a plugin (``package:name``)."""
        package, name = plugin.split(":")
        file = self.settings / package / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def ask(self, path: str, verb: str = "GET", under: str = "api", body: Any = None) -> Any:
        """Call the server's REST interface, or another one that it has."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}"}
        with urlopen(Request(f"{self.url}/{under}/{path}", data, headers, method=verb), timeout=120) as answer:
            return json.loads(answer.read() or "null")

    def end_kernels(self) -> None:
        """Shut all kernels down, and forget which notebook had which."""
        while sessions := self.ask("sessions"):  # two may have one kernel, and go with it
            self.ask(f"sessions/{sessions[0]['id']}", "DELETE")
        for kernel in self.ask("kernels"):
            self.ask(f"kernels/{kernel['id']}", "DELETE")

    def answers(self) -> bool:
        with suppress(URLError, OSError):
            self.ask("status")
            return True
        return False


@contextmanager
def serve(
    home: Path, env: Mapping[str, str] | None = None, *, python: str = sys.executable, program: str = "jupyterlab"
) -> Iterator[Lab]:
    """Run a JupyterLab whose every file is in a folder, and whose notebooks are in ``work`` in it.

    Args:
        home: The folder.
        env: What the server's environment, and so its kernels', has besides this process's.
        python: The interpreter of the environment that it is installed in.
        program: What is run there, ``jupyterlab`` or ``notebook``.
    """
    root, config = home / "work", home / "config"
    for folder in (root, config / "labconfig"):
        folder.mkdir(parents=True)
    (config / "labconfig" / "page_config.json").write_text(json.dumps(PAGE))
    port = services.free_port()
    pages = {"jupyterlab": "lab/tree", "notebook": "notebooks"}[program]
    made = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), root, config / "lab" / "user-settings", pages)
    words = [
        python, "-m", program, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={made.token}", f"--ServerApp.root_dir={root}",
        "--LabApp.extension_manager=readonly", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with services.running(words, home / "log", env=environment(home, python) | dict(env or {}), ready=made.answers):
        yield made


def environment(home: Path, python: str = sys.executable) -> dict[str, str]:
    """Return what the environment of a server in a folder has."""
    ours = ("MLFLOW_", "ML_EXPERIMENT_", "JUPYTER", "JPY_", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    folders = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    return {
        **kept,
        **{f"JUPYTER_{name}_DIR": str(home / folder) for name, folder in folders.items()},
        "IPYTHONDIR": str(home / "ipython"),
        "PATH": f"{Path(python).parent}:{kept.get('PATH', '')}",
        "DOCKER_HOST": f"unix://{home}/no-engine",  # whichever this machine may have
        "ML_EXPERIMENT_NB_SKIP_LABEXTENSION": "1",  # of what is built of this package in an image
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def write_notebook(path: Path, cells: Sequence[str]) -> Path:
    """Write a notebook of code cells, and return its path; a cell that begins with ``#md`` is one of text."""
    found = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for source in cells:
        kind = nbformat.v4.new_markdown_cell if source.startswith("#md") else nbformat.v4.new_code_cell
        found.cells.append(kind(source.removeprefix("#md").strip("\n")))
    nbformat.write(found, path)
    return path


def make_project(folder: Path, database: Path) -> Path:
    """Make a folder the root of a project whose store is there and empty, and return it."""
    ours = folder / ".ml-experiment"
    ours.mkdir(parents=True)
    shutil.copy(database, ours / "mlflow.db")
    return folder
