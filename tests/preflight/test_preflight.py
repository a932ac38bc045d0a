"""The doors: the command, `check`, plans, one cell by itself."""

import json

import pytest
from click.testing import CliRunner

from ml_experiment_nb import check, cli, make_plan, read_spec
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.preflight import RULES, check_cell, check_plan, told_of_cell

BAD = ["import random\nx = random.random()", "print(x, nowhere)"]


def command(*words):
    return CliRunner().invoke(cli.commands, ["check", *map(str, words)])


# --- the command ---


def test_the_command_warns(book, here):
    book(*BAD)
    done = command("book.ipynb")
    assert (done.exit_code, done.stderr) == (0, "2 found\n")
    assert done.stdout == (
        "book.ipynb: cell 1 (c1), line 2: [unseeded] random.random() draws from random's global generator, and "
        "nothing above seeds it\n  -> call random.seed(1) first\n"
        "book.ipynb: cell 2 (c2), line 1: [undefined] reads nowhere, which no cell makes\n"
        "  -> make nowhere above, or import it; a new kernel has only what the code above makes\n"
    )


def test_strict_fails(book, here):
    book(*BAD)
    assert command("book.ipynb", "--strict").exit_code == 1
    assert command("book.ipynb", "--strict", "--ignore", "unseeded", "--ignore", "undefined").exit_code == 0


def test_json(book, here):
    book(*BAD)
    lines = [json.loads(line) for line in command("book.ipynb", "--json").stdout.splitlines()]
    assert lines[1] == {
        "rule": "undefined", "file": "book.ipynb", "cell": 2, "id": "c2", "line": 1,
        "text": "reads nowhere, which no cell makes",
        "advice": "make nowhere above, or import it; a new kernel has only what the code above makes",
    }  # fmt: skip


def test_several_files(book, here):
    book("x = 1")
    (here / "a.py").write_text("print(b)\n")
    done = command("book.ipynb", "a.py")
    assert done.stdout.splitlines()[0] == "a.py: line 1: [undefined] reads b, which nothing makes"


def test_a_rule_that_there_is_not(book, here):
    book("x = 1")
    with pytest.raises(SpecError, match="'unseeeded' is no rule; did you mean 'unseeded'"):
        check("book.ipynb", ignore=["unseeeded"])


def test_nothing_found(book, here):
    book("x = 1")
    assert (str(check("book.ipynb")), command("book.ipynb", "--strict").exit_code) == ("nothing found", 0)


# --- plans, and one cell ---


def test_a_plan(book, here):
    book(*BAD)
    (here / "spec.yaml").write_text("kind: experiment\nname: x\nrun: book.ipynb\n")
    plan = make_plan(read_spec("spec.yaml"))
    assert [one.rule for one in check_plan(plan)] == ["unseeded", "undefined"]
    assert check(plan) == check("spec.yaml") == check_plan(plan)
    done = CliRunner().invoke(cli.commands, ["run", "spec.yaml", "--plan"])
    assert str(check_plan(plan)) in done.output


def test_a_plan_of_another_language_says_that_it_is_not_looked_at(book, here):
    book("x <- 1", language="R")
    done = CliRunner().invoke(cli.commands, ["run", "book.ipynb", "--plan"])
    assert done.exit_code == 0
    assert "book.ipynb: [syntax] is in r, and only Python can be looked at" in done.output


@pytest.mark.parametrize("kind", ["job", "experiment"])
def test_a_script_s_plan(here, kind):
    (here / "a.py").write_text("import random\nprint(random.random())\n")
    done = CliRunner().invoke(cli.commands, ["run", "a.py", "--plan", "--kind", kind])
    assert "a.py: line 2: [unseeded]" in done.output


def test_one_cell_of_a_notebook():
    cell = "%%experiment 'x'\nC = 1\nk = 2\nx = rng.random() + np.random.rand()\nprint(C, gone)"
    above = ["import numpy as np\nrng = np.random.default_rng(1)"]
    found = check_cell(cell, {"np", "rng"}, above=above)
    assert [(one.rule, one.line, one.place) for one in found] == [
        ("unused-parameter", 3, "line 3"), ("unseeded", 4, "line 4"), ("undefined", 5, "line 5"),
    ]  # fmt: skip
    assert [one.rule for one in check_cell(cell, {"np", "rng", "gone"}, above=[*above, "np.random.seed(1)"])] == [
        "unused-parameter"
    ]
    assert [one.rule for one in check_cell(cell, {"np", "rng", "gone", "k"}, above=["def f():\n    return k"])] == []


def test_what_a_run_says_of_its_own_cell():
    cell = "%%experiment\nC = 1\nk = 2\ndata = open('/home/me/x.csv')\nmore = open('/home/me/y.csv')\nprint(f(C))"
    assert told_of_cell(cell, {"f"}) == "'/home/me/x.csv' is a path of this machine alone (line 4), and 1 more"
    assert told_of_cell("%%experiment\nC = 1\nprint(f())", {"f"}) == ""  # the function may read it


def test_what_is_there_already_is_no_finding_of_one_cell():
    assert check_cell("print(x, y)", ["x", "y"]) == ()
    assert check_cell("x = = 1")[0].rule == "syntax"


def test_every_rule_is_documented():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs/commands.md").read_text()
    assert [rule for rule in RULES if f"`{rule}`" not in text] == []
