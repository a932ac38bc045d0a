"""The cells above a notebook's parameters, run once, in the process that its kernels are forked from.

They run in a plain IPython shell, which needs no sockets and no threads; what they show is kept as a notebook's
outputs, in its order, and stands in every notebook whose kernel was forked after them. A kernel takes the shell's
namespace over as it is, the very dict, so that functions defined above see what is assigned below.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from ipykernel.jsonutil import encode_images, json_clean
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from ml_experiment_nb.cells import shell_lines
from ml_experiment_nb.notebooks import read_notebook, tags
from ml_experiment_nb.work.forkwire import PREFIX_FILE

_outputs: list[dict[str, Any]] = []
_shell: PrefixShell | None = None
_lines: list[str] = []
_outlet: Any = None
"""In a forked kernel: where its streams are; what has kept a stream of the set-up, such as a logger, goes on there."""


def run(path: Path, count: int, folder: Path) -> str | None:
    """Run a notebook's first cells and write their outputs to `folder`; return what went wrong, if anything did."""
    global _shell
    # The working directory is importable where IPython puts it in a kernel: before what is installed.
    installed = (k for k, one in enumerate(sys.path) if one.endswith(("site-packages", "dist-packages")))
    sys.path.insert(next(installed, 0), "")
    config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    _shell = shell = PrefixShell.instance(config=config)
    kept: list[dict[str, Any] | None] = []
    for cell in read_notebook(path).cells[:count]:
        _outputs.clear()
        if cell.cell_type == "code" and cell.source.strip() and "skip-execution" not in tags(cell):
            with redirect_stdout(_Stream("stdout")), redirect_stderr(_Stream("stderr")):
                result = shell.run_cell(cell.source, store_history=True)
            error = result.error_before_exec or result.error_in_exec
            if error is not None:
                return f"a setup cell raised {type(error).__name__}: {error}"
            _lines.extend(shell_lines(cell.source))
            outputs = [{k: v for k, v in one.items() if k != "transient"} for one in _outputs]
            kept.append({"outputs": json_clean(outputs), "execution_count": shell.execution_count - 1})
        else:
            kept.append(None)
    (folder / PREFIX_FILE).write_text(json.dumps(kept))
    return None


def namespace() -> dict[str, Any] | None:
    """Return the namespace that the setup cells have left in this process; None where there were none."""
    if _shell is None:
        return None
    PrefixShell.clear_instance()
    return _shell.user_ns  # type: ignore[no-any-return]


def carry_over(shell: Any) -> None:
    """Give a forked kernel's shell what the setup cells did to theirs: its count, its history, its extensions."""
    assert _shell is not None
    global _outlet
    _outlet = sys
    shell.execution_count = _shell.execution_count
    shell.enable_tip = False  # the banner's tip of the day would draw from the user's random numbers
    shell.compile.flags |= _shell.compile.flags  # from __future__ import …
    for name in _shell.user_ns.keys() - _shell.user_ns_hidden.keys():
        shell.user_ns_hidden.pop(name, None)  # they are the user's, for %who
    new, old = shell.history_manager, _shell.history_manager
    if old is not None:
        new.input_hist_parsed[:] = old.input_hist_parsed
        new.input_hist_raw[:] = old.input_hist_raw
        new.output_hist.update(old.output_hist)
    if "matplotlib_inline.backend_inline" in sys.modules:
        from matplotlib_inline import backend_inline

        # It remembers on itself which shell it has configured.
        vars(backend_inline.configure_inline_support)["current_backend"] = "another shell's"
        backend_inline._enable_matplotlib_integration()
    for line in _lines:
        name, _, rest = line.removeprefix("%").partition(" ")
        shell.run_line_magic(name, rest)


class _Hook(DisplayHook):
    """Keeps what a kernel would send as ``execute_result``."""

    def write_output_prompt(self) -> None:
        """Write no prompt."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        """Keep the value's representations."""
        _outputs.append(
            {
                "output_type": "execute_result",
                "data": encode_images(format_dict),
                "metadata": md_dict or {},
                "execution_count": self.prompt_count,
            }
        )

    def finish_displayhook(self) -> None:
        """Write no line end."""


class _Publisher(DisplayPublisher):
    """Keeps what a kernel would send as ``display_data``, ``update_display_data`` and ``clear_output``."""

    def publish(
        self, data: Any, metadata: Any = None, source: Any = None, *, transient: Any = None, update: bool = False,
        **options: Any,
    ) -> None:  # fmt: skip
        """Keep, or put in the place of what has the same display id."""
        shown = {"data": encode_images(data), "metadata": metadata or {}}
        name = (transient or {}).get("display_id")
        if update:
            for one in _outputs:
                if name is not None and one.get("transient", {}).get("display_id") == name:
                    one.update(shown)
            return
        _outputs.append({"output_type": "display_data", **shown, "transient": transient or {}})

    def clear_output(self, wait: bool = False) -> None:
        """Forget what was shown."""
        _outputs.clear()


class PrefixShell(InteractiveShell):
    """A shell that shows into `_outputs`."""

    displayhook_class = Type(_Hook)
    display_pub_class = Type(_Publisher)

    def enable_gui(self, gui: str | None = None) -> None:
        """Take ``%matplotlib inline`` as it is; an event loop is the kernel's business."""


class _Stream(io.TextIOBase):
    """``stdout`` or ``stderr``: text that follows text of the same stream joins it, as in a notebook."""

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        self._name = name

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if _outlet is not None:
            return int(getattr(_outlet, self._name).write(text))
        if _outputs and _outputs[-1].get("name") == self._name:
            _outputs[-1]["text"] += text
        elif text:
            _outputs.append({"output_type": "stream", "name": self._name, "text": text})
        return len(text)
