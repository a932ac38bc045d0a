"""Tables in three forms, as they stand in a saved notebook."""

import pytest

from ml_experiment_nb.markup import (
    Column,
    Html,
    Table,
    as_html,
    as_markdown,
    as_text,
    facts_html,
    facts_markdown,
    folded,
    picture_type,
)

TABLE = Table("a & b", (Column("name"), Column("C", numeric=True)), (("<x>", "0.5"), ("y|z", "10")))


def test_html_has_a_caption_and_heads_of_rows_and_columns():
    assert as_html(TABLE) == (
        '<table cellpadding="4" style="margin:4px 0;border-collapse:collapse">'
        '<caption style="text-align:left;caption-side:top;padding:0 0 4px">a &amp; b</caption>'
        '<thead><tr><th scope="col" style="text-align:left">name</th><th scope="col" align="right">C</th></tr></thead>'
        '<tbody><tr><th scope="row" style="text-align:left">&lt;x&gt;</th><td align="right">0.5</td></tr>'
        '<tr><th scope="row" style="text-align:left">y|z</th><td align="right">10</td></tr></tbody></table>'
    )


def test_what_is_html_already_stays():
    made = as_html(Table("", (Column("a"), Column("b")), (("x", Html("<b>1</b>")),)))
    assert '<td style="text-align:left"><b>1</b></td>' in made
    assert "caption" not in made


def test_markdown():
    assert as_markdown(TABLE) == "a & b\n\n| name | C |\n| :--- | ---: |\n| \\<x\\> | 0.5 |\n| y\\|z | 10 |"


def test_text():
    assert as_text(TABLE) == "a & b\nname    C\n<x>   0.5\ny|z    10"


def test_what_is_left_out_is_told_where_it_was():
    table = Table("", (Column("k"), Column("v")), (("a", "1"), ("d", "4")), left_out=1002, after=1)
    assert as_text(table) == "k  v\na  1\n… 1,002 more …\nd  4"
    assert as_markdown(table).splitlines()[3] == "| … 1,002 more … |  |"
    assert '</tr><tr><td colspan="2" style="text-align:left">… 1,002 more …</td></tr><tr>' in as_html(table)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, []), (3, [0, 1, 2]), (11, [*range(11)]), (12, [0, 1, 2, 3, 10, 11]), (1000, [0, 1, 2, 3, 998, 999])],
)
def test_the_middle_of_many_is_left_out_and_of_few_nothing(count, shown):
    first, last = folded(count, 6, 2)
    assert [*first, *last] == shown


def test_facts():
    facts = [("params", "C=<1>"), ("note", "a_b")]
    assert (
        '<th scope="row" style="text-align:left">params</th><td style="text-align:left">C=&lt;1&gt;</td>'
        in facts_html("Plan", facts)
    )
    assert facts_markdown("Plan", facts) == "**Plan**\n\n- params: C=\\<1\\>\n- note: a\\_b"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("figures/1.png", "image/png"),
        ("a.b.JPG", "image/jpeg"),
        ("x.jpeg", "image/jpeg"),
        ("x.svg", "image/svg+xml"),
        ("x.pdf", None),
        ("png", None),
    ],
)
def test_a_picture_is_known_by_its_name(file, kind):
    assert picture_type(file) == kind
