import math

import pytest

from ml_experiment_nb.literals import read_value, value_of


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("0.5", 0.5),
        ("1e-5", 1e-5),
        ("-3", -3),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("[1, 'a']", [1, "a"]),
        ("{'a': 1}", {"a": 1}),
        ("'0.5'", "0.5"),
        ("rbf", "rbf"),
        ("", ""),
        ("1.2.3", "1.2.3"),
        ("__import__('os')", "__import__('os')"),
        ("(" * 500, "(" * 500),
        ("a b", "a b"),
    ],
)
def test_a_word_is_the_value_that_it_looks_like(word, value):
    assert read_value(word) == value
    assert type(read_value(word)) is type(value)


def test_what_a_store_has_as_text_is_what_it_was():
    values = (0.5, 1e-05, 7, -1, True, None, [1, "a"], (1, 2), {"a": 1.5}, "rbf", "a b", "", float("inf"), {1})
    assert [value_of(str(one)) for one in values] == list(values)
    assert math.isnan(value_of("nan"))
    for text in ("007", "1e3", "1_000", "0x10", "true", "'a'", "[1,2]", "(", "[" * 500, "9" * 5000, "-"):
        assert value_of(text) == text


def test_a_container_is_nobody_else_s():
    value_of("[1]").append(2)
    assert value_of("[1]") == [1]
