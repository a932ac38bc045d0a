"""What a view's page asks of its kernel, answered also while a cell keeps the kernel busy.

A kernel hears a widget's own messages when its running cell has ended, and those of its control channel at once, in a
thread. So a page asks there where it has that channel (JupyterLab, Notebook), and by the widget elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ml_experiment_nb.errors import ExperimentError
from ml_experiment_nb.work.shell import current_shell

REQUEST = "ml_experiment_request"
REPLY = "ml_experiment_reply"

_views: dict[str, Callable[[Mapping[str, Any]], str]] = {}


def listen(view: str, act: Callable[[Mapping[str, Any]], str]) -> None:
    """Have what pages ask of a view done from now on, until `forget`.

    Args:
        view: The view's own name.
        act: Does it, and returns in words what was done; its errors are told to the page.
    """
    _views[view] = act
    kernel = getattr(current_shell(), "kernel", None)
    handlers = getattr(kernel, "control_handlers", None)
    if handlers is not None:
        handlers[REQUEST] = lambda stream, ident, message: _reply(kernel, stream, ident, message)


def forget(view: str) -> None:
    """Do nothing more for a view."""
    _views.pop(view, None)


def answer(asked: Any) -> dict[str, Any]:
    """Do what a page asks, a dict with the ``view`` in it, and return the answer's content."""
    act = _views.get(str(asked.get("view"))) if isinstance(asked, dict) else None
    if act is None:
        return {"status": "error", "message": "nothing of this view runs any more"}
    try:
        return {"status": "ok", "message": act(asked)}
    except (ExperimentError, OSError) as error:
        return {"status": "error", "message": str(error)}


def _reply(kernel: Any, stream: Any, ident: Any, message: Any) -> None:
    kernel.session.send(stream, REPLY, answer(message.get("content")), message, ident=ident)
