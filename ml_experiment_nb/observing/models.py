"""A trained model saved among the files of its run, in a fraction of a second.

MLflow's ``log_model`` takes seconds to find out what a model requires, in a process that loads it. Here it is known:
what is installed. The model is one of the run's artifacts, which its driver sends, so that a node needs no store for
it; ``runs:/ID/model`` loads it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.models import Model
from mlflow.utils import environment
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_MODELS

from ml_experiment_nb.observing.thisrun import ThisRun

_TAG_LENGTH = 5000
_BESIDE = ("cloudpickle", "joblib", "numpy", "pandas", "scipy")  # what a model may need beside its own library
_FORMATS = {"mlflow.lightgbm": {"serialization_format": "cloudpickle"}}
"""How a kind's models are saved: MLflow's own way, skops, would first import all of scikit-learn, and PyTorch."""
_OF_LIGHTNING, _CALLBACK = "mlflow.pytorch._lightning_autolog", "MlflowModelCheckpointCallback"


def save_model(run: ThisRun, name: str, flavor: Any, **options: Any) -> SimpleNamespace:
    """Save a model among a run's artifacts, where ``runs:/ID/NAME`` finds it; of several of one name, the last stays.

    Args:
        run: The run.
        name: The folder's name; where the code has put something of its own there, it gets a number.
        flavor: MLflow's module for the model's kind.
        **options: What its ``save_model`` takes.
    """
    target, partial = place(run, name), run.artifacts / f"record/{name}.partial"
    found = target.relative_to(run.artifacts).as_posix()
    model = Model(artifact_path=found, run_id=run.run_id)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            run.at_work(),
            replaced(environment, "warn_dependency_requirement_mismatches", lambda _: lambda *_args: None),
            replaced(environment, "_get_package_version", lambda _: _installed),
            _quiet("mlflow.utils.requirements_utils", flavor.__name__),
        ):
            options |= _FORMATS.get(flavor.__name__, {})  # MLflow's autologging asks, and nobody has asked it
            if options.get("pip_requirements") is None and options.get("conda_env") is None:
                options["pip_requirements"] = _requirements(flavor)
            flavor.save_model(path=str(partial), mlflow_model=model, **options)  # what it requires is what is here
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    saved(run, name, target)
    told = json.dumps([model.get_tags_dict()], default=str)
    if len(told) < _TAG_LENGTH:
        run.tags({MLFLOW_LOGGED_MODELS: told})
    return SimpleNamespace(model_id=None, model_uri=f"runs:/{run.run_id}/{found}", run_id=run.run_id)


def place(run: ThisRun, name: str) -> Path:
    """Return where something of ours goes among a run's artifacts: what the code itself has put there stays."""
    for count in itertools.count():
        wanted = run.artifacts / name
        found = wanted.with_name(f"{wanted.stem}-{count}{wanted.suffix}") if count else wanted
        if not os.path.lexists(found) or _is_ours(found, run):
            break
    return found


def saved(run: ThisRun, name: str, target: Path) -> None:
    """Remember what is ours among a run's artifacts, and note where it has not the name that it should have."""
    found = target.relative_to(run.artifacts).as_posix()
    run.saved.add(found)
    if found != name:
        run.note(f"the artifact {name} is the code's own: what was trained is kept as {found}")


def _is_ours(path: Path, run: ThisRun) -> bool:
    """Whether a file was written by us, or a model saved in this run: by this process, or by the step before."""
    if path.is_file():
        return path.relative_to(run.artifacts).as_posix() in run.saved
    with suppress(OSError, UnicodeDecodeError):
        return f"run_id: {run.run_id}" in (path / "MLmodel").read_text(encoding="utf-8").splitlines()
    return False


def save_network(run: ThisRun, network: Any) -> None:
    """Save a PyTorch module as a run's model."""
    with run.at_work():
        flavor = pytorch()
    save_model(run, "model", flavor, pytorch_model=network, serialization_format="pickle")


def pytorch() -> Any:
    """Return ``mlflow.pytorch``, without the seconds that it takes to import Lightning where nobody uses that.

    What of it needs Lightning is there when it is asked for.
    """
    if sys.modules.keys() & {"mlflow.pytorch", "lightning", "pytorch_lightning"}:
        return importlib.import_module("mlflow.pytorch")
    hidden: Any = sys.modules
    hidden[_OF_LIGHTNING] = None  # what is None there can't be imported, which MLflow takes for an answer
    try:
        module: Any = importlib.import_module("mlflow.pytorch")
    finally:
        hidden.pop(_OF_LIGHTNING, None)

    def of_lightning(name: str) -> Any:
        if name != _CALLBACK:
            raise AttributeError(f"module 'mlflow.pytorch' has no attribute {name!r}")
        return getattr(importlib.import_module(_OF_LIGHTNING), name)

    module.__getattr__ = of_lightning
    return module


def _requirements(flavor: Any) -> list[str]:
    """Return what a model of a kind needs, as it is installed here; MLflow would load the model in a process to see."""
    found = list(_default_requirements(flavor, tuple(sys.path)))
    named = {Path(one.split("=")[0].split("[")[0]).name.lower() for one in found}
    for module, names in _beside(flavor).items():
        if module in sys.modules and named.isdisjoint(names):
            for name in names:
                if (version := _installed(name)) is not None:
                    found.append(f"{name}=={version}")
                    break
    return found


@functools.lru_cache
def _default_requirements(flavor: Any, _path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(flavor.get_default_pip_requirements())


def _installed(name: str) -> str | None:
    """Return the version of what is installed, if it is; it is read once, as that takes a millisecond."""
    with suppress(metadata.PackageNotFoundError):
        return _version(name, tuple(sys.path))
    return None


@functools.lru_cache
def _version(name: str, _path: tuple[str, ...]) -> str:
    return metadata.version(name)


def _beside(flavor: Any) -> dict[str, tuple[str, ...]]:
    """Return modules that a model of a kind may need beside its library, and what each is installed as."""
    found: dict[str, tuple[str, ...]] = {one: (one,) for one in _BESIDE}
    if flavor.__name__ in ("mlflow.lightgbm", "mlflow.xgboost"):  # they have estimators
        found["sklearn"] = ("scikit-learn",)
    if flavor.__name__ == "mlflow.keras":
        backend = str(sys.modules["keras"].backend.backend())
        found[backend] = (backend, f"{backend}-cpu")
    return found


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Have loggers keep their warnings to themselves, in this thread: nobody has called what they warn of."""
    thread = threading.get_ident()

    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or record.thread != thread

    for name in names:
        logging.getLogger(name).addFilter(wanted)
    try:
        yield
    finally:
        for name in names:
            logging.getLogger(name).removeFilter(wanted)


@contextmanager
def replaced(where: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replace what stands in a class or a module while the block lasts; `make` is given what stood there."""
    before = inspect.getattr_static(where, name)
    ours = make(before)
    setattr(where, name, ours)
    try:
        yield
    finally:
        if inspect.getattr_static(where, name) is ours:  # else somebody has replaced it in turn
            setattr(where, name, before)
