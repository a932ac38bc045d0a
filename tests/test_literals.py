import pytest

from ml_experiment_nb.literals import read_value


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
