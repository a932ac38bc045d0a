import pytest

from ml_experiment_nb.again import last_tries, misfit, missing, split
from ml_experiment_nb.records import Failure, Record, Status, now
from ml_experiment_nb.spaces import choice, loguniform, parse_value

INTERRUPTED = Failure("KeyboardInterrupt", "the run was stopped")
SPACE = {"C": loguniform(0.1, 10), "kernel": choice(["rbf", "lin"]), "sizes": parse_value(["range(3)", "range(3)"])}
POINT = {"C": 1.0, "kernel": "rbf", "sizes": [0, 2]}


def trial(number, status, failure=None, repeats=None):
    tags = {} if repeats is None else {"mlexp.repeats": str(repeats)}
    return Record(str(number), f"g #{number}", "g", "trial", status, {}, {}, now(), 1.0, failure, number, tags=tags)


CHILDREN = [
    trial(0, Status.FINISHED),
    trial(1, Status.KILLED, INTERRUPTED),
    trial(2, Status.FAILED, Failure("ValueError", "")),
    trial(3, Status.PRUNED),
    trial(4, Status.KILLED, Failure("Stopped", "stopped by me")),
    trial(5, Status.KILLED, Failure("DriverDied", ""), repeats=1),
    trial(6, Status.FAILED, Failure("ValueError", "")),
    trial(7, Status.FINISHED, repeats=6),
]


def test_what_was_lost_is_tried_again_and_once():
    kept, redo = split(CHILDREN)
    assert [one.number for one in kept] == [0, 2, 3, 4, 6, 7]
    assert redo == (5,)  # which repeats 1; 4 was stopped by itself


def test_failed_ones_are_tried_again_when_that_is_asked():
    assert split(CHILDREN, failed=True)[1] == (2, 5)  # 6 was, already


def test_a_row_counts_when_it_has_a_finished_run():
    kept, redo = split([trial(0, Status.FINISHED), trial(1, Status.FAILED), trial(1, Status.FINISHED)], rows=True)
    assert ([one.number for one in kept], redo) == ([0, 1], ())


def test_a_try_that_was_lost_and_repeated_counts_for_nothing():
    lost, second, third = (trial(8, status) for status in (Status.KILLED, Status.KILLED, Status.FINISHED))
    second.tags.update({"mlexp.retry": "1", "mlexp.retry_of": lost.run_id})
    third.tags.update({"mlexp.retry": "2", "mlexp.retry_of": lost.run_id})
    assert last_tries([third, *CHILDREN, lost, second]) == [third, *CHILDREN]
    assert last_tries([lost, second]) == [second]
    assert last_tries(CHILDREN) == CHILDREN


def test_those_that_finished_or_were_pruned_count():
    assert missing(10, CHILDREN) == 7
    assert missing(2, CHILDREN) == 0
    assert missing(None, CHILDREN) is None


@pytest.mark.parametrize(
    ("changes", "fixed", "reason"),
    [
        ({}, {}, None),
        ({"fold": 1}, {"fold": 1}, None),
        ({"C": 100.0}, {}, "C=100 is not in loguniform(0.1, 10)"),
        ({"kernel": "poly"}, {}, "kernel=poly is not in choice(['rbf', 'lin'])"),
        ({"sizes": [0, 3]}, {}, "sizes=[0, 3] is not in [range(0, 3), range(0, 3)]"),
        ({"sizes": [0]}, {}, "sizes=[0] is not in [range(0, 3), range(0, 3)]"),
        ({"fold": 1}, {"fold": 2}, "fold was 1, and is 2 now"),
        ({"fold": True}, {"fold": 1}, "fold was True, and is 1 now"),
        ({}, {"fold": 2}, "it has no fold, which is 2 now"),
        ({"fold": 1}, {}, "it has fold=1, which is no parameter any more"),
    ],
)
def test_why_a_point_does_not_fit(changes, fixed, reason):
    assert misfit({**POINT, **changes}, SPACE, fixed) == reason


def test_a_new_parameter_fits_nothing():
    assert misfit({"C": 1.0}, {"C": SPACE["C"], "gamma": SPACE["C"]}, {}) == "it has no gamma"
