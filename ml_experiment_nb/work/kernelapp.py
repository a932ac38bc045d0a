"""The beginning of a forked kernel: what ``python -m ipykernel_launcher`` does in a new process."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from ipykernel import ipkernel, kernelapp
from traitlets import Type
from traitlets.config import Config
from traitlets.config.loader import DeferredConfigString

FLUSHED = 2.0  # seconds that the thread which took the plea to end may take to end itself
_NO_PARENT = 1  # ipykernel looks after no such parent: ours may die and leave us to the guardian, who ends us in time
_TRAIT = re.compile(r"--(\w+)\.(\w+)=(.*)", re.DOTALL)

_noted: list[SimpleNamespace] = []
"""The files of the modules that were there before the fork, side by side in memory."""


def note_modules() -> None:
    """Note the files of all modules, in the process that kernels are forked from."""
    files = [getattr(module, "__file__", None) for module in sys.modules.copy().values()]
    _noted.extend(SimpleNamespace(__file__=f"{file[:1]}{file[1:]}") for file in files if file)


class Kernel(ipkernel.IPythonKernel):
    """ipykernel's kernel; it takes the files of modules, which its debugger leaves out, from what was noted.

    To look at every module would have a fork copy a page of memory for each: a third of all that it copies.
    """

    def __init__(self, **options: Any) -> None:
        with _noted_modules():
            super().__init__(**options)


@contextmanager
def _noted_modules() -> Iterator[None]:
    """Let ``sys.modules.copy().values()``, in ipykernel's own module, be what was noted, while the block runs."""
    if not _noted:
        yield
        return
    theirs: Any = ipkernel
    found = SimpleNamespace(values=lambda: _noted)
    theirs.sys = SimpleNamespace(modules=SimpleNamespace(copy=lambda: found))
    try:
        yield
    finally:
        theirs.sys = sys


class IPKernelApp(kernelapp.IPKernelApp):
    """ipykernel's application; it builds no parser of all options there are for those that a manager gives."""

    kernel_class: Any = Type(Kernel, klass="ipykernel.kernelbase.Kernel").tag(config=True)

    def parse_command_line(self, argv: list[str] | None = None) -> None:
        """Take ``-f FILE --Class.trait=value …``, and anything else as ipykernel does."""
        match argv:
            case ["-f", file, *rest] if all(found := [_TRAIT.fullmatch(one) for one in rest]) or not rest:
                self.cli_config = Config({"IPKernelApp": {"connection_file": file}})
                for cls, trait, value in (one.groups() for one in found if one is not None):
                    self.cli_config[cls][trait] = DeferredConfigString(value)
                self.update_config(self.cli_config)
                self.argv = list(argv)
            case _:
                super().parse_command_line(argv)


def main(arguments: list[str]) -> None:
    """Be a kernel."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prefix = sys.modules.get("ml_experiment_nb.work.prefix")
    app = IPKernelApp.instance(parent_handle=_NO_PARENT, user_ns=prefix.namespace() if prefix else None)
    app.initialize(arguments)
    if prefix is not None:
        prefix.carry_over(app.shell)
    app.start()
    if app.control_thread is not None and getattr(app.kernel, "_shutdown_message", None) is not None:
        # It may still be flushing what was printed, through a thread that ends before it: ipykernel would wait 10 s.
        app.control_thread.join(FLUSHED)
