"""What libraries train is recorded: their parameters, their curves and the model, by MLflow's own autologging.

A library is looked after from the moment when its import has finished, and at once where it is imported already; where
none is, nothing happens. MLflow's patches are switched on while code of a run is observed, and off again after it. What
a user has set up by MLflow's own ``autolog`` is left as it is.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ml_experiment_nb import reports
from ml_experiment_nb.libraries import LIBRARIES
from ml_experiment_nb.observing.imports import around_imports
from ml_experiment_nb.observing.thisrun import ThisRun

if TYPE_CHECKING:
    from ml_experiment_nb.observing import ObservingOptions

MODULES = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "keras": "keras",
    "lightning": "lightning",
    "pytorch_lightning": "lightning",
    "fastai.learner": "fastai",
    "torch": "torch",
}
"""The modules that are waited for, and the library that each stands for."""

_FLAVORS = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "keras": "keras",
    "lightning": "pytorch",
}
_COMMON: Mapping[str, Any] = {"log_models": True, "log_datasets": False, "silent": True}
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "sklearn": {"max_tuning_runs": 0},  # no run for each point of a GridSearchCV: there is one run, ours
    "pytorch": {"checkpoint": False},
    "xgboost": {"importance_types": []},  # each is a plot
}
_OWN = {"fastai": "fastai", "torch": "torch_loops"}
"""The libraries that MLflow has no autologging for, and the module of ours that has."""

_ours: dict[str, dict[str, Any]] = {}
"""The flavors of MLflow's that are patched by us, with the settings that switch them on."""
_plain: dict[str, bool] = {}
_estimators: set[type] = set()
"""The classes of scikit-learn's that were there when MLflow patched them last."""
_watches: list[_RunLibraries] = []
"""The runs whose code is observed: within a notebook's run, those of its cells; the innermost last."""
_lock = threading.RLock()


@dataclass(frozen=True)
class AutologOptions:
    """What is asked: see `libraries.Autolog`, whose open questions are answered here."""

    libraries: Sequence[str] | None = None
    models: bool = True
    plots: bool = False

    def names(self) -> tuple[str, ...]:
        """Return the libraries."""
        return LIBRARIES if self.libraries is None else tuple(self.libraries)


@contextmanager
def observing(sink: reports.Sink, asked: ObservingOptions) -> Iterator[None]:
    """Record what libraries train in the block; `asked` says of which ones."""
    wanted, run = AutologOptions(**asked.autolog), ThisRun.of(sink)
    if run is None or not wanted.names():
        yield
        return
    with ExitStack() as stack:
        stack.callback(_go_on)
        watch = _RunLibraries(run, wanted, stack)
        _watches.append(watch)
        try:
            run.settle = watch.look
            with around_imports(_is_looked_after, watch.imported):
                watch.look()
                yield
        finally:
            run.settle = _nothing  # what MLflow imports from now on is looked after by nobody
            _watches.remove(watch)


def _is_looked_after(name: str) -> bool:
    return name in MODULES or name.startswith("sklearn.")


def _go_on() -> None:
    """Have the run around one that has ended look after what was imported in that."""
    if _watches:
        _watches[-1].look()


def prepare(autolog: Mapping[str, Any]) -> None:
    """Patch the libraries that this process has imported, without recording anything: its forks have less to do."""
    wanted = AutologOptions(**autolog)
    for library in dict.fromkeys(MODULES[name] for name in MODULES if name in sys.modules):
        if library in wanted.names():
            with suppress(Exception):  # the fork tries again, and notes it
                _prepare(library, wanted)


def _prepare(library: str, wanted: AutologOptions) -> None:
    if library in _FLAVORS:
        importlib.import_module(f"{__package__}.mlflow_calls")
        _patch(library, wanted.plots)
    if library in _OWN:
        importlib.import_module(f"{__package__}.{_OWN[library]}")
        if wanted.models:
            importlib.import_module(f"{__package__}.models").pytorch()


