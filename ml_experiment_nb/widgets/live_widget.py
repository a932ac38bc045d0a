"""The widget of a live view: it has a group's state whole for a page that opens, and sends one that is open deltas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from ml_experiment_nb.widgets import assets, control
from ml_experiment_nb.widgets.live import Delta


class LiveWidget(anywidget.AnyWidget):
    """A group while it runs.

    Args:
        whole: Gives the state whole; it is asked for whenever a page wants it.
    """

    _esm = assets.esm("live")
    _css = assets.css("live")
    _state = traitlets.Int(0).tag(sync=True, to_json=lambda _, widget: _packed(widget.whole()))

    def __init__(self, whole: Callable[[], Delta]) -> None:
        self.whole = whole
        super().__init__()
        self.on_msg(self._asked)

    def tell(self, delta: Delta) -> None:
        """Send what has changed."""
        self.send({"delta": delta.parts}, list(delta.bytes))

    def tell_all(self) -> None:
        """Send all that there is."""
        self.send_state("_state")

    def _asked(self, _: Any, content: Any, buffers: Any) -> None:
        """Answer a page that has no control channel."""
        self.send({"answer": control.answer(content)})


_shown: dict[str, tuple[str, list[LiveWidget]]] = {}  # the last ones of each cell, with the execution that showed them


def keep(widget: LiveWidget, cell: str | None, execution: str) -> None:
    """Keep the widget that a cell shows, and close those that it showed when it was run before."""
    if cell is None:
        return
    before, widgets = _shown.get(cell, ("", []))
    if before != execution:
        for one in widgets:
            one.close()
        widgets = []
    _shown[cell] = (execution, [*widgets, widget])


def _packed(delta: Delta) -> dict[str, Any]:
    return {"parts": delta.parts, "bytes": list(delta.bytes)}
