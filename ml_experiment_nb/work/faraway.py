"""A store that a task's own MLflow calls can't reach, because it is a file of the driver's machine: it says so.

On such a node ``MLFLOW_TRACKING_URI`` has a scheme of ours, which MLflow resolves by the entry point
``mlflow.tracking_store`` to `refuse`. What a task reports over its wire needs no store.
"""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import urlparse

SCHEME = "ml-experiment-faraway"
_HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


def reachable(uri: str, *, same_files: bool, same_machine: bool) -> str:
    """Return a store's address as a node can use it, or as one that says why it can't.

    Args:
        uri: The store's address on the driver's machine.
        same_files: Whether the node sees the driver's files.
        same_machine: Whether the node is that machine.
    """
    found = urlparse(uri)
    if found.scheme.startswith("http"):
        return uri if same_machine or found.hostname not in _HERE else f"{SCHEME}:{uri}"
    is_file = found.scheme.partition("+")[0] in ("sqlite", "file", "")
    return f"{SCHEME}:{uri}" if is_file and not same_files else uri


def refuse(store_uri: str, artifact_uri: str | None = None, **_: Any) -> NoReturn:
    """Say that MLflow can't be used here, and what to do.

    Raises:
        MlflowException: Always.
    """
    from mlflow.exceptions import MlflowException

    from ml_experiment_nb import events, reports

    uri = store_uri.removeprefix(f"{SCHEME}:")
    what = "listens on the driver's machine alone" if uri.startswith("http") else "is a file of the driver's machine"
    command = "mlflow server --host 0.0.0.0" + ("" if uri.startswith("http") else f" --backend-store-uri {uri}")
    text = (
        f"MLflow's own calls can't reach the store from this node: {uri} {what}. Start a server there (`{command}`) "
        "and set MLFLOW_TRACKING_URI to its address; report() and artifact() need none"
    )
    if (sink := reports.active_sink()) is not None:  # autologging catches what is raised, so the record says it too
        sink.send(events.Note(text))
    raise MlflowException(text)
