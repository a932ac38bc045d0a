"""A cell's source, run in an IPython shell: the same in the user's notebook and in a trial."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Number
from types import TracebackType
from typing import Any

from ml_experiment_nb import reports, secrecy
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.masking import masked
from ml_experiment_nb.tracebacks import lines_of


def run_source(shell: Any, source: str, *, above: int = 0) -> Any:
    """Run a cell in a shell's namespace and return the value of its last expression (None without one).

    Unlike ``shell.run_cell`` it shows neither the value nor a traceback: exceptions are the caller's.

    Args:
        shell: An IPython ``InteractiveShell``.
        source: The cell; magics and ``!`` commands are understood, top-level ``await`` is not.
        above: How many lines stand above it in the notebook's cell: tracebacks number lines as the editor does.

    Raises:
        SpecError: The cell is no Python.
    """
    code = "\n" * above + shell.transform_cell(source)
    name = shell.compile.cache(code, shell.execution_count, raw_code=source)
    try:
        tree = shell.transform_ast(ast.parse(code, filename=name))
    except SyntaxError as error:
        raise SpecError(f"{error.msg}: {(error.text or '').strip()}", "the cell", error.lineno) from None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    namespace = shell.user_ns
    exec(compile(tree, name, "exec"), shell.user_global_ns, namespace)
    if not isinstance(last, ast.Expr):
        return None
    expression = ast.fix_missing_locations(ast.Expression(last.value))
    return eval(compile(expression, name, "eval"), shell.user_global_ns, namespace)


def show_value(shell: Any, value: Any, source: str) -> None:
    """Show a cell's last value as a notebook does, if that is more than text and not what the run takes for metrics."""
    if value is None or isinstance(value, Mapping | tuple | str | Number) or source.rstrip().endswith(";"):
        return
    data, metadata = shell.display_formatter.format(value)  # of what displays itself it is empty
    if data.keys() - {"text/plain"}:
        shell.display_pub.publish(data=data, metadata=metadata)


@contextmanager
def calling_secrets(namespace: dict[str, Any], params: Mapping[str, Any]) -> Iterator[None]:
    """Have ``secret`` mean ours in a namespace while a cell is run whose parameters call it."""
    before = namespace.get("secret", _NOTHING)
    if any(secrecy.names_in(params)):
        namespace["secret"] = reports.secret
    try:
        yield
    finally:
        if namespace.get("secret") is reports.secret and before is not reports.secret:
            if before is _NOTHING:
                del namespace["secret"]
            else:
                namespace["secret"] = before


_NOTHING = object()


def render_in_notebook(error: BaseException, trace: TracebackType | None) -> None:
    """Make an exception show the frames of the user's own code when IPython prints it; see `tracebacks`.

    Args:
        error: The exception.
        trace: Its traceback from the user's own code on.
    """
    error.__traceback__ = trace
    lines = [masked(one) for one in lines_of(error, skipped=0)]
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]


def current_shell() -> Any:
    """Return the IPython shell of this process; None outside of IPython, which is not imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None
