import pytest


@pytest.mark.parametrize(
    "cell",
    [
        "x = 1\nprint(nowhere)  # ml-experiment: ignore[undefined]",
        "x = 1\nprint(nowhere)  # ml-experiment: ignore",
        "x = 1\nprint(nowhere)  # noqa: F821  # ml-experiment: ignore[unseeded, undefined]",
        "x = 1\n# ml-experiment: ignore[undefined]\nprint(nowhere)",
        "# A title\n# ml-experiment: ignore[undefined]\n\nx = 1\n\n\nprint(nowhere)",
        "%%time\n# ml-experiment: ignore[undefined]\nx = 1\n\nprint(nowhere)",
    ],
)  # fmt: skip
def test_a_comment_ignores(found, cell):
    assert found(cell) == []


def test_a_comment_ignores_what_ends_in_its_line(brief):
    cell = (
        "from sklearn.cluster import KMeans\nm = KMeans(\n    3,\n)  # ml-experiment: ignore[unseeded]\nn = KMeans(3)"
    )
    assert brief(cell) == [("unseeded", 1, 5)]


@pytest.mark.parametrize(
    "cell",
    [
        "print(nowhere)  # ml-experiment: ignore[unseeded]",
        "x = 1  # ml-experiment: ignore\nprint(nowhere)",
        "x = 1\n# ml-experiment: ignore\n\nprint(nowhere)",
    ],
)
def test_a_comment_about_something_else_does_not(brief, cell):
    assert [rule for rule, *_ in brief(cell)] == ["undefined"]


def test_a_comment_of_one_cell_is_not_about_another(brief):
    assert brief("# ml-experiment: ignore\nprint(a)", "print(b)") == [("undefined", 2, 1)]


def test_a_comment_that_names_no_rule(found):
    text = "ignore[unseeeded] names no rule; did you mean 'unseeded'?"
    assert found("x = 1  # ml-experiment: ignore[unseeeded]") == [
        ("unknown-rule", 1, "c1", 1, text, "correct the name")
    ]
