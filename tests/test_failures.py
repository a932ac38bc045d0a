import functools

import pytest

from ml_experiment_nb.errors import CellFailedError, SpecError, WorkerFailedError
from ml_experiment_nb.failures import failure_of, user_frames
from ml_experiment_nb.scripts import read_script


def raised(call):
    with pytest.raises(BaseException) as found:
        call()
    return found.value


def own_frames(error):
    """Return an exception without the frames of this file's own helper and of pytest."""
    while error.__traceback__ is not None and error.__traceback__.tb_frame.f_code.co_name in ("raised",):
        error.__traceback__ = error.__traceback__.tb_next
    return error


def test_a_traceback_begins_where_the_user_s_own_code_does():
    names = {}
    exec(compile("def train():\n    1 / 0\n", "train.py", "exec"), names)

    @functools.singledispatch
    def ours(value):
        names["train"]()

    failure = failure_of(own_frames(raised(lambda: ours(1))))
    assert (failure.type, failure.message) == ("ZeroDivisionError", "division by zero")
    assert failure.traceback.splitlines()[0] == "Traceback (most recent call last):"
    assert 'File "train.py", line 2, in train' in failure.traceback


def test_an_error_of_ours_that_was_raised_on_purpose_shows_no_frames(tmp_path):
    error = own_frames(raised(lambda: read_script(tmp_path / "absent.py")))
    while error.__traceback__.tb_frame.f_code.co_filename == __file__:  # as where this package itself has called it
        error.__traceback__ = error.__traceback__.tb_next
    failure = failure_of(error)
    assert failure.type == "SpecError"
    assert "File" not in failure.traceback
    assert isinstance(error, SpecError)


@pytest.mark.parametrize("kind", [CellFailedError, WorkerFailedError])
def test_what_a_kernel_or_a_worker_has_told_is_taken_as_it_is(kind):
    failure = failure_of(kind("ValueError", "no", "Traceback of its own"))
    assert (failure.type, failure.message, failure.traceback) == ("ValueError", "no", "Traceback of its own")


def test_an_exception_without_a_message_that_can_be_had_is_told_all_the_same():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("odd")

    failure = failure_of(raised(lambda: (_ for _ in ()).throw(Odd())))
    assert (failure.type, failure.message) == ("Odd", "(its message can't be had: RuntimeError('odd'))")
    assert "Odd" in failure.traceback


def test_what_was_never_raised_has_no_frames():
    assert user_frames(None) is None
    assert failure_of(ValueError("no")).traceback == "ValueError: no\n"
