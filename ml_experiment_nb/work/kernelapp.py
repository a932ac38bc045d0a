"""The beginning of a forked kernel: what ``python -m ipykernel_launcher`` does in a new process."""

from __future__ import annotations

import re
import signal
import sys

from ipykernel import kernelapp
from traitlets.config import Config
from traitlets.config.loader import DeferredConfigString

FLUSHED = 2.0  # seconds that the thread which took the plea to end may take to end itself
_NO_PARENT = 1  # ipykernel looks after no such parent: ours may die and leave us to the guardian, who ends us in time
_TRAIT = re.compile(r"--(\w+)\.(\w+)=(.*)", re.DOTALL)


class IPKernelApp(kernelapp.IPKernelApp):
    """ipykernel's application; it builds no parser of all options there are for those that a manager gives."""

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
