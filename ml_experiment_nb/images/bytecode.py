"""Which modules of an image have bytecode: those that a run loads.

All of it would be a fifth of an image, and most of it is never read. What has none works: it is compiled, in memory, by
the process that imports it.
"""

from __future__ import annotations

from typing import Final

from ml_experiment_nb.capture.packages import OWN
from ml_experiment_nb.images.code import Code
from ml_experiment_nb.images.environments import LAB, Environment, imported
from ml_experiment_nb.images.installed import closure, known

_OF_RUNS: Final = (
    *("mlflow", "mlflow.data", "mlflow.models", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store"),
    *("mlflow.tracking", "mlflow.utils.autologging_utils", "alembic.command", "alembic.config"),
    *("sqlalchemy.dialects.sqlite", "IPython.core.completerlib", "IPython.core.debugger", "IPython.core.logger"),
    *("IPython.extensions.storemagic", "debugpy.server.api", "ipykernel.debugger", "ipykernel.ipkernel"),
    *("ipykernel.kernelapp", "ipywidgets", "jupyter_client.provisioning", "nbclient", "papermill.execute", "pynvml"),
    *("rich.console", "rich.progress", "ruamel.yaml", "click.shell_completion"),
)
"""The modules by which a run loads nearly all that it does; they were told from runs."""
_PLACES: Final = ("mlflow/sklearn", "mlflow/store/db", "mlflow/store/db_migrations", "ipykernel_launcher.py")
"""What can't be imported by itself, or would load more than each run needs."""
_OF_SEARCHES: Final = ("cmaes", "optuna", "ray")
_OF_LAB: Final = (
    *("jupyterlab.labapp", "jupyter_server.serverapp", "jupyter_server.services.contents.largefilemanager"),
    *("jupyter_lsp.serverextension", "jupyter_server_terminals", "notebook_shim"),
)


def compiled(environment: Environment, code: Code, *, is_kernel: bool) -> tuple[str, ...]:
    """Return what is to have bytecode in an environment, as `ml_experiment_nb.images.settle` reads it.

    Packages that the code imports have all of theirs, and so have those that they need; of what runs the code it is
    what that loads. It doesn't change with the code, as long as this imports the same packages.

    Args:
        environment: The environment.
        code: The code.
        is_kernel: Whether the code runs in it.
    """
    names = {one.name for one in environment.packages}
    loaded = [*_OF_RUNS, *(_OF_LAB if LAB in names else ()), *(_OF_SEARCHES if code.program.is_search else ())]
    lines = [*(f"import {one}" for one in loaded), *_PLACES]
    if not is_kernel:
        return tuple(lines)
    there = known(environment.interpreter.path)
    roots = imported(code, environment.packages) - {OWN}
    wanted = closure(environment.interpreter, environment.packages, roots)
    return (*lines, *sorted({place for one in wanted for place in there[one.name].places}))
