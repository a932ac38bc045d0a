"""The notebook that this process is the kernel of: which file it is, and what stands in it."""

from __future__ import annotations

import functools
import glob
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MOST_BYTES = 10_000_000  # of a notebook that is kept with its outputs
SECONDS = 1.0  # that a server may take to say which notebook a kernel belongs to
_RUNNERS = (
    "papermill",
    "nbconvert",
    "jupyter-nbconvert",
    "execute",
    "jupyter-execute",
)  # the commands that execute a notebook

_found: Path | None = None


def this_notebook() -> Path | None:
    """Return the file of the notebook that this process is the kernel of; None where nobody says.

    VS Code writes the path into the kernel's namespace. Who runs papermill, nbconvert or ``jupyter execute`` has named
    it in the command. JupyterLab says it in the environment, and where the notebook was renamed since, when asked.
    """
    global _found
    ipython: Any = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
    if not hasattr(shell, "kernel"):
        return None
    if (told := shell.user_ns.get("__vsc_ipynb_file__")) and isinstance(told, str):
        return Path(told)
    if _found is not None and _found.exists():
        return _found
    said = os.environ.get("JPY_SESSION_NAME")
    _found = _of_command() or (Path(said) if said else None)
    if _found is None or not _found.exists():
        with suppress(Exception):  # a server of another kind, or none
            _found = _of_server(shell) or _found
    return _found


def notebook_text(path: Path) -> tuple[str, bool] | None:
    """Return what stands in a notebook's file, and whether its outputs were left out; None where there is no notebook.

    Of one larger than `MOST_BYTES` the outputs are left out.
    """
    try:
        return _text(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@functools.lru_cache(maxsize=2)
def _text(path: Path, _changed: int) -> tuple[str, bool]:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    if not isinstance(notebook["cells"], list):
        raise ValueError("it is no notebook of format 4")
    if len(text) <= MOST_BYTES:
        return text, False
    for cell in notebook["cells"]:
        cell.pop("attachments", None)
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    return json.dumps(notebook, indent=1), True


def _of_command() -> Path | None:
    """Return the one notebook that the command which started this kernel has named, if it is one that executes it."""
    import psutil

    words: list[str] = []
    folder = ""
    with suppress(psutil.Error, ValueError):
        parent = psutil.Process(int(os.environ.get("JPY_PARENT_PID") or os.getppid()))
        words, folder = parent.cmdline(), parent.cwd()
    names = [os.path.basename(word) for word in words]
    if not any(name in _RUNNERS for name in names):
        return None
    before = ["", *words]
    notebooks = [word for k, word in enumerate(words) if word.endswith(".ipynb") and before[k] != "--output"]
    if len(notebooks) > 1 and "papermill" not in names:
        return None
    found = Path(folder, notebooks[0]) if notebooks else None
    return found if found is not None and found.exists() else None


def _of_server(shell: Any) -> Path | None:
    """Ask the server that started this kernel which notebook it belongs to."""
    from urllib.request import ProxyHandler, Request, build_opener

    file = str(shell.kernel.parent.connection_file)
    kernel = os.path.basename(file).removeprefix("kernel-").removesuffix(".json")
    for name in glob.glob(os.path.join(glob.escape(os.path.dirname(file)), "jpserver-*.json")):
        server = json.loads(Path(name).read_text())
        if str(server.get("pid")) != os.environ.get("JPY_PARENT_PID") or not _is_local(server["url"]):
            continue
        request = Request(f"{server['url']}api/sessions", headers={"Authorization": f"token {server['token']}"})
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS) as answer:
            for session in json.loads(answer.read()):
                if session["kernel"]["id"] == kernel and session.get("type") == "notebook":
                    return Path(server["root_dir"], session["path"])
    return None


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
