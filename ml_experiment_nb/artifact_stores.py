"""Where runs' files are kept besides their records: a folder here, one on a network disk, or S3-compatible storage."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlparse

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri, is_local_uri

from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.projects import FOLDER
from ml_experiment_nb.stores import is_database

ROOT = "MLFLOW_DEFAULT_ARTIFACT_ROOT"  # MLflow's own name for it, which its server reads too
ENDPOINT = "MLFLOW_S3_ENDPOINT_URL"


def artifact_root(root: Path, uri: str) -> str | None:
    """Return the address under which new experiments keep their files; None where the tracking server says it.

    Args:
        root: The project's root.
        uri: The tracking store's address.

    Raises:
        StoreError: Nothing is installed that can write there.
    """
    if not is_database(uri):
        return None
    told = os.environ.get(ROOT)
    if told and "://" in told:
        need_library(told)
        return told.rstrip("/")
    # MLflow's own default is a folder below whichever directory it was started in.
    return (Path(told).expanduser().absolute() if told else root / FOLDER / "artifacts").as_uri()


def location(where: str, experiment: str) -> str:
    """Return where an experiment's files go; two names may share a folder, as each run has one of its own in it."""
    folder = re.sub(r"[^\w .-]", "_", experiment)[:60].strip(" .") or "experiment"
    return f"{where}/{quote(folder) if where.startswith('file:') else folder.replace(' ', '_')}"


def need_library(where: str) -> None:
    """Fail where storage is named that needs a library which is not installed.

    Raises:
        StoreError: It says what to install.
    """
    if where.startswith("s3:") and find_spec("boto3") is None:
        raise StoreError(f"{where} needs boto3, which is not installed: pip install 'ml-experiment-nb[s3]'")


def check_artifacts(where: str) -> None:
    """Fail at once where boto would try for long: nobody answers at the S3 endpoint.

    Raises:
        StoreError: It says where nobody answers.
    """
    need_library(where)
    endpoint = os.environ.get(ENDPOINT) if where.startswith("s3:") else None
    if not endpoint:
        return
    with suppress(ValueError):
        address = urlparse(endpoint)
        port = address.port or (443 if address.scheme == "https" else 80)
        if address.hostname is None:
            raise StoreError(
                f"{ENDPOINT} is no address: {without_password(endpoint)!r}; it begins with http:// or https://"
            )
        try:
            socket.create_connection((address.hostname, port), timeout=5).close()
        except OSError as error:
            raise StoreError(f"no S3 server answers at {without_password(endpoint)} ({error})") from error


def send(where: str, folder: Path, tracking_uri: str) -> None:
    """Move the files of a folder to a run's artifacts, or copy them where they can't be moved.

    Raises:
        StoreError: Nobody answers there.
        MlflowException: They are refused.
        OSError: They can't be read or written.
    """
    if is_local_uri(where):
        target = Path(local_file_uri_to_path(where))
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # the run has artifacts already, or they lie on another disk
            folder.rename(target)
            return
    with refusals(where):
        repository(where, tracking_uri).log_artifacts(str(folder))


def repository(where: str, tracking_uri: str) -> ArtifactRepository:
    """Return MLflow's access to the files of a run; a client would look the run up for it."""
    where = add_databricks_profile_info_to_artifact_uri(where, tracking_uri)
    return get_artifact_repository(where, tracking_uri=tracking_uri)


@contextmanager
def refusals(where: str) -> Iterator[None]:
    """Turn what the libraries of such storage raise, each of them its own, into MLflow's error.

    Raises:
        StoreError: Nobody answers there.
        MlflowException: What was asked for within this block was refused.
    """
    check_artifacts(where)
    try:
        yield
    except (MlflowException, OSError, StoreError):
        raise
    except Exception as error:
        check_artifacts(where)
        raise MlflowException(f"{where}: {type(error).__name__}: {error}") from error
