"""What is trained with PyTorch in a loop of the user's own is recorded, without a line in it.

A loop says nothing of its epochs, but it does three things: it calls ``backward`` on a loss, has an optimizer take a
step, and goes through a ``DataLoader``. The mean of the losses of the steps that are taken until a loader is gone
through anew is an epoch's ``train_loss``. Where there is no loader, the points are the steps: each of the first
hundred, then means over more and more of them. The optimizer says its settings. The model is the module, in sight of
the step, that has the parameters which the optimizer moves.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from ml_experiment_nb.observing.thisrun import ThisRun
from ml_experiment_nb.reports import Pruned

_DENSE = 100  # steps that have a point each, where there are no epochs
_FAR = 8  # frames above the step in which its model is looked for
_LARGE = 2_000_000_000  # bytes of parameters above which a model isn't kept unasked
_UNSCALED = "_mlexp_unscaled"


@contextmanager
def recording(run: ThisRun, *, models: bool) -> Iterator[None]:
    """Record the loops of the block."""
    loops = _Loops(run, models)
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: loops.guarded(lambda: loops.stepped(optimizer)))
    try:
        with (
            _before(torch.Tensor, "backward", lambda loss, *_args, **_options: loops.guarded(lambda: loops.lost(loss))),
            _before(DataLoader, "__iter__", lambda loader: loops.guarded(lambda: loops.began(loader))),
            _scaled(),
        ):
            yield
    finally:
        handle.remove()
        with suppress(Pruned):  # it has come to its end by itself
            loops.end()


@contextmanager
def _before(where: Any, name: str, act: Callable[..., None]) -> Iterator[None]:
    """Have something done before each call of a method."""
    original = getattr(where, name)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        act(self, *args, **options)
        return original(self, *args, **options)

    setattr(where, name, call)
    try:
        yield
    finally:
        if getattr(where, name) is call:
            setattr(where, name, original)


@contextmanager
def _scaled() -> Iterator[None]:
    """Remember, of a loss that is scaled for mixed precision, what it was."""
    original = GradScaler.scale

    @functools.wraps(original)
    def scale(self: Any, outputs: Any) -> Any:
        scaled = original(self, outputs)
        if isinstance(scaled, torch.Tensor) and scaled is not outputs:
            setattr(scaled, _UNSCALED, outputs.detach())
        return scaled

    GradScaler.scale = scale
    try:
        yield
    finally:
        if GradScaler.scale is scale:
            GradScaler.scale = original


@dataclass
class _Curve:
    """The losses of one optimizer's steps. They are summed where they are: to ask a GPU for each would halt it."""

    name: str
    total: Any = 0.0
    count: int = 0
    steps: int = 0
    points: int = 0


class _Loops:
    """What is known of a run's loops."""

    def __init__(self, run: ThisRun, models: bool) -> None:
        self._run = run
        self._models = models
        self._losses: list[Any] = []
        self._curves: list[_Curve] = []
        self._curve_of: weakref.WeakKeyDictionary[Any, _Curve] = weakref.WeakKeyDictionary()  # by optimizer
        self._model: Any = None
        self._has_loader = False
        self._batch_size: int | None = None
        self._failed = False

    def guarded(self, act: Callable[[], None]) -> None:
        """Do something of ours within the user's loop: what goes wrong is noted, and no more is tried."""
        if self._failed:
            return
        try:
            if not self._is_anothers():
                act()
        except Exception as error:  # whatever it is, the training isn't to notice
            self._failed = True
            self._run.note(f"autologging: torch: {type(error).__name__}: {error}"[:300])

    def lost(self, loss: Any) -> None:
        """A loss is about to be propagated."""
        if loss.numel() == 1 and len(self._losses) < _DENSE:
            self._losses.append(getattr(loss, _UNSCALED, loss).detach().reshape(()))

    def stepped(self, optimizer: Any) -> None:
        """An optimizer has taken a step."""
        curve = self._curve_of.get(optimizer)
        if curve is None:
            number = len(self._curves) + 1
            curve = self._curve_of[optimizer] = _Curve("train_loss" if number == 1 else f"train_loss_{number}")
            self._curves.append(curve)
            if number == 1:
                self._begin(optimizer)
        if self._losses:
            curve.total = curve.total + sum(self._losses) / len(self._losses)
            curve.count += 1
            self._losses = []
        curve.steps += 1
        if not self._has_loader and curve.count >= max(1, curve.steps // _DENSE):
            self._point(curve, curve.steps - 1)

    def began(self, loader: Any) -> None:
        """A loader is gone through from its beginning: the steps since the last time were an epoch."""
        for curve in self._curves:
            if curve.count:
                self._point(curve, curve.points)
        if not self._has_loader:
            self._has_loader, self._batch_size = True, getattr(loader, "batch_size", None)

    def end(self) -> None:
        """Record what is left, and keep the model."""
        try:
            for curve in self._curves:
                if curve.count:
                    self._point(curve, curve.points if self._has_loader else curve.steps - 1)
        finally:
            if self._model is not None:
                self.guarded(self._keep)

    def _point(self, curve: _Curve, step: int) -> None:
        value = float(curve.total) / curve.count
        curve.total, curve.count = 0.0, 0
        curve.points += 1
        self._run.metrics({curve.name: value}, step)

    def _begin(self, optimizer: Any) -> None:
        self._run.begin(self)
        plain = {n: v for n, v in optimizer.defaults.items() if isinstance(v, int | float | tuple) and v is not False}
        size = {"batch_size": self._batch_size} if self._batch_size else {}
        self._run.params({"optimizer_name": type(optimizer).__name__, **plain, **size})
        if self._models:
            self._model = _model_of(optimizer, sys._getframe())

    def _is_anothers(self) -> bool:
        """Whether what happens is part of a fit that is recorded as such."""
        safety = sys.modules.get("mlflow.utils.autologging_utils.safety")
        return self._run.busy or (safety is not None and safety._AutologgingSessionManager.active_session() is not None)

    def _keep(self) -> None:
        size = sum(one.numel() * one.element_size() for one in self._model.parameters())
        if size > _LARGE:
            self._run.note(f"the model has {size / 1e9:.1f} GB of parameters and was not kept: keep it with artifact()")
            return
        from ml_experiment_nb.observing.models import save_network

        save_network(self._run, self._model)


def _model_of(optimizer: Any, frame: FrameType | None) -> Any:
    """Return the module, in sight of an optimizer's step, whose parameters it moves: of several, the largest."""
    moved = {id(one) for group in optimizer.param_groups for one in group["params"]}
    found: dict[int, Any] = {}
    for _ in range(_FAR):
        if frame is None:
            break
        names = list(frame.f_locals.values()) + list(frame.f_globals.values())
        for one in names:
            if isinstance(one, torch.nn.Module) and moved & {id(parameter) for parameter in one.parameters()}:
                found[id(one)] = one
        if found and frame.f_globals.get("__name__") in ("__main__", None):
            break
        frame = frame.f_back
    return max(found.values(), key=lambda one: sum(p.numel() for p in one.parameters()), default=None)
