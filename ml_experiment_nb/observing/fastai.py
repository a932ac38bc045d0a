"""What fastai trains is recorded: MLflow has no autologging for it any more, so this is a callback of ours."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.torch_core import rank_distrib

from ml_experiment_nb.observing.thisrun import ThisRun

_AFTER_THE_RECORDER = 60
_FINDER = "LRFinder"  # tries learning rates, and trains nothing


@contextmanager
def recording(run: ThisRun, *, models: bool) -> Iterator[None]:
    """Record every ``Learner.fit`` of the block, and so ``fit_one_cycle`` and ``fine_tune``, which call it."""
    original = Learner.fit

    @functools.wraps(original)
    def fit(self: Any, n_epoch: int, *args: Any, **options: Any) -> Any:
        if run.busy or _is_trying(self, options.get("cbs")):
            return original(self, n_epoch, *args, **options)
        with run.fit(object()):
            curve = _Curve(run, n_epoch)
            self.add_cb(curve)
            try:
                result = original(self, n_epoch, *args, **options)
            finally:
                self.remove_cb(curve)
            if models:
                _harmless(run, lambda: _keep(run, self))
        return result

    Learner.fit = fit
    try:
        yield
    finally:
        if Learner.fit is fit:
            Learner.fit = original


class _Curve(Callback):
    """Records a fit. An exception in a callback ends the training, so none leaves it but that of the pruner."""

    order = _AFTER_THE_RECORDER
    remove_on_fetch = True

    def __init__(self, run: ThisRun, epochs: int) -> None:
        self._run_of = run
        self._epochs = epochs

    def before_fit(self) -> None:
        """Record what the fit begins with."""
        _harmless(self._run_of, lambda: self._run_of.params(_params(self.learn, self._epochs)))

    def after_epoch(self) -> None:
        """Record an epoch, as the recorder has it."""
        values: dict[str, float] = {}
        _harmless(self._run_of, lambda: values.update(_epoch(self.learn)))
        self._run_of.metrics(values, int(self.epoch))


def _harmless(run: ThisRun, act: Any) -> None:
    try:
        act()
    except Exception as error:  # whatever it is, the training isn't to notice
        run.note(f"autologging: fastai: {type(error).__name__}: {error}"[:300])


def _is_trying(learn: Any, more: Any) -> bool:
    given = [] if more is None else more if isinstance(more, list | tuple) or hasattr(more, "items") else [more]
    return any(type(one).__name__ == _FINDER for one in [*given, *learn.cbs])


def _params(learn: Any, epochs: int) -> Mapping[str, Any]:
    hypers = learn.opt.hypers[-1] if learn.opt is not None else {}
    found = {
        "epochs": epochs,
        "model": type(learn.model).__name__,
        "loss_func": _name(learn.loss_func),
        "opt_func": _name(learn.opt_func),
        "lr": hypers.get("lr"),
        "wd": hypers.get("wd"),
        "batch_size": getattr(learn.dls, "bs", None),
        "parameters": sum(one.numel() for one in learn.model.parameters()),
    }
    return {name: value for name, value in found.items() if value is not None}


def _epoch(learn: Any) -> dict[str, float]:
    """Return an epoch's values: the recorder's, and the learning rate that the epoch ended with."""
    recorder = learn.recorder
    names = [name for name in recorder.metric_names if name not in ("epoch", "time")]
    found = {name: value for name, value in zip(names, recorder.values[-1], strict=False) if value is not None}
    return {**found, **({"lr": _first(recorder.lrs[-1])} if recorder.lrs else {})}


def _keep(run: ThisRun, learn: Any) -> None:
    """Keep the network as MLflow's PyTorch flavor has it, and the learner as fastai itself does."""
    from ml_experiment_nb.observing.models import place, save_network, saved

    save_network(run, learn.model)
    if rank_distrib():
        return  # the learner is that of rank 0
    target, partial = place(run, "learner.pkl"), run.artifacts / "record/learner.partial"
    try:
        _export(learn, partial)
        partial.replace(target)
        saved(run, "learner.pkl", target)
    except Exception as error:  # its data, or a loss of the user's own, can't be pickled
        run.note(f"the learner could not be exported, its network was kept: {type(error).__name__}: {error}"[:300])
    finally:
        partial.unlink(missing_ok=True)


def _export(learn: Any, target: Path) -> None:
    """Write what ``Learner.export`` does, which leaves a learner without its data where that fails.

    It also makes a new optimizer for the one that it has taken away; here that one is put back.
    """
    data, optimizer = learn.dls, learn.opt
    try:
        learn.dls, learn.opt = data.new_empty(), None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(learn, target, pickle_module=cloudpickle, pickle_protocol=2)
    finally:
        learn.dls, learn.opt = data, optimizer


def _name(value: Any) -> str:
    return str(
        getattr(value, "__name__", None)
        or getattr(getattr(value, "func", None), "__name__", None)
        or type(value).__name__
    )


def _first(value: Any) -> Any:
    """Return a learning rate as a number; of a scheduler's array, its last."""
    if isinstance(value, slice):
        value = value.stop
    try:
        return float(value[-1])
    except TypeError:
        return float(value)
    except (IndexError, ValueError):
        return value
