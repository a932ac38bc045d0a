"""One output with everything: our own MIME type, the live widget, HTML for saved notebooks, and text."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from ml_experiment_nb.work.shell import current_shell

MIME = "application/vnd.ml-experiment-nb.v1+json"
VIEW = "application/vnd.jupyter.widget-view+json"
NEEDED = "note: the live view needs anywidget: pip install 'ml-experiment-nb[lab]'"


def bundle(kind: str, *, text: str, html: str, widget: Any = None, about: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Return a MIME bundle of a view.

    JupyterLab's extension renders our own type: the HTML at once, and the widget in its place when its model is there.
    Without the extension a front end takes the widget, the HTML or the text, whichever it knows best.

    Args:
        kind: What is shown: ``group``, ``comparison``, ``run``.
        text: The facts in a few lines, for terminals and screen readers.
        html: The facts as HTML that needs neither scripts nor a style sheet of ours.
        widget: The live widget; None where nobody would see it, so that no state of it is saved.
        about: What our own type has besides, such as what to ask the kernel for: see `control`.
    """
    found: dict[str, Any] = {MIME: {"kind": kind, **about}, "text/plain": text, "text/html": html}
    if widget is not None:
        found[VIEW] = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return found


def has_front_end() -> bool:
    """Whether a person's front end asked for the cell that runs: JupyterLab, Notebook or VS Code, which name the cell.

    nbclient and papermill don't, and would save a widget's state in the notebook for nobody.
    """
    return cell_id() is not None


def cell_id() -> str | None:
    """Return the id of the cell that runs, as the front end says it; None where it doesn't."""
    told = _asked().get("metadata", {}).get("cellId")
    return str(told) if told else None


def execution_id() -> str:
    """Return what is another one each time that a cell is run; empty outside of a kernel."""
    return str(_asked().get("header", {}).get("msg_id", ""))


def _asked() -> Mapping[str, Any]:
    """Return the message that asked for the cell that runs."""
    kernel = getattr(current_shell(), "kernel", None)
    found: Mapping[str, Any] = {} if kernel is None else kernel.get_parent("shell")
    return found


def has_widgets() -> bool:
    """Whether what widgets are made with is installed."""
    return importlib.util.find_spec("anywidget") is not None
