import pytest

from ml_experiment_nb.preflight.findings import Finding, Findings, sorted_findings


def finding(rule="undefined", text="a", **place):
    return Finding(rule, text, "define it", **place)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, ""), ({"file": "a.py", "line": 3}, "a.py: line 3"), ({"cell": 2, "line": 1}, "cell 2, line 1"),
        ({"file": "a.ipynb", "cell": 2, "id": "c2"}, "a.ipynb: cell 2 (c2)"), ({"file": "a.py"}, "a.py"),
    ],
)  # fmt: skip
def test_a_place_in_words(place, text):
    one = finding(**place)
    assert one.place == text
    assert str(one) == (f"{text}: [undefined] a" if text else "[undefined] a")


def test_they_stand_in_the_order_of_their_places_and_of_the_rules_each_once():
    first = finding(cell=1, line=9)
    found = [finding(cell=2, line=1), finding("unseeded", cell=1, line=9), first, finding(cell=1, line=9), finding()]
    assert [(one.cell, one.line, one.rule) for one in sorted_findings(found)] == [
        (None, None, "undefined"), (1, 9, "undefined"), (1, 9, "unseeded"), (2, 1, "undefined"),
    ]  # fmt: skip


def test_they_are_printed_with_what_to_do():
    assert str(Findings([finding(file="a.py", line=3)])) == "a.py: line 3: [undefined] a\n  -> define it"
    assert str(Findings()) == repr(Findings()) == "nothing found"


def test_as_json_without_what_is_for_comments_alone():
    assert finding(cell=1, last=7).to_json() == {
        "rule": "undefined", "file": None, "cell": 1, "id": None, "line": None, "text": "a", "advice": "define it",
    }  # fmt: skip
    assert finding(last=7) == finding(last=8)