@dataclass
class _RunLibraries:
    """The libraries of one run."""

    run: ThisRun
    wanted: AutologOptions
    stack: ExitStack
    on: set[str] = field(default_factory=set)
    armed: bool = False
    _importing: int = 0
    _waiting: list[str] = field(default_factory=list)
    _routed: bool | None = None

    def look(self) -> None:
        """Look after what is imported already."""
        for library in dict.fromkeys(MODULES[name] for name in MODULES if name in sys.modules):
            self.start(library)

    def imported(self, module: ModuleType, load: Callable[[], None]) -> None:
        """Import a module; when the outermost one has finished, look after what came with it."""
        if not _watches or _watches[-1] is not self:  # it is for the run within this one
            load()
            return
        name = module.__name__
        if name not in MODULES:
            if "sklearn" in self.on:
                _arm(self)  # there are new estimators
            load()
            return
        self._importing += 1
        try:
            load()
            self._waiting.append(MODULES[name])
        finally:
            self._importing -= 1
        if not self._importing and not self.run.working:
            waiting, self._waiting = self._waiting, []
            for library in dict.fromkeys(waiting):
                self.start(library)

    def start(self, library: str) -> None:
        """Record a library from now on. What goes wrong is a note in the run."""
        if library not in self.wanted.names() or library in self.on:
            return
        self.on.add(library)
        try:
            if library == "sklearn":
                self.stack.callback(_disarm, self)
            if library == "sklearn" and "sklearn" not in _ours and not _kinds():
                _arm(self)  # what its estimators are is known when the first of them is made
            else:
                self.switch_on(library)
        except Exception as error:  # whatever MLflow and the library raise between them
            self.run.note(f"{library} could not be autologged: {type(error).__name__}: {error}")

    def switch_on(self, library: str) -> None:
        """Patch a library, if that isn't done yet, and record what it trains."""
        with _lock:
            if library in _OWN:
                module = importlib.import_module(f"{__package__}.{_OWN[library]}")
                self.stack.enter_context(module.recording(self.run, models=self.wanted.models))
                return
            flavor = _FLAVORS[library]
            if not self._route():
                return
            with self.run.at_work():
                is_ours = _patch(library, self.wanted.plots)
            if is_ours:
                _settings()[flavor] = _ours[flavor]
                self.stack.callback(_switch_off, flavor)

    def estimators(self) -> None:
        """An estimator of scikit-learn's is being made: patch those that there are."""
        with _lock:
            _disarm(self)
            try:
                self.switch_on("sklearn")
            except Exception as error:  # whatever MLflow and the library raise between them
                self.run.note(f"sklearn could not be autologged: {type(error).__name__}: {error}")

    def _route(self) -> bool:
        """Have MLflow's calls meet the run; where they can't, nothing is patched that would make them elsewhere."""
        if self._routed is None:
            self._routed = False
            try:
                calls: Any = importlib.import_module(f"{__package__}.mlflow_calls")
                self.stack.enter_context(calls.routed(self.run, models=self.wanted.models, plots=self.wanted.plots))
                self._routed = True
            except Exception as error:  # whatever MLflow's own import raises
                self.run.note(f"nothing is autologged by MLflow: {type(error).__name__}: {error}")
        return self._routed


# --- MLflow's patches ---


def _settings() -> dict[str, dict[str, Any]]:
    """Return MLflow's settings of its flavors; where one has none, it is off."""
    from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS

    found: dict[str, dict[str, Any]] = AUTOLOGGING_INTEGRATIONS
    return found


def _patch(library: str, plots: bool) -> bool:
    """Have MLflow patch a library, and leave it switched off; return whether the patches are ours."""
    flavor = _FLAVORS[library]
    module = importlib.import_module(f"mlflow.{flavor}")
    settings = _settings()
    now = settings.get(flavor)
    if now and now is not _ours.get(flavor):  # the user's own, also where it is off
        _ours.pop(flavor, None)
        return False
    everything = settings.get("mlflow")
    if everything and not everything.get("disable") and flavor not in _ours:
        return False  # by the global `mlflow.autolog()`, this one too is the user's
    if flavor not in _ours or _plain.get(flavor) is not plots or (flavor == "sklearn" and not _kinds() <= _estimators):
        options = {**_COMMON, **({} if plots and flavor == "xgboost" else _OPTIONS.get(flavor, {}))}
        with _only_what_is_there() if flavor == "sklearn" else ExitStack():
            module.autolog(**options)
        _ours[flavor], _plain[flavor] = settings[flavor], plots
        if flavor == "lightgbm":  # it has no option for that
            _draw_no_more(module, lambda: plots or settings[flavor] is not _ours[flavor])
        settings[flavor] = {}
    return True


def _draw_no_more(module: Any, is_wanted: Callable[[], bool]) -> None:
    calls: Any = importlib.import_module(f"{__package__}.mlflow_calls")
    module.__builtins__ = calls.without_pyplot(is_wanted)


def _switch_off(flavor: str) -> None:
    settings = _settings()
    if settings.get(flavor) is _ours.get(flavor):
        settings[flavor] = {}


@contextmanager
def _only_what_is_there() -> Iterator[None]:
    """Have MLflow patch the estimators that are imported, in place of importing all of scikit-learn for it.

    What scores them goes by `scores.once` from then on: the patches keep what stands there now.
    """
    from mlflow.sklearn import utils

    from ml_experiment_nb.observing import models, scores

    utils._get_meta_estimators_for_autologging()  # MLflow imports these anyhow, and others come with them
    kinds = _kinds()
    with (
        models.replaced(utils, "_all_estimators", lambda _: lambda: [(one.__name__, one) for one in kinds]),
        models.replaced(utils, "_log_estimator_content", scores.once),
    ):
        yield
    _estimators.update(kinds)


def _kinds() -> set[type]:
    """Return scikit-learn's estimators, of the modules that are imported."""

    def below(kind: Any) -> Iterator[Any]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    base = _base_estimator()
    found = () if base is None else below(base)
    return {one for one in found if one.__module__.startswith("sklearn.") and one.__name__[0] != "_"}


def _arm(watch: _RunLibraries) -> None:
    """Have the next estimator that is made in a run's own code, of whichever class, be noticed."""
    kind = _base_estimator()
    watch.armed = kind is not None
    if kind is None or "__setattr__" in vars(kind):
        return

    def notice(self: Any, name: str, value: Any) -> None:
        if _watches and _watches[-1].armed:  # one that is made in a cell's run is none of its notebook's
            _watches[-1].estimators()
        super(kind, self).__setattr__(name, value)

    kind.__setattr__ = notice


def _disarm(watch: _RunLibraries) -> None:
    watch.armed = False
    kind = _base_estimator()
    if kind is not None and "__setattr__" in vars(kind) and not any(one.armed for one in _watches):
        del kind.__setattr__


def _base_estimator() -> Any:
    return getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)


def _nothing() -> None:
    """Do nothing."""
