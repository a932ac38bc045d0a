import inspect
import pickle
import re

import pytest

from ml_experiment_nb import errors
from ml_experiment_nb.errors import (
    CellFailedError,
    ExperimentError,
    ParameterError,
    SpecError,
    WorkerFailedError,
    nearest,
)

ALL = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, ExperimentError)]


def made(kind):
    given = {
        SpecError: ("is wrong", "a.yaml", 3, "metric.name"),
        CellFailedError: ("ValueError", "no", "Traceback"),
        WorkerFailedError: ("ValueError", "rank 1: no", "Traceback"),
    }
    return kind(*next((args for base, args in given.items() if issubclass(kind, base)), ("it failed",)))


@pytest.mark.parametrize("kind", ALL)
def test_each_comes_back_whole_from_another_process(kind):
    error = made(kind)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


def test_the_tree_that_is_drawn_is_the_tree():
    drawn, above = {}, ["Exception"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│├└─ ]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            del above[depth + 1 :]
            drawn[found[2]] = above[-1]
            above.append(found[2])
    assert drawn == {one.__name__: one.__base__.__name__ for one in ALL}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SpecError("is wrong"), "is wrong"),
        (SpecError("is wrong", "a.yaml"), "a.yaml: is wrong"),
        (SpecError("is wrong", "a.yaml", 3, "C"), "a.yaml:3: C: is wrong"),
        (SpecError("is wrong", line=3), "line 3: is wrong"),
        (ParameterError("is unknown", key="params.C"), "params.C: is unknown"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(error, text):
    assert str(error) == text


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("accurracy", "; did you mean 'Accuracy'?"), ("LOSS", "; did you mean 'loss'?"), ("zzz", ""), ("", ""),
    ],
)  # fmt: skip
def test_the_nearest_word(word, said):
    assert nearest(word, ["Accuracy", "loss"]) == said
    assert nearest(word, []) == ""
