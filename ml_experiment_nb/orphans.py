"""Whether runs were left by a driver that is gone, told by their folders alone: no store is opened for it."""

from __future__ import annotations

from pathlib import Path

from ml_experiment_nb import drivers
from ml_experiment_nb.addresses import without_password
from ml_experiment_nb.projects import FOLDER
from ml_experiment_nb.stores import is_shared


def has_orphans(root: Path, uri: str) -> bool:
    """Return whether a sweep of a project's runs in a store would find something to do; it looks at one folder."""
    found = (drivers.read_driver(folder) for folder in drivers.driven(root / FOLDER) if is_orphan(folder))
    return any(driver is not None and driver.store == without_password(uri) for driver in found)


def is_orphan(folder: Path) -> bool:
    """Return whether the driver of a run's folder is gone."""
    if drivers.is_alive(folder):
        return False
    driver = drivers.read_driver(folder)
    # Another machine's locks may not be seen from here.
    return driver is not None and (driver.is_near or (folder / drivers.GONE).exists() or not is_shared(folder))
