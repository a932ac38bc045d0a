"""What code shows becomes files of its run: what IPython displays, and figures of a library that would open a window.

In a notebook all is shown as it would be. In a task's own process nobody looks: there Matplotlib draws without a
window, and what is given to ``show()``, or is open in the end, counts as shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ml_experiment_nb import events, reports, wire
from ml_experiment_nb.capture.gallery import Gallery
from ml_experiment_nb.observing import ObservingOptions
from ml_experiment_nb.observing.imports import when_imported

_INLINE = ("inline", "module://matplotlib_inline.backend_inline")
_NAME = "ml_experiment"
_current: Gallery | None = None


@contextmanager
def observing(sink: reports.Sink, asked: ObservingOptions) -> Iterator[None]:
    """Keep what the code of the block shows."""
    global _current

    def note(text: str) -> None:
        sink.send(events.Note(text))

    gallery = Gallery(sink.artifacts, note, is_trial=asked.trial)
    before, _current = _current, gallery
    shell = _shell()
    is_alone = wire.SOCKET in os.environ and not hasattr(shell, "kernel")
    with ExitStack() as stack:
        if shell is not None:
            stack.enter_context(_watched(shell, gallery))
        if is_alone:
            _draw_without_windows(gallery, stack)
        opened = _open_figures()
        try:
            yield
        finally:
            _current = before
            _flush(gallery, opened)


@contextmanager
def shown_by(shell: Any) -> Iterator[None]:
    """Keep what a shell shows that was made after observing began."""
    if _current is None:
        yield
        return
    gallery, opened = _current, _open_figures()
    with _watched(shell, gallery):
        try:
            yield
        finally:
            _flush(gallery, opened)  # while what it displays is seen


@contextmanager
def _watched(shell: Any, gallery: Gallery) -> Iterator[None]:
    """Have a shell's display system tell what it shows."""
    formatted: list[Any] = [None, None]  # the last object's forms, and the object

    def note_value(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        found = call(*args, **options)
        formatted[:] = [found[0], args[0] if args else options.get("obj")]
        return found

    def take(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        found = call(*args, **options)
        with harmless(gallery):
            data = args[0] if args else options.get("data", options.get("format_dict", {}))
            value = formatted[1] if formatted[0] is data else None
            formatted[:] = [None, None]
            display_id = (options.get("transient") or {}).get("display_id")
            gallery.take(value, data, display_id=display_id, update=bool(options.get("update")))
        return found

    def clear(call: Callable[..., Any], wait: bool = False) -> Any:
        with harmless(gallery):
            gallery.clear(wait=wait)
        return call(wait)

    def begin(*_: Any) -> None:
        gallery.begin_cell()

    with ExitStack() as stack:
        for owner, name, wrapper in (
            (shell.display_formatter, "format", note_value),
            (shell.display_pub, "publish", take),
            (shell.displayhook, "write_format_data", take),
            (shell.display_pub, "clear_output", clear),
        ):
            stack.enter_context(_wrapped(owner, name, wrapper))
        shell.events.register("pre_run_cell", begin)
        stack.callback(_unregister, shell, begin)
        yield


@contextmanager
def _wrapped(owner: Any, name: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Have calls of an object's method go through `wrapper`, which is given the method itself first."""
    own = vars(owner).get(name)
    method = getattr(owner, name)

    def call(*args: Any, **options: Any) -> Any:
        return wrapper(method, *args, **options)

    setattr(owner, name, call)
    try:
        yield
    finally:
        if vars(owner).get(name) is call:  # else the user's code has put something else there
            delattr(owner, name)
            if own is not None:
                setattr(owner, name, own)


def _unregister(shell: Any, callback: Callable[..., None]) -> None:
    with suppress(ValueError):
        shell.events.unregister("pre_run_cell", callback)


def _draw_without_windows(gallery: Gallery, stack: ExitStack) -> None:
    """Where nobody looks, let Matplotlib and Plotly open no window and no browser, but hand over what they show."""

    def choose(matplotlib: Any) -> None:
        from matplotlib.rcsetup import _auto_backend_sentinel

        chosen = dict.__getitem__(matplotlib.rcParams, "backend")
        if chosen is _auto_backend_sentinel or chosen in _INLINE:
            matplotlib.rcParams["backend"] = "agg"

    def watch_show(pyplot: Any) -> None:
        original = pyplot.show

        def show(*args: Any, **options: Any) -> Any:
            backend = str(pyplot.get_backend()).lower()
            if backend not in _INLINE:  # that one displays them
                _keep_open(gallery, set(), close="IPython" in sys.modules and _shell() is not None)
            return None if backend == "agg" else original(*args, **options)  # which would only warn

        pyplot.show = show
        stack.callback(setattr, pyplot, "show", original)

    def watch_plotly(renderers: Any) -> None:
        if os.environ.get("PLOTLY_RENDERER"):
            return
        from plotly.io.base_renderers import ExternalRenderer

        class Renderer(ExternalRenderer):  # type: ignore[misc]
            def render(self, figure: Any) -> None:
                with harmless(gallery):
                    gallery.plotly(figure)

        renderers.renderers[_NAME] = Renderer()
        renderers.renderers.default = _NAME

    for name, act in (
        ("matplotlib", choose),
        ("matplotlib.pyplot", watch_show),
        ("plotly.io._renderers", watch_plotly),
    ):
        stack.callback(when_imported(name, act))


def _flush(gallery: Gallery, opened: set[int]) -> None:
    """Show what would be shown at the end of a notebook's cell, and keep what else was opened and not shown."""
    if (inline := sys.modules.get("matplotlib_inline.backend_inline")) is not None and _is_inline():
        with harmless(gallery):
            inline.flush_figures()  # IPython would do so only after the run has ended
        return
    _keep_open(gallery, opened)


def _keep_open(gallery: Gallery, apart: set[int], *, close: bool = False) -> None:
    """Keep the figures that are open, apart from some."""
    for figure in list(_managed()):
        if id(figure) not in apart:
            with harmless(gallery):
                gallery.figure(figure)
    if close and (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")


def _open_figures() -> set[int]:
    return {id(figure) for figure in _managed()}


def _managed() -> Iterator[Any]:
    """Yield the figures that pyplot has open."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    for number in pyplot.get_fignums() if hasattr(pyplot, "get_fignums") else ():  # else it is just being imported
        yield sys.modules["matplotlib._pylab_helpers"].Gcf.figs[number].canvas.figure


def _is_inline() -> bool:
    matplotlib = sys.modules.get("matplotlib")
    return matplotlib is not None and dict.__getitem__(matplotlib.rcParams, "backend") in _INLINE


def _shell() -> Any:
    ipython: Any = sys.modules.get("IPython")
    return ipython.get_ipython() if hasattr(ipython, "get_ipython") else None


@contextmanager
def harmless(gallery: Gallery) -> Iterator[None]:
    """Note what fails in the block: it must not break the user's code."""
    try:
        yield
    except Exception as error:
        gallery.fail(error)
