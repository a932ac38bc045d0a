"""JupyterLab, and this package's extensions of it and of Jupyter's server: installed, enabled, and whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from jupyter_core.paths import jupyter_config_path, jupyter_path

from ml_experiment_nb.doctor.findings import Finding, Level
from ml_experiment_nb.doctor.machine import version_of

if version_of("jupyterlab") is not None:
    from jupyter_server.extension.config import ExtensionConfigManager
    from jupyterlab_server.config import get_federated_extensions, get_page_config

LAB, SERVER = "ml-experiment-nb", "ml_experiment_nb"
"""The names of the extension in the page, and of the one in the server."""

_AGAIN: Final = "install this package again where JupyterLab is; in a clone of its repository: `make labextension`"


def jupyterlab(root: Path) -> Iterator[Finding]:
    """JupyterLab, the extension that its pages load, and the server's, which these ask."""
    version = version_of("jupyterlab")
    if version is None:
        yield Finding("jupyterlab", Level.OK, "not installed in this environment", "pip install jupyterlab, if wanted")
        return
    yield _page(version)
    yield _server()


def _page(version: str) -> Finding:
    paths = jupyter_path("labextensions")
    found = get_federated_extensions(paths).get(LAB)
    if found is None:
        text = f"JupyterLab {version} has no extension {LAB}: a group's live view is not kept, and no panel lists runs"
        return Finding("jupyterlab", Level.WARNING, text, _AGAIN)
    place = Path(found["ext_path"])
    if not (place / found["jupyterlab"].get("_build", {}).get("load", "static/absent")).is_file():
        return Finding(
            "jupyterlab", Level.WARNING, f"JupyterLab {version}: the extension in {place} is not built", _AGAIN
        )
    settings = Path(sys.prefix, "share/jupyter/lab/settings")
    disabled = get_page_config(paths, str(settings)).get("disabledExtensions", [])
    if any(one.partition(":")[0] == LAB for one in disabled):
        advice = f"jupyter labextension enable {LAB}"
        return Finding("jupyterlab", Level.WARNING, f"JupyterLab {version}: the extension {LAB} is disabled", advice)
    return Finding("jupyterlab", Level.OK, f"JupyterLab {version}; its extension {LAB} is enabled, in {place}")


def _server() -> Finding:
    manager: Any = ExtensionConfigManager(read_config_path=jupyter_config_path())
    enabled = manager.get_jpserver_extensions()
    if not enabled.get(SERVER):
        text = f"the server's extension {SERVER} is not enabled: JupyterLab's panel can't ask for runs"
        return Finding("jupyterlab", Level.WARNING, text, f"jupyter server extension enable {SERVER} --sys-prefix")
    try:
        for point in import_module(SERVER)._jupyter_server_extension_points():
            import_module(point["module"])
    except ImportError as error:
        text = f"the server's extension {SERVER} is enabled and can't be imported: {error}"
        return Finding("jupyterlab", Level.WARNING, text, _AGAIN)
    return Finding("jupyterlab", Level.OK, f"the server's extension {SERVER} is enabled")
