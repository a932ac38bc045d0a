"""Parameters that do nothing, or not what is meant, each finding compared whole."""

NO_USE = "use {0}, or take it out: runs that differ by it alone do the same"


def unused(name, cell, line, why):
    text = f"the parameter {name} has no effect: {why}"
    return ("unused-parameter", cell, f"c{cell}", line, text, NO_USE.format(name))


def stale(name, cell, line, where, home):
    text = f"computes from {name} {where}: a value that is given for {name} comes below, and isn't in it"
    return ("stale-parameter", cell, f"c{cell}", line, text, f"move this below cell {home}")


def test_a_parameter_that_no_cell_reads(found):
    assert found(("C = 1\ngamma = 2", "parameters"), "print(C)") == [unused("gamma", 1, 2, "no cell reads it")]


def test_a_parameter_that_is_overwritten_first(found):
    assert found(("C = 1", "parameters"), "import os\nC = 5", "print(C)") == [
        (
            "overwritten-parameter", 2, "c2", 2,
            "the parameter C of cell 1 gets another value here before any cell reads it",
            "take this assignment of C out, or another name for it: the value that is given has no effect",
        )
    ]  # fmt: skip


def test_a_tracked_cell_s_own_value_overwrites_the_notebook_s(brief):
    tracked = "%%experiment 'x'\nC = 0.5\n{'a': C}"
    assert brief(("C = 1", "parameters"), tracked) == [("overwritten-parameter", 2, 2)]
    assert brief(("C = 1", "parameters"), tracked.replace("'x'", "'x' -p C={C}")) == []


def test_a_group_s_own_space_leaves_the_notebook_s_unread(brief):
    group = "%%group 'x' --trials 2 --maximize a\nC = uniform(0, 1)\n{'a': C}"
    assert brief(("C = 1", "parameters"), group) == [("unused-parameter", 1, 1)]


def test_a_value_computed_above_the_parameters(found):
    where = "above the parameters (cell 3)"
    assert found("C = 1", "grid = [C, 2 * C]", ("C = 2", "parameters"), "print(C, grid)") == [
        stale("C", 2, 1, where, 3)
    ]
    assert found("C = 1\ngrid = [C, 2]", ("C = 2", "parameters"), "print(C, grid)") == [
        stale("C", 1, 2, "above the parameters (cell 2)", 2)
    ]


def test_a_value_computed_in_the_parameters_cell(found):
    assert found(("C = 1\nrates = [C, 2 * C]", "parameters"), "print(rates)") == [
        stale("C", 1, 2, "in the parameters cell itself", 1)
    ]


def test_what_is_shown_or_defined_above_is_no_harm(brief):
    above = "C = 1\nprint(C)\ndef f(x):\n    return C * x\ng = lambda: C"
    assert brief(above, ("C = 2", "parameters"), "print(f(1), g())") == []


def test_a_tracked_cell_s_parameter_that_nothing_reads(found):
    cell = "%%experiment 'x'\nC = 1\nmomentum = 2\nprint(C)"
    assert found(cell) == [unused("momentum", 1, 3, "the cell doesn't read it")]
    assert found(cell, "print(momentum)") == []
    assert found("def f():\n    return momentum", cell) == []


def test_a_tracked_cell_s_parameter_that_is_overwritten(found):
    assert found("%%experiment 'x'\nC = 1\nprint('begins')\nC = 3\nprint(C)") == [
        (
            "overwritten-parameter", 1, "c1", 4, "the parameter C gets another value here before anything reads it",
            "take this assignment out, or another name for it: the value that is given for C has no effect",
        )
    ]  # fmt: skip


def test_a_job_s_parameter_that_it_does_not_read(found):
    cell = "from ml_experiment_nb import job\n@job\ndef train(C,\n          gamma='scale'):\n    return {'a': C}"
    assert found(cell) == [unused("gamma", 1, 4, "train() doesn't read it")]


def test_a_job_s_parameter_that_is_overwritten(brief):
    cell = "import ml_experiment as mx\n@mx.job\ndef train(C):\n    '''Text.'''\n    C = 1\n    return {'a': C}"
    assert brief(cell) == [("overwritten-parameter", 1, 5)]
    assert brief(cell.replace("C = 1", "C = C or 1")) == []


def test_another_s_job_is_not_ours(brief):
    assert brief("from celery import job\n@job\ndef train(C):\n    return 1") == []


def test_what_a_spec_gives_counts(tmp_path, monkeypatch, book):
    from ml_experiment_nb.preflight import check

    monkeypatch.chdir(tmp_path)
    book(("C = 1", "parameters"), "print(C, never)")
    (tmp_path / "spec.yaml").write_text("kind: experiment\nname: x\nrun: book.ipynb\nparams: {C: 2}\n")
    [finding] = check("spec.yaml", ignore=["uncommitted"])
    assert (finding.rule, finding.file, finding.cell) == ("undefined", "book.ipynb", 2)


def test_the_part_that_a_spec_runs(tmp_path, monkeypatch, book):
    from ml_experiment_nb.preflight import check

    monkeypatch.chdir(tmp_path)
    book("data = 1", ("C = 1", "parameters"), "print(C, data)")
    run = "run: {notebook: book.ipynb, from_cell: 3}"
    (tmp_path / "spec.yaml").write_text(f"kind: experiment\nname: x\n{run}\n")
    [finding] = check("spec.yaml", ignore=["uncommitted"])
    assert finding.text == "reads data, which only cell 1 makes, and that is not run"
