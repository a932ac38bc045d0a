"""What a proof of a run has found, judged."""

from made_records import record

from ml_experiment_nb.cards import Card, card_html, card_markdown, card_text
from ml_experiment_nb.proofs import (
    CELLS,
    PROOF,
    RUNNING,
    SENTENCE,
    Finding,
    Proof,
    ProofAnswer,
    Ran,
    Saved,
    changed_cells,
    clean_text,
    differing,
    hidden,
    judged,
    order_of,
    said,
)
from ml_experiment_nb.verdicts import metric_differences

LOAD = Ran(3, "# the data\nX = load()", "a", 10.0)
FIT = Ran(5, "model = fit(X)", "b", 20.0)
OWN = Ran(6, "%%experiment --prove\n{'acc': model.score()}", "c", 30.0)
RAN = (LOAD, FIT, OWN)


def saved(*cells, at=100.0):
    return Saved(cells, at)


def as_it_stands(*ran):
    return [(one.cell, one.source) for one in ran]


def test_a_notebook_that_has_the_cells_as_they_were_run():
    there = saved(*as_it_stands(*RAN))
    assert changed_cells(RAN, there) == []
    assert order_of(RAN, there) == []


def test_a_deleted_cell_is_named_with_what_it_says():
    [found] = changed_cells(RAN, saved(*as_it_stands(FIT, OWN)))
    assert found == Finding(ProofAnswer.CHANGED, "In [3] (X = load()) is not in the notebook any more", (3,))


def test_an_edited_cell():
    [found] = changed_cells(RAN, saved(("a", "X = load(2)"), *as_it_stands(FIT, OWN)))
    assert (found.answer, found.text, found.cells) == (
        ProofAnswer.CHANGED, "In [3] (X = load()) was edited since", (3,)
    )  # fmt: skip


def test_layout_at_the_ends_of_lines_is_no_edit():
    assert changed_cells([LOAD], saved(("a", "\n# the data  \nX = load()\n"))) == []


def test_a_file_that_was_saved_before_says_nothing_of_what_was_run_since():
    assert changed_cells(RAN, saved(at=5.0)) == []
    assert [one.cells for one in changed_cells(RAN, saved(at=15.0))] == [(3,)]


def test_without_ids_cells_are_known_by_their_text():
    ran = [Ran(1, "x = 1", None, 1.0), Ran(2, "y = x", None, 2.0)]
    assert changed_cells(ran, saved(("k", "x = 1"), ("l", "y = x"))) == []
    [found] = changed_cells(ran, saved(("k", "x = 2"), ("l", "y = x")))
    assert found.text == "In [1] (x = 1) is not in the notebook any more, or was edited"
    [found] = order_of(ran, saved(("l", "y = x"), ("k", "x = 1")))
    assert found == Finding(
        ProofAnswer.OUT_OF_ORDER, "In [2] (y = x) stands above In [1], and was run after it", (1, 2)
    )


def test_cells_that_are_alike_have_no_place_without_ids():
    ran = [Ran(1, "x += 1"), Ran(2, "y = x")]
    assert order_of(ran, saved(("a", "y = x"), ("b", "x += 1"), ("c", "x += 1"))) == []


def test_cells_that_were_run_out_of_order():
    [found] = order_of(RAN, saved(*as_it_stands(FIT, LOAD, OWN)))
    assert found.text == "In [5] (model = fit(X)) stands above In [3], and was run after it"


def test_a_cell_that_was_run_twice():
    twice = (Ran(1, "x += 1", "a"), Ran(2, "x += 1", "a"))
    [found] = order_of(twice, saved(("a", "x += 1")))
    assert found == Finding(
        ProofAnswer.OUT_OF_ORDER, "In [1] (x += 1) and In [2] are one cell, which was run twice", (1, 2)
    )


def test_what_no_cell_makes_and_what_was_run_again_with_another_text():
    problems = ["the cell reads X, and no cell that was executed here makes it", "In [3] was edited since, as In [9]"]
    assert [(one.answer, one.cells) for one in hidden(problems)] == [
        (ProofAnswer.HIDDEN, ()),
        (ProofAnswer.CHANGED, (3, 9)),
    ]


def test_metrics_that_differ_and_why():
    differences = metric_differences({"acc": 0.5, "loss": 1.0}, {"acc": 0.25, "loss": 1.0})
    [found] = differing(differences, "numpy, random")
    assert found.answer is ProofAnswer.DIFFERS
    assert found.text.startswith("in a new kernel its cells give something else: metric acc 0.5 → 0.25")
    assert found.text.endswith(", for random numbers were drawn without a seed (numpy, random)")
    assert "seed" not in differing(differences, None)[0].text
    assert differing([], "numpy") == []


def test_the_gravest_finding_is_the_answer_and_all_are_told():
    findings = [
        Finding(ProofAnswer.OUT_OF_ORDER, "order", (1, 2)), Finding(ProofAnswer.DIFFERS, "differs"),
        Finding(ProofAnswer.CHANGED, "changed", (2, 3)),
    ]  # fmt: skip
    proof = judged(findings, clean="clean", seconds=1.25, notes=["a note"])
    assert (proof.answer, proof.text, proof.cells) == (ProofAnswer.DIFFERS, "differs; changed; order", (2, 3, 1))
    assert proof.tags() == {
        PROOF: "differs", SENTENCE: "differs; changed; order; a note", CELLS: "2, 3, 1", "mlexp.proof.seconds": "1.2"
    }  # fmt: skip
    assert Proof.from_json(proof.to_json()) == proof


def test_nothing_found_is_clean():
    proof = judged([], clean=clean_text(3, 2), seconds=2)
    assert (proof.answer, proof.cells) == (ProofAnswer.CLEAN, ())
    assert said(proof.tags()) == (
        "clean: in a new kernel its 3 cells, in the order in which they were run, gave the same 2 metrics"
    )
    assert clean_text(1, 0) == "in a new kernel its cell alone ended as it had; it has no metrics"


def test_a_card_shows_it():
    proof = judged([Finding(ProofAnswer.CHANGED, "In [3] (x < 1) was edited since", (3,))], clean="", seconds=1)
    shown = record(tags=proof.tags())
    assert "  proof    depends on a deleted or edited cell: In [3] (x < 1) was edited since" in card_text(Card(shown))
    assert ">depends on a deleted or edited cell</span>: In [3] (x &lt; 1) was edited since" in card_html(Card(shown))
    assert "proof: depends on a deleted or edited cell" in card_markdown(Card(shown))
    assert f">{RUNNING}</span></div>" in card_html(Card(record(tags={PROOF: RUNNING})))
    assert "proof" not in card_text(Card(record()))


def test_cells_that_gave_something_else_are_not_said_to_have_given_the_same():
    early = Finding(ProofAnswer.OUT_OF_ORDER, "In [2] stands above In [1]", (1, 2))
    late = Finding(ProofAnswer.DIFFERS, "in a new kernel its cells give something else")
    assert judged([early], clean="gave the same", seconds=1.0).notes == ("gave the same",)
    assert judged([early, late], clean="gave the same", seconds=1.0).notes == ()
    assert judged([Finding(ProofAnswer.FAILED, "raises")], clean="gave the same", seconds=1.0).notes == ()
