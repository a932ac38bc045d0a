"""The comparison's widget: its columns for the browser, its selection, and answers to what is asked of the kernel."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from ml_experiment_nb.archive import Archive
from ml_experiment_nb.comparison.answers import answer
from ml_experiment_nb.errors import ExperimentError
from ml_experiment_nb.records import Records
from ml_experiment_nb.widgets.assets import css, esm
from ml_experiment_nb.widgets.columns import columns_of


class ComparisonWidget(anywidget.AnyWidget):
    """Runs in the browser: a table and plots that share a selection.

    Args:
        rows: The runs, in the order in which they are shown at first.
        store: Where the rest is read from when it is asked for.
        note: What is said beside their number.
    """

    _esm = esm("comparison")
    _css = css("comparison")
    columns: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    goals: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    best = traitlets.Int(-1).tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, rows: Records, store: Archive, *, note: str = "") -> None:
        self.rows = rows
        self._store = store
        best = rows.best
        super().__init__(
            columns=[one.state() for one in columns_of(rows, first=[name for name, _ in rows.goals])],
            goals=[list(goal) for goal in rows.goals],
            best=rows.index(best) if best is not None else -1,
            note=note,
        )
        self.on_msg(self._on_message)

    def _on_message(self, _: Any, asked: Any, buffers: Any) -> None:
        if not isinstance(asked, dict) or "ask" not in asked:
            return
        said: dict[str, Any]
        try:
            said, found = answer(asked, self.rows, self._store)
        except ExperimentError as error:
            said, found = {"error": str(error)}, []
        except Exception as error:  # whoever waits in the browser is told, whatever it is
            said, found = {"error": f"{type(error).__name__}: {error}"}, []
        self.send({"answer": asked["ask"], **said}, buffers=found)
