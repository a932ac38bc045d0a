"""Scores of a fitted estimator, taken from one prediction, are those that are taken from three."""

import copy
import inspect
import pickle
import re
import threading
import warnings

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import sklearn.base
import sklearn.metrics._classification as counts
from mlflow.sklearn import utils
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import estimator_html_repr

from ml_experiment_nb.observing import scores
from ml_experiment_nb.observing.models import replaced
from ml_experiment_nb.observing.scores import roc_auc

FOREST = RandomForestClassifier(5, max_depth=2, random_state=0)
CLASSIFIERS = [
    FOREST,
    DecisionTreeClassifier(max_depth=2, random_state=0),
    LogisticRegression(max_iter=200),
    KNeighborsClassifier(),
    GaussianNB(),
    SVC(),
    DummyClassifier(),
    HistGradientBoostingClassifier(max_iter=3),
    make_pipeline(StandardScaler(), FOREST),
    make_pipeline(StandardScaler(copy=False), FOREST),
    GridSearchCV(FOREST, {"max_depth": [1, 2]}, cv=2),
    GridSearchCV(make_pipeline(StandardScaler(), FOREST), {"randomforestclassifier__max_depth": [1, 2]}, cv=2),
]
REGRESSORS = [RandomForestRegressor(5, random_state=0), Ridge(), KNeighborsRegressor()]


class Client:
    """Takes what is logged."""

    def __init__(self):
        self.metrics = {}

    def log_metrics(self, *, metrics, **_):
        self.metrics |= metrics


