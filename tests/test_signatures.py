import functools
import inspect

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.signatures import bound_arguments, check_function, flat


def train(C, kernel="rbf", *, deep=False):
    """A job's function."""


def anything(C, **more):
    """One that takes any name."""


async def later():
    """One that can't be a job."""


async def later_again():
    yield 1


class Callable:
    def __call__(self, C):
        """It has no name of its own."""


@pytest.mark.parametrize("function", [train, anything, lambda C: C, Callable(), functools.partial(train, C=1)])
def test_what_can_be_a_job(function):
    check_function(function)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (Callable, "a job is a function, not the class Callable$"),
        ("train", r"a job is a function, not 'train'; to name it, write @job\(name='train'\)"),
        (None, "a job is a function, not None$"),
        (later, "later is async: a job is a plain function or a generator"),
        (later_again, "later_again is async"),
        (lambda *rows: rows, r"<lambda>\(\*rows\): a job's parameters have names; take a list in its place"),
        (lambda C, /: C, r"<lambda>\(C, /\): a job's parameters are given by name; leave the / out"),
    ],
)
def test_what_can_not(function, problem):
    with pytest.raises(SpecError, match=problem):
        check_function(function)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "bound"),
    [
        (train, (1,), {}, {"C": 1, "kernel": "rbf", "deep": False}),
        (train, (1, "linear"), {"deep": True}, {"C": 1, "kernel": "linear", "deep": True}),
        (anything, (), {"C": 1, "D": 2}, {"C": 1, "D": 2}),
        (anything, (1,), {}, {"C": 1}),
        (anything, (1,), {"more": 2}, {"C": 1, "more": 2}),
    ],
)
def test_a_call_s_arguments_by_name(function, args, kwargs, bound):
    assert bound_arguments(function, args, kwargs) == bound


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, r"^train\(\) missing a required argument: 'C'$"),
        ((1,), {"kernal": 2}, r"^train\(\) got an unexpected keyword argument 'kernal'; did you mean 'kernel'\?$"),
        ((1, 2, 3), {}, r"^train\(\) too many positional arguments$"),
        ((1,), {"C": 2}, r"^train\(\) multiple values for argument 'C'$"),
    ],
)
def test_arguments_that_do_not_fit(args, kwargs, problem):
    with pytest.raises(TypeError, match=problem):
        bound_arguments(train, args, kwargs)


def test_what_any_name_has_taken_stands_beside_the_others():
    parameters = inspect.signature(anything).parameters
    assert flat(parameters, {"C": 1, "more": {"D": 2}}) == {"C": 1, "D": 2}
    assert flat(parameters, {}) == {}
