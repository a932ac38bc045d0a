import pytest

from ml_experiment_nb import triage
from ml_experiment_nb.records import Failure, Record, Status, now

PYTHON = """Traceback (most recent call last):
  File "/home/me/train.py", line 6, in <module>
    main()
  File "/opt/lib/python3.11/site-packages/ml_experiment_nb/jobs.py", line 66, in __call__
    return self._call_in_script(args, kwargs)
  File "/home/me/train.py", line 5, in main
    json.loads('x')
  File "/opt/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Expecting value
"""
CELL = """Traceback (most recent call last):
  File "<ipython-input-1-32c1747ffa51>", line 5, in <module>
    g(0)
  File "<ipython-input-1-32c1747ffa51>", line 4, in g
    json.loads('x')
ValueError: no
"""
KERNEL = """cell 4
---------------------------------------------------------------------------
ZeroDivisionError                         Traceback (most recent call last)
Cell In[4], line 1
----> 1 f(0)

Cell In[3], line 2, in f(x)
      1 def f(x):
----> 2     return 1/x

File /opt/lib/python3.11/site-packages/numpy/core.py:12, in g(x)
     12     1/x

ZeroDivisionError: division by zero"""


def trial(number, status=Status.FINISHED, error=None, trace=PYTHON, **params):
    failure = Failure(error, "it failed", trace) if error else None
    status = Status.FAILED if error else status
    return Record(str(number), f"g #{number}", "g", "trial", status, params, {}, now(), 1.0, failure, number)


@pytest.mark.parametrize(
    ("trace", "place"),
    [
        (PYTHON, "train.py, line 5, in main"),
        (CELL, "the cell, line 4, in g"),
        (KERNEL, "cell 3, line 2, in f"),
        ("", ""),
        ("no traceback at all", ""),
    ],
)
def test_the_place_is_the_last_line_of_the_user_s_own(trace, place):
    assert triage.place(Failure("E", "", trace)) == place


def test_failures_are_told_by_place_and_type():
    records = [
        trial(0, kernel="rbf"),
        trial(1, error="ValueError", kernel="poly"),
        trial(2, error="ValueError", kernel="poly"),
        trial(3, error="ValueError", trace=CELL, kernel="rbf"),
        trial(4, error="KeyError", kernel="rbf"),
        trial(5, Status.PRUNED, kernel="rbf"),
    ]
    assert [(kind.where, kind.error, kind.trials) for kind in triage.kinds(records)] == [
        ("train.py, line 5, in main", "ValueError", (1, 2)),
        ("the cell, line 4, in g", "ValueError", (3,)),
        ("train.py, line 5, in main", "KeyError", (4,)),
    ]


def test_what_the_failed_ones_share_and_the_others_have_not():
    records = [
        *(trial(k, kernel="rbf", C=0.1 * k, fold=1) for k in range(4)),
        trial(4, error="ValueError", kernel="poly", C=0.2, fold=1),
        trial(5, error="ValueError", kernel="poly", C=0.9, fold=1),
    ]
    assert triage.report(records) == (
        "2 trials failed at train.py, line 5, in main: ValueError: it failed\n"
        "  trials   #4, #5\n"
        "  all with kernel=poly, as none of the 4 that finished"
    )


def test_a_value_whose_text_can_t_be_had_stops_nothing():
    class Odd:
        def __str__(self):
            raise RuntimeError

    records = [trial(0, net="a"), *(trial(k, error="ValueError", net=Odd()) for k in (1, 2))]
    assert "net=<Odd, which can't be shown: RuntimeError>" in triage.report(records)


@pytest.mark.parametrize(
    ("failed", "text"),
    [
        ((5.0, 9.0), "C is above 3 where it failed (5 to 9), not where it finished"),
        ((-5.0, -1.0), "C is below 0 where it failed (-5 to -1), not where it finished"),
    ],
)
def test_a_number_that_tells_them_apart(failed, text):
    records = [*(trial(k, C=float(k)) for k in range(4)), *(trial(9 + k, error="E", C=C) for k, C in enumerate(failed))]
    assert f"  {text}" in triage.report(records).splitlines()


def test_numbers_that_overlap_tell_nothing():
    records = [*(trial(k, C=float(k)) for k in range(4)), trial(8, error="E", C=-1.0), trial(9, error="E", C=9.0)]
    assert len(triage.report(records).splitlines()) == 2


def test_a_value_that_is_no_number_tells_too():
    records = [trial(0, k="a"), trial(1, k="b"), trial(2, error="E", k="c"), trial(3, error="E", k="d")]
    assert "  k is 'c' or 'd', as in none of the 2 that finished" in triage.report(records).splitlines()


def test_without_failures_there_is_nothing_to_say():
    assert triage.report([trial(0), trial(1, Status.PRUNED), trial(2, Status.KILLED)]) == ""


def test_many_trials_are_not_all_named():
    assert "#11, …" in triage.report([trial(k, error="E") for k in range(50)])


def test_all_failed():
    text = triage.report([trial(k, error="E", C=k, kernel="rbf") for k in range(3)])
    assert text.splitlines()[2:] == ["  all with kernel=rbf"]