def scored(estimator, X, y, score=utils._log_estimator_content, weight=None):
    """Return what MLflow logs of a fitted estimator, and what goes wrong as it does."""
    client = Client()
    with (
        replaced(utils, "_log_estimator_html", lambda _: lambda *_: None),
        replaced(utils, "_get_classifier_artifacts", lambda _: lambda *_: 1 / 0),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        score(
            autologging_client=client, estimator=estimator, run_id="", prefix="training_",
            X=X, y_true=y, sample_weight=weight,
        )  # fmt: skip
    return client.metrics


def quickly(estimator, X, y, weight=None):
    with replaced(counts, "precision_recall_fscore_support", scores.counting):
        return scored(estimator, X, y, scores.once(utils._log_estimator_content), weight)


def data_for(estimator, form):
    load = load_diabetes if any(estimator is one for one in REGRESSORS) else load_iris
    X, y = load(return_X_y=True)
    if form is pd.DataFrame:
        return pd.DataFrame(X, columns=[f"x{k}" for k in range(X.shape[1])]), pd.Series(y)
    return (X.copy(), y) if form is np.ndarray else (np.asfortranarray(X), y) if form == "F" else (X.tolist(), y)


@pytest.mark.parametrize("form", [np.ndarray, pd.DataFrame, "F", list], ids=["array", "frame", "columns", "list"])
@pytest.mark.parametrize("given", [*CLASSIFIERS, *REGRESSORS], ids=lambda one: str(one)[:50])
def test_the_numbers_are_those_of_before_and_the_estimator_is_as_it_was(given, form):
    X, y = data_for(given, form)
    estimator = clone(given).fit(X, y)
    before, again, weight = dict(vars(estimator)), copy.deepcopy(X), np.linspace(0, 1, len(y))
    found = quickly(estimator, X, y)
    assert found == scored(estimator, again, y)
    assert len(found) == (7 if hasattr(estimator, "predict_proba") else 5)
    assert quickly(estimator, X, y, weight) == scored(estimator, again, y, weight=weight)
    assert vars(estimator) == before
    assert b"_Remembered" not in cloudpickle.dumps(estimator)


def passes(estimator, X, y, monkeypatch, kind=RandomForestClassifier):
    counted, trees = [], kind.predict_proba

    def counting(self, X):
        counted.append(len(X))
        return trees(self, X)

    monkeypatch.setattr(kind, "predict_proba", counting)
    quickly(estimator, X, y)
    return len(counted)


@pytest.mark.parametrize("which", [0, 8, 9, 10, 11])
def test_a_forest_predicts_once_also_within_a_pipeline_and_a_search(which, monkeypatch):
    given = CLASSIFIERS[which]
    X, y = load_iris(return_X_y=True)
    estimator = clone(given).fit(X.copy(), y)
    changes_its_data = which == 9
    assert passes(estimator, X, y, monkeypatch) == (3 if changes_its_data else 1)


def test_precision_recall_and_f1_are_counted_once():
    X, y = load_iris(return_X_y=True)
    tree, counted, plain = DecisionTreeClassifier(max_depth=1).fit(X, y), [], counts.multilabel_confusion_matrix

    def counting(*args, **options):
        counted.append(1)
        return plain(*args, **options)

    with replaced(counts, "multilabel_confusion_matrix", lambda _: counting):
        quickly(tree, X, y)
    assert len(counted) == 1


def test_outside_of_the_block_and_after_an_error_nothing_is_remembered():
    X, y = load_iris(return_X_y=True)
    forest = clone(FOREST).fit(X, y)

    def interrupted():
        with scores.remembering(forest):
            assert {"predict", "predict_proba"} <= set(vars(forest))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not {"predict", "predict_proba"} & set(vars(forest))


def test_who_writes_in_a_prediction_does_not_change_the_next_and_data_that_has_changed_is_predicted_anew():
    X, y = load_iris(return_X_y=True)
    forest = clone(FOREST).fit(X, y)
    wanted = forest.predict_proba(X)
    with scores.remembering(forest):
        for _ in range(3):
            found = forest.predict_proba(X)
            assert np.array_equal(found, wanted)
            found[:] = 0
        X[:] = X[::-1].copy()
        assert np.array_equal(forest.predict_proba(X), wanted[::-1])
        assert forest.predict_proba(X[:7]).shape == (7, 3)


def test_copies_of_an_estimator_that_is_being_scored_are_plain_ones():
    X, y = load_iris(return_X_y=True)
    forest = clone(FOREST).fit(X, y)
    wanted = forest.predict(X)
    with scores.remembering(forest):
        forest.predict(X)
        copies = [pickle.loads(pickle.dumps(forest)), cloudpickle.loads(cloudpickle.dumps(forest))]
        assert not hasattr(clone(forest), "estimators_")
    for one in copies:
        assert np.array_equal(one.predict(X), wanted)
        assert not any(isinstance(value, scores._Remembered) for value in vars(one).values())


def test_another_thread_is_not_answered_from_memory():
    X, y = load_iris(return_X_y=True)
    forest, found = clone(FOREST).fit(X, y), []
    with scores.remembering(forest):
        forest.predict(X)
        vars(forest)["predict"]._last = None, None  # it would break on this
        thread = threading.Thread(target=lambda: found.append(forest.predict(X)))
        thread.start()
        thread.join()
    assert np.array_equal(found[0], forest.predict(X))


@pytest.mark.parametrize("given", [*CLASSIFIERS, *REGRESSORS], ids=lambda one: str(one)[:50])
def test_an_estimators_page_is_scikit_learns_but_for_the_samples_of_each_tree(given):
    estimator = clone(given).fit(*data_for(given, np.ndarray))
    with replaced(sklearn.base, "inspect", scores.looking_once):
        found = estimator_html_repr(estimator)
    rows = re.split(r"(?=<tr)", re.sub(r"id-\d+", "id", estimator_html_repr(estimator)))
    wanted = "".join(row for row in rows if "#:~:text=estimators_samples_" not in row)
    assert "estimators_samples_" not in found
    assert re.sub(r"id-\d+", "id", found).split() == wanted.split()


def test_for_its_page_an_estimator_computes_an_attribute_once_and_elsewhere_as_it_is():
    forest, computed = clone(FOREST).fit(*load_iris(return_X_y=True)), []
    plain = RandomForestClassifier.feature_importances_

    def importances(self):
        computed.append(1)
        return plain.fget(self)

    with (
        replaced(RandomForestClassifier, "feature_importances_", lambda _: property(importances)),
        replaced(sklearn.base, "inspect", scores.looking_once),
    ):
        assert "feature_importances_" in estimator_html_repr(forest)
        assert len(computed) == 1
        assert sklearn.base.inspect.getmembers(computed) == inspect.getmembers(computed)
        assert sklearn.base.inspect.signature is inspect.signature


class Slotted:
    __slots__ = ()
    __module__ = "sklearn.none"

    def predict(self, X):
        return X


class Drawing(RandomForestClassifier):
    """One that says something else each time."""


@pytest.mark.parametrize("one", [Slotted(), Drawing(), None, "passthrough", make_pipeline("passthrough")])
def test_what_takes_no_attribute_or_is_not_scikit_learns_is_left_as_it_is(one):
    before = dict(getattr(one, "__dict__", {}))
    with scores.remembering(one):
        assert getattr(one, "__dict__", {}) == before


@pytest.mark.parametrize("ties", [False, True])
def test_a_roc_auc_is_scikit_learns(ties):
    draw = np.random.default_rng(0)
    scores = draw.integers(0, 4, 200) / 4 if ties else draw.random(200)
    positive = draw.random(200) < 0.3
    assert roc_auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
