"""How a run is opened in a store that may go away just then: its answer may be lost, and the run be there."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

from ml_experiment_nb.drivers import NEW, Driver, Hold, folders
from ml_experiment_nb.errors import StoreError
from ml_experiment_nb.projects import home
from ml_experiment_nb.stores import check, is_refusal, translated
from ml_experiment_nb.tracking import Store

_asking = threading.Lock()
PAUSES = (0.2, 1.0)  # seconds before a store that is there, and did not answer, is asked again


def opened(store: Store, driver: Driver, create: Callable[[Driver], Run]) -> tuple[Run, Hold]:
    """Have a run created, or find the one that an earlier try has created without learning of it.

    A try that fails keeps its hold in `Store.unanswered`: the next one for the same run goes on with it.

    Args:
        store: The store.
        driver: Who drives the run.
        create: Creates the run, tagged with the driver that it is given.

    Returns:
        The run, and the hold on its folder, which is named as the run is.

    Raises:
        StoreError: The store can't be written.
    """
    where = folders(home(store.root))
    hold = next((one for one in store.unanswered if _is_same(one.driver, driver)), None)
    is_new = hold is None
    if hold is None:
        hold = _new(where / f"{NEW}{driver.token}", driver)  # before the run is there: it never is without its driver
    else:
        store.unanswered.remove(hold)
    try:
        run = _created(store, hold.driver, create, is_new)
        hold.move(where / run.info.run_id)
    except StoreError:
        store.unanswered.append(hold)
        raise
    except BaseException:
        hold.drop()
        raise
    return run, hold


def _new(folder: Path, driver: Driver) -> Hold:
    try:
        folder.mkdir(parents=True)
        return Hold(folder, driver)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StoreError(f"no run can be begun: {folder.parent} can't be written ({error.strerror})") from error


def _created(store: Store, driver: Driver, create: Callable[[Driver], Run], is_new: bool) -> Run:
    """Have a run created, or found; a store that stumbles is asked again, and one that has gone is not."""
    for pause in (*PAUSES, None):
        try:
            with translated(store.uri):
                run = None if is_new else store.tagged("mlexp.driver", driver.tag)
                if run is None:
                    with _asking_once():
                        run = create(driver)
                return run
        except StoreError as error:
            if pause is None or is_refusal(error):
                raise
            check(store.uri)
            time.sleep(pause)
            is_new = False
    raise AssertionError


def _is_same(one: Driver, other: Driver) -> bool:
    return replace(one, token=other.token) == other


@contextmanager
def _asking_once() -> Iterator[None]:
    """Keep MLflow's client from sending a request again whose answer it has missed: it would create a second run."""
    with _asking:  # the setting is the process's
        before = MLFLOW_HTTP_REQUEST_MAX_RETRIES.get_raw()
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)
        try:
            yield
        finally:
            if before is None:
                MLFLOW_HTTP_REQUEST_MAX_RETRIES.unset()
            else:
                MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(before)
