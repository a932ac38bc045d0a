"""MLflow's own calls while a library's training is autologged: what they say of this run goes over its wire.

MLflow's autologging opens, writes and closes a run through its fluent API and its clients. While code of a run is
observed, and only inside of a fit that is being autologged, these are given

- as the active run, ours, which they neither open nor close;
- as the store, one that hands parameters, metrics and tags to the run's sink; anything else is the real store's;
- as the place of artifacts, the folder that the run's files are gathered in; a model is saved there as well.

So the driver stays the only one that writes the run, a node that can't reach the store is autologged too, and no engine
of a database is made in each process.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import mlflow
from mlflow.entities import LoggedModel, LoggedModelStatus, Run, RunData, RunInfo, RunTag
from mlflow.models import Model
from mlflow.tracing import client as tracing
from mlflow.tracking import fluent
from mlflow.tracking._tracking_service import utils as stores
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from mlflow.tracking.context import registry as context_registry
from mlflow.utils import autologging_utils
from mlflow.utils.async_logging.run_operations import RunOperations
from mlflow.utils.autologging_utils import safety
from mlflow.utils.autologging_utils.client import MlflowAutologgingQueueingClient
from mlflow.utils.mlflow_tags import MLFLOW_AUTOLOGGING
from mlflow.utils.time import get_current_time_millis

from ml_experiment_nb.observing import scores
from ml_experiment_nb.observing.models import replaced, save_model
from ml_experiment_nb.observing.thisrun import ThisRun

_NO_PLOTS = "no plots are asked for"
_FAILED = ("Encountered", "Failed")
_earlier: set[str] = set()
"""The runs of this process's earlier cells: what a model of theirs says of them now means the present one."""
_own = threading.local()


@contextmanager
def routed(run: ThisRun, *, models: bool, plots: bool) -> Iterator[None]:
    """Have autologging write to a run while the block lasts.

    Args:
        run: The run.
        models: Whether trained models are kept.
        plots: Whether the plots that MLflow makes of a fit are drawn.
    """
    with ExitStack() as stack:
        for where, name, make in _patches(run, models, plots):
            stack.enter_context(replaced(where, name, make))
        handler = _Warnings(run)
        logger = logging.getLogger("mlflow")
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        stack.callback(_leave, run)
        yield


def is_autologging() -> bool:
    """Whether MLflow is called by its own autologging, in any thread."""
    return safety._AutologgingSessionManager.active_session() is not None or getattr(_own, "flushing", False)


def _patches(run: ThisRun, models: bool, plots: bool) -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    """Yield what is replaced: where, its name, and what makes the replacement of it."""
    yield TrackingServiceClient, "store", lambda original: property(lambda self: _store(run, self, original.fget))
    yield tracing.TracingClient, "store", lambda original: property(lambda self: _store(run, self, original.fget))
    yield mlflow, "start_run", functools.partial(_start_run, run)
    yield mlflow, "end_run", functools.partial(_end_run, run)
    yield Model, "log", functools.partial(_log_model, run, models)
    yield context_registry, "resolve_tags", _resolve_tags
    for where, name in (
        (MlflowAutologgingQueueingClient, "_flush_pending_operations"),
        (autologging_utils.BatchMetricsLogger, "_timed_log_batch"),
    ):
        yield where, name, _flushing
    from mlflow.sklearn import utils as sklearn_utils

    yield sklearn_utils, "_log_specialized_estimator_content", _quietly
    if (validation := sys.modules.get("sklearn.model_selection._validation")) is not None:
        for name in ("_fit_and_score", "_fit_and_predict", "_incremental_fit_estimator"):
            yield validation, name, _without_autologging
    if (ranking := sys.modules.get("sklearn.metrics._ranking")) is not None:
        yield ranking, "_average_multiclass_ovo_score", functools.partial(scores.quick_pairs, ranking, is_autologging)
    if (counting := sys.modules.get("sklearn.metrics._classification")) is not None:
        yield counting, "precision_recall_fscore_support", scores.counting
    if (base := sys.modules.get("sklearn.base")) is not None and hasattr(base, "inspect"):
        yield base, "inspect", scores.looking_once
    if not plots:
        yield sklearn_utils, "_get_classifier_artifacts", _no_plots


def _leave(run: ThisRun) -> None:
    _earlier.add(run.run_id)
    stores._artifact_repos_cache.pop(run.run_id, None)  # it points to where the files were gathered
    active = fluent._active_run_stack.get()
    active[:] = [one for one in active if not isinstance(one, _OurRun)]


