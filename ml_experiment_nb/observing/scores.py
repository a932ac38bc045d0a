"""The scores that autologging takes of a fitted estimator, at the cost of one prediction: their numbers are the same.

MLflow has a classifier predict three times what it was fitted to, and counts hits three times. While it does that, the
estimator gives again what it has just computed of the same data, and so does what counts.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

_PREDICTIONS = ("predict", "predict_proba")
_DRAWN = "estimators_samples_"
_LARGEST = 256 << 20  # bytes of data of which a copy is made, to know the same again
_PLAIN = (bool, int, float, str, type(None))
_own = threading.local()
_nothing = object()


def once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what scores a fitted estimator, each prediction and each count in it made once."""

    @functools.wraps(original)
    def score(*args: Any, **options: Any) -> Any:
        before, _own.counts = getattr(_own, "counts", None), []
        try:
            with remembering(options.get("estimator")):
                return original(*args, **options)
        finally:
            _own.counts = before

    return score


@contextmanager
def remembering(estimator: Any) -> Iterator[None]:
    """Have an estimator give again what it has predicted of the same data, in this thread, while the block lasts.

    It is scikit-learn's estimators that do, and of a search or a pipeline the one that predicts. Of others it isn't
    known that they would say the same twice.
    """
    last = _predicting(estimator)
    given: list[tuple[dict[str, Any], str, _Remembered]] = []
    try:
        if type(last).__module__.startswith("sklearn."):
            for name in _PREDICTIONS:
                with suppress(AttributeError, TypeError):  # it doesn't predict that, or takes no attributes
                    if name not in vars(last):
                        ours = _Remembered(last, name)
                        vars(last)[name] = ours
                        given.append((vars(last), name, ours))
        yield
    finally:
        for where, name, ours in given:
            if where.get(name) is ours:
                del where[name]


def _predicting(estimator: Any) -> Any:
    while (inner := _within(estimator)) is not None:
        estimator = inner
    return estimator


def _within(estimator: Any) -> Any:
    with suppress(Exception):  # an estimator of the user's may raise what it likes
        if hasattr(estimator, "best_estimator_"):
            return estimator.best_estimator_
        if hasattr(estimator, "named_steps"):
            return estimator.steps[-1][1]
    return None


class _Remembered:
    """A method of an estimator that predicts; a copy of the estimator has the plain one."""

    def __init__(self, estimator: Any, name: str) -> None:
        self._estimator, self._name = estimator, name
        self._predict = getattr(estimator, name)
        self._thread = threading.get_ident()
        self._last: tuple[_Seen, Any] | None = None
        functools.update_wrapper(self, self._predict)

    def __reduce__(self) -> Any:
        return getattr, (self._estimator, self._name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if len(args) != 1 or options or threading.get_ident() != self._thread:
            return self._predict(*args, **options)
        if self._last is not None and self._last[0].is_same(args[0]):
            return self._last[1].copy(order="K")
        seen = _Seen.of(args[0])
        found = self._predict(*args)
        if seen is not None and type(found) is np.ndarray:
            self._last = seen, found.copy(order="K")  # whoever has it may write in it
        return found


class _Seen:
    """Data as it was when it was predicted: some steps of a pipeline write in what they are given."""

    def __init__(self, data: Any, strides: Any) -> None:
        self._data, self._strides = data, strides

    @classmethod
    def of(cls, data: Any) -> _Seen | None:
        """Return what tells data from other data; None where that isn't known, or would take much memory."""
        if type(data) is np.ndarray:
            return cls(data.copy(), data.strides) if data.dtype.kind in "biuf" and data.nbytes <= _LARGEST else None
        if _is_frame(data) and data.memory_usage().sum() <= _LARGEST:
            return cls(data.copy(), None)
        return None

    def is_same(self, data: Any) -> bool:
        """Whether these are the same numbers, laid out in the same way: sums of another order are other sums."""
        if type(data) is not type(self._data):
            return False
        if type(data) is not np.ndarray:
            return bool(data.equals(self._data))
        is_alike = data.dtype == self._data.dtype and data.shape == self._data.shape and data.strides == self._strides
        return is_alike and np.array_equal(data, self._data, equal_nan=data.dtype.kind == "f")


def _is_frame(data: Any) -> bool:
    kind = type(data)
    return kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"


def counting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what precision, recall and F1 are computed by: it computes all three, and each time gives one of them."""

    @functools.wraps(original)
    def count(*args: Any, **options: Any) -> Any:
        counts = getattr(_own, "counts", None)
        if counts is None or options.get("average") is None:
            return original(*args, **options)
        asked = (*args, *((name, one) for name, one in sorted({"beta": 1.0, **options}.items()) if name != "warn_for"))
        for earlier, found in counts:
            if len(earlier) == len(asked) and all(map(_is_equal, earlier, asked)):
                return found
        found = original(*args, **options)
        counts.append((asked, found))
        return found

    return count


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other) == 2:
        return one[0] == other[0] and _is_equal(one[1], other[1])
    return one is other or (isinstance(one, _PLAIN) and isinstance(other, _PLAIN) and one == other)


def looking_once(original: Any) -> Any:
    """Return ``inspect`` for scikit-learn's page of an estimator, which needs of it the fitted attributes alone.

    It would compute each property twice, those too that it doesn't show. The samples of each of an ensemble's members
    are left out: they are drawn again for whoever asks, and of a large forest take gigabytes.
    """
    return _Inspect(original)


class _Inspect:
    def __init__(self, inspect: Any) -> None:
        self._inspect = inspect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inspect, name)

    def getmembers(self, one: Any, *args: Any) -> list[tuple[str, Any]]:
        if args or not hasattr(type(one), "_get_fitted_attr_html"):
            found: list[tuple[str, Any]] = self._inspect.getmembers(one, *args)
            return found
        names = {name for name in object.__dir__(one) if name.endswith("_") and not name.startswith("_")} - {_DRAWN}
        return [(name, value) for name in sorted(names) if (value := getattr(one, name, _nothing)) is not _nothing]


def quick_pairs(ranking: Any, is_wanted: Callable[[], bool], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what scores each pair of classes for a ROC AUC: of ten, scikit-learn takes 50 ms.

    Ninety times it checks what was checked before, and makes a curve of which nothing but the area is wanted.

    Args:
        ranking: scikit-learn's module.
        is_wanted: Whether it is autologging that asks.
        original: scikit-learn's function.
    """

    @functools.wraps(original)
    def score(metric: Any, *args: Any, **options: Any) -> Any:
        is_known = metric is getattr(ranking, "_binary_roc_auc_score", None)
        return original(roc_auc if is_known and is_wanted() else metric, *args, **options)

    return score


def roc_auc(positive: Any, scores: Any) -> float:
    """Return the area under a ROC curve: how often a positive has the higher score of a pair, ties counting half.

    Args:
        positive: Of each sample whether it is a positive, an array of truth values.
        scores: Of each sample its score, an array.
    """
    others, mine = np.sort(scores[~positive]), scores[positive]
    below = np.searchsorted(others, mine, "left") + np.searchsorted(others, mine, "right")
    return float(below.mean() / (2 * len(others)))
