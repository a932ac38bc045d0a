import math
from array import array

import pytest

from ml_experiment_nb.widgets.columns import ABSENT
from ml_experiment_nb.widgets.growing import Growing


def numbers(data):
    return [None if math.isnan(one) else one for one in array("d", data)]


def codes(data):
    return list(array("i", data))


def test_what_is_new_of_numbers_is_sent_once():
    column = Growing("params", "C")
    column.add(1)
    column.add(ABSENT)
    head, data = column.new()
    assert head == {"group": "params", "name": "C", "kind": "number", "from": 0}
    assert numbers(data) == [1.0, None]
    column.add(2.5)
    head, data = column.new()
    assert (head["from"], numbers(data)) == (2, [2.5])
    head, data = column.new()
    assert (head["from"], data) == (3, b"")


@pytest.mark.parametrize("odd", ["rbf", True, None, [1], 10**400])
def test_one_that_is_no_number_makes_texts_of_all(odd):
    column = Growing("params", "kernel", [1, ABSENT])
    column.new()
    column.add(odd)
    column.add(1)
    head, data = column.new()
    assert (head["kind"], head["from"], head["textsFrom"]) == ("text", 0, 0)
    assert codes(data) == [0, -1, 1, 0]
    assert head["texts"][0] == "1"
    column.add(odd)
    column.add("poly")
    head, data = column.new()
    assert (head["from"], head["texts"], head["textsFrom"], codes(data)) == (4, ["poly"], 2, [1, 2])


def test_the_whole_can_be_had_and_changes_nothing_of_what_is_new():
    column = Growing("params", "kernel")
    for one in ("a", "b"):
        column.add(one)
    head, data = column.part()
    assert (head["texts"], codes(data)) == (["a", "b"], [0, 1])
    head, data = column.new()
    assert (head["from"], head["texts"], codes(data)) == (0, ["a", "b"], [0, 1])