def _store(run: ThisRun, client: Any, real: Callable[[Any], Any]) -> Any:
    driver = getattr(getattr(run.sink, "client", None), "_tracking_client", None)
    if client is driver or not is_autologging():  # a cell's driver, which writes what it was told, is in this process
        return real(client)
    return RunStore(run, lambda: real(client))


class _OurRun(fluent.ActiveRun):
    """Our run, as the active one of a fit."""


def _start_run(run: ThisRun, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start_run(*args: Any, **options: Any) -> Any:
        tags = options.get("tags") or {}
        if MLFLOW_AUTOLOGGING not in tags or fluent.active_run() is not None:
            return original(*args, **options)
        ours: Any = _OurRun(entity(run))  # type: ignore[no-untyped-call]
        fluent._active_run_stack.get().append(ours)
        run.tags(tags)
        return ours

    return start_run


def _end_run(run: ThisRun, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def end_run(*args: Any, **options: Any) -> Any:
        active = fluent._active_run_stack.get()
        if not active or not isinstance(active[-1], _OurRun):
            return original(*args, **options)
        active.pop()
        fluent._last_active_run_id.set(run.run_id)
        return None

    return end_run


def _flushing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call of autologging's own that may come from a thread, or after the fit."""

    @functools.wraps(original)
    def call(*args: Any, **options: Any) -> Any:
        before, _own.flushing = getattr(_own, "flushing", False), True
        try:
            return original(*args, **options)
        finally:
            _own.flushing = before

    return call


def _resolve_tags(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what tells where a run comes from: of ours its driver does, and MLflow would import IPython for it."""

    @functools.wraps(original)
    def resolve_tags(tags: Any = None, *args: Any, **options: Any) -> Any:
        return dict(tags or {}) if is_autologging() else original(tags, *args, **options)

    return resolve_tags


def _no_plots(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what refuses to name a fit's plots: MLflow goes on without them, and without importing Matplotlib."""

    def plots(*args: Any, **options: Any) -> Any:
        if autologging_utils.get_autologging_config("sklearn", "silent", False):
            raise LookupError(_NO_PLOTS)
        return original(*args, **options)  # the user's own autologging has them

    return plots


def without_pyplot(is_wanted: Callable[[], bool]) -> dict[str, Any]:
    """Return builtins for a module of MLflow's that draws at each fit: it can't import Matplotlib, and goes on without.

    Only the functions see them that the module makes from then on.

    Args:
        is_wanted: Whether it is to draw all the same.
    """

    def importing(name: str, *args: Any) -> Any:
        if name == "matplotlib.pyplot" and not is_wanted():
            raise LookupError(_NO_PLOTS)
        return builtins.__import__(name, *args)

    return {**vars(builtins), "__import__": importing}


def _without_autologging(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what trains for a cross-validation, and so is no training of the run's.

    MLflow sees to that by names such as ``cross_val_score``, which the code may have imported long before.
    """

    @functools.wraps(original)
    def call(*args: Any, **options: Any) -> Any:
        with autologging_utils.disable_autologging():
            return original(*args, **options)

    return call


def _quietly(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call of MLflow's that warns of its own use of a library."""

    @functools.wraps(original)
    def call(*args: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return original(*args, **options)

    return call


def entity(run: ThisRun) -> Run:
    """Return a run as MLflow knows it; of what it holds, nothing."""
    info = RunInfo(
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        user_id="",
        status="RUNNING",
        start_time=get_current_time_millis(),
        end_time=None,
        lifecycle_stage="active",
        artifact_uri=run.artifacts.absolute().as_uri(),
    )
    return Run(info, RunData())


class RunStore:
    """What autologging takes for the tracking store.

    Args:
        run: The run that is written over the wire.
        real: Gives the store that has all the rest.
    """

    def __init__(self, run: ThisRun, real: Callable[[], Any]) -> None:
        self._run = run
        self._real = real

    def __getattr__(self, name: str) -> Any:
        """Give what is the real store's."""
        return getattr(self._real(), name)

    def _is_ours(self, run_id: str | None) -> bool:
        return run_id == self._run.run_id or run_id in _earlier

    def get_run(self, run_id: str) -> Run:
        """Return the run."""
        return entity(self._run) if self._is_ours(run_id) else self._real().get_run(run_id)

    def log_batch(self, run_id: str, metrics: Iterable[Any], params: Iterable[Any], tags: Iterable[Any]) -> None:
        """Hand what is logged to the run."""
        if not self._is_ours(run_id):
            self._real().log_batch(run_id, metrics, params, tags)
            return
        session = safety._AutologgingSessionManager.active_session()
        if session is not None:
            self._run.begin(session.id)
        self._run.params({one.key: one.value for one in params})
        self._run.tags({one.key: one.value for one in tags})
        if session is not None and session.integration == "keras":  # of each val_loss it logs a validation_loss, too
            metrics = [one for one in metrics if not one.key.startswith("validation_")]
        for (moment, step), same in groupby(metrics, key=lambda one: (one.timestamp, one.step)):
            self._run.metrics({one.key: one.value for one in same}, step or 0, moment / 1000)

    def log_batch_async(self, run_id: str, metrics: Any, params: Any, tags: Any) -> RunOperations:
        """Hand what is logged to the run, which doesn't wait for anything."""
        if not self._is_ours(run_id):
            found: RunOperations = self._real().log_batch_async(run_id, metrics, params, tags)
            return found
        self.log_batch(run_id, metrics, params, tags)
        return RunOperations(operation_futures=[])

    def log_metric(self, run_id: str, metric: Any) -> None:
        """Hand a metric to the run."""
        self.log_batch(run_id, [metric], [], [])

    def log_metric_async(self, run_id: str, metric: Any) -> RunOperations:
        """Hand a metric to the run."""
        return self.log_batch_async(run_id, [metric], [], [])

    def log_param(self, run_id: str, param: Any) -> None:
        """Hand a parameter to the run."""
        self.log_batch(run_id, [], [param], [])

    def log_param_async(self, run_id: str, param: Any) -> RunOperations:
        """Hand a parameter to the run."""
        return self.log_batch_async(run_id, [], [param], [])

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Hand a tag to the run."""
        self.log_batch(run_id, [], [], [tag])

    def set_tag_async(self, run_id: str, tag: RunTag) -> RunOperations:
        """Hand a tag to the run."""
        return self.log_batch_async(run_id, [], [], [tag])

    def update_run_info(self, run_id: str, *args: Any, **options: Any) -> Any:
        """Leave the run's status to its driver."""
        return (
            entity(self._run).info if self._is_ours(run_id) else self._real().update_run_info(run_id, *args, **options)
        )

    def log_outputs(self, run_id: str, models: Any) -> None:
        """Leave the run's models to its artifacts."""
        if not self._is_ours(run_id):
            self._real().log_outputs(run_id, models)

    def create_logged_model(self, *args: Any, name: str | None = None, **options: Any) -> LoggedModel:
        """Return what stands for a model that will be one of the run's artifacts."""
        now = get_current_time_millis()
        name = name or "model"
        return LoggedModel(
            experiment_id=self._run.experiment_id, model_id=f"m-{self._run.run_id}", name=name,
            artifact_location=(self._run.artifacts / name).as_uri(), creation_timestamp=now, last_updated_timestamp=now,
            source_run_id=self._run.run_id, status=LoggedModelStatus.PENDING,
        )  # fmt: skip


def _log_model(run: ThisRun, wanted: bool, original: Any) -> Any:
    """Return what autologging's models are logged by: saved among the run's artifacts, their requirements known."""
    signature = inspect.signature(original.__func__)

    @functools.wraps(original.__func__)
    def log(cls: Any, *args: Any, **options: Any) -> Any:
        active = fluent.active_run()
        if not is_autologging() or active is None or active.info.run_id != run.run_id:
            return original.__func__(cls, *args, **options)
        if not wanted:
            return SimpleNamespace(model_id=None)
        given = signature.bind(cls, *args, **options)
        name = given.arguments.get("name") or given.arguments.get("artifact_path") or "model"
        return save_model(run, str(name), given.arguments["flavor"], **given.arguments.get("kwargs", {}))

    return classmethod(log)


class _Warnings(logging.Handler):
    """Turns what autologging could not do, and says quietly, into notes."""

    def __init__(self, run: ThisRun) -> None:
        super().__init__(logging.WARNING)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        """Note what failed."""
        with suppress(Exception):  # a library's own message may not fit its values
            text = " ".join(record.getMessage().split())
            if record.exc_info and _NO_PLOTS in str(record.exc_info[1]):
                return
            if text.startswith(_FAILED) and _NO_PLOTS not in text and is_autologging():
                self._run.note(f"autologging: {text[:300]}")
