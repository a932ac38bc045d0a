"""Notebooks that don't run from top to bottom, each finding compared whole."""

import pytest

MAKE = "make {0} above, or import it; a new kernel has only what the code above makes"


def test_a_name_that_only_a_later_cell_makes(found):
    assert found("x = 1", "print(x)\nprint(y)", "y = 2") == [
        (
            "order", 2, "c2", 2, "reads y, which only cell 3, further down, makes",
            "move what makes y above this cell, or this cell below it",
        )
    ]  # fmt: skip


def test_a_name_that_no_cell_makes(found):
    assert found("x = 1", "print(\n    x,\n    completely,\n)") == [
        ("undefined", 2, "c2", 3, "reads completely, which no cell makes", MAKE.format("completely"))
    ]


def test_a_name_that_is_nearly_there(found):
    assert found("X_train = 1", "print(X_trian)") == [
        ("undefined", 2, "c2", 1, "reads X_trian, which no cell makes", "did you mean 'X_train'?")
    ]


def test_a_name_that_a_function_reads_and_no_cell_makes(found):
    text = "a function reads missing when it is called, and no cell makes it"
    assert found("def f():\n    return missing") == [("undefined", 1, "c1", 2, text, MAKE.format("missing"))]


def test_a_name_that_its_own_cell_makes_too_late(found):
    assert found("print(total)\ntotal = 1") == [
        ("order", 1, "c1", 1, "reads total above line 2, which is the first to make it", "make total above this line")
    ]


def test_a_name_that_was_deleted(found):
    assert found("x = 1", "del x", "print(x)") == [
        ("order", 3, "c3", 1, "reads x, which cell 2 deletes", "delete x below its last use")
    ]


def test_a_name_of_a_cell_that_is_not_run(found):
    assert found(("x = 1", "skip-execution"), "print(x)") == [
        (
            "order", 2, "c2", 1, "reads x, which only cell 1 makes, and that is not run",
            "run cell 1 too, or make x in a cell that is run",
        )
    ]  # fmt: skip


def test_lines_of_a_tracked_cell_count_its_magic(found):
    assert found("%load_ext ml_experiment_nb", "%%experiment 'x'\nC = 1\n\nprint(C, data)", "data = 1") == [
        (
            "order", 2, "c2", 4, "reads data, which only cell 3, further down, makes",
            "move what makes data above this cell, or this cell below it",
        )
    ]  # fmt: skip


def test_a_group_leaves_nothing_but_its_records(brief):
    group = "%%group --trials 2 --maximize a --into records\nC = uniform(0, 1)\nmodel = C\n{'a': C}"
    assert brief(group, "print(records)", "print(model)") == [("undefined", 3, 1)]
    assert brief(group.replace("group", "experiment").replace("uniform(0, 1)", "1"), "print(records, model, C)") == []


def test_a_plan_makes_nothing(brief):
    assert brief("%%experiment 'x' --plan\nC = 1\nmodel = C", "print(model)") == [("undefined", 2, 1)]


def test_code_that_is_no_python(found):
    assert found("x = 1", "x = = 2\nprint(y)", "print(z)") == [
        (
            "syntax", 2, "c2", 1, "invalid syntax: x = = 2",
            "correct it, or tag the cell `skip-execution` if it is not to be run",
        )
    ]  # fmt: skip


def test_the_exception_s_name_is_gone_after_its_handler(brief):
    assert brief("try:\n    f = 1\nexcept ValueError as error:\n    pass\nprint(error)") == [("undefined", 1, 5)]


@pytest.mark.parametrize("magic", ["time", "capture out", "prun -q"])
def test_magics_that_run_python_are_read_through(brief, magic):
    assert brief(f"%%{magic}\nx = 1\nprint(nowhere)", "print(x)") == [("undefined", 1, 3)]


def test_a_script_says_so(tmp_path):
    from ml_experiment_nb.preflight import check

    (tmp_path / "run.py").write_text("import os\n\n\ndef f():\n    return missing\n\n\nprint(f(), late)\nlate = os\n")
    texts = [str(one) for one in check(tmp_path / "run.py", ignore=["uncommitted"])]
    place = tmp_path / "run.py"
    assert texts == [
        f"{place}: line 5: [undefined] a function reads missing when it is called, and nothing makes it",
        f"{place}: line 8: [order] reads late above line 9, which is the first to make it",
    ]
