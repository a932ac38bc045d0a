"""What stays of many runs in a saved notebook, whoever shows it."""

import random
import re

import nbformat
import pytest
from made_records import record

from ml_experiment_nb.records import Records, Status
from ml_experiment_nb.widgets.fallback import comparison_html, group_html


def runs(count, *, names=("acc",), params=4):
    some = random.Random(count)
    made = []
    for k in range(count):
        values = {f"p{n}": 10 ** some.uniform(-3, 3) for n in range(params)} | {"kernel": some.choice(["rbf", "poly"])}
        made.append(record(name=f"SVM #{k}", number=k, params=values, metrics={n: some.random() for n in names}))
    return made


GROUP = Records([*runs(12), record(status=Status.FAILED, metrics={})], record(name="SVM", kind="group"), "acc", True)


def test_a_group_is_a_picture_and_a_table():
    made = group_html(GROUP, note="it still <runs>")
    assert made.startswith("<div><div>it still &lt;runs&gt;</div><p><img alt=")
    assert 'alt="13 runs of SVM; 12 finished, 1 failed; best acc ' in made
    assert "<caption" in made
    assert made.count('scope="row"') == 13


@pytest.mark.parametrize("large", [10**400, 10**5000, "7" * 5000], ids=range(3))
def test_a_number_that_no_double_holds_is_drawn_beside_the_others(large):
    some = [record(params={"n": n, "m": k}, metrics={"acc": k}) for k, n in enumerate((1, large))]
    assert "Parallel coordinates of n, m, acc" in comparison_html(Records(some, None, "acc"))


def test_a_group_of_two_metrics_shows_its_front_and_one_of_none_its_table():
    both = Records(runs(20, names=("acc", "loss")), None, ["acc", "loss"], [True, False])
    assert "on the front of acc, loss" in group_html(both)
    assert group_html(both).count("<img") == 1
    assert "<img" not in group_html(Records(runs(3)))
    assert "<img" not in group_html(Records([], None, "acc"))


def test_a_comparison_draws_what_varies():
    found = re.search(r'<img alt="([^:]*)', comparison_html(GROUP))
    assert found[1] == "Parallel coordinates of p0, p1, p2, p3, kernel, acc"
    same = Records([record(metrics={"acc": 0.1}), record(metrics={"acc": 0.2})], None, "acc")
    assert "<img" not in comparison_html(same)
    assert "<img" not in comparison_html(Records(runs(3)))


def test_parameters_read_from_a_store_are_numbers_again():
    texts = Records([record(params={"C": str(C)}, metrics={"acc": C}) for C in (0.01, 1.0, 100.0)], None, "acc", True)
    numbers = Records([record(params={"C": C}, metrics={"acc": C}) for C in (0.01, 1.0, 100.0)], None, "acc", True)
    assert re.findall("<img.*?>", comparison_html(texts)) == re.findall("<img.*?>", comparison_html(numbers))


@pytest.mark.slow
@pytest.mark.parametrize("make", [group_html, comparison_html])
@pytest.mark.parametrize("names", [("acc",), ("acc", "loss")])
def test_ten_thousand_runs_stay_small(make, names):
    made = make(Records(runs(10_000, names=names, params=30), None, names, True))
    assert len(made.encode()) < 300_000
    assert not re.search(r"<(script|style|svg|link)|\son\w+=|\s(class|id)=|url\(|href=", made)


def test_nbconvert_keeps_it():
    nbconvert = pytest.importorskip("nbconvert")
    output = nbformat.v4.new_output("display_data", {"text/html": group_html(GROUP), "text/plain": "13 runs"})
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    page, _ = nbconvert.HTMLExporter().from_notebook_node(nb)
    assert re.search(r'<img[^>]*src="data:image/svg\+xml;base64,', page)
    assert "<caption" in page
    assert page.count('scope="row"') == 13
