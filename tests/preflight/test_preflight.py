"""The doors: the command, `check`, plans, one cell by itself; comments that ignore; what git says; odd files."""

import json
import subprocess

import pytest
from click.testing import CliRunner
from made_notebooks import notebook

from ml_experiment_nb import check, cli, make_plan, read_spec
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.preflight import RULES, check_cell, check_plan, told_of_cell

BAD = ["import random\nx = random.random()", "print(x, nowhere)"]


def command(*words):
    return CliRunner().invoke(cli.commands, ["check", *map(str, words)])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


# --- files ---


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.ipynb", None, "there is no such notebook"),
        ("a.py", None, "there is no such script"),
        ("a.txt", "x", "is neither a notebook"),
        ("a.ipynb", "", "it is empty"),
        ("a.ipynb", "{}", "without `nbformat`"),
        ("a.ipynb", notebook("x <- 1", language="R"), "is in r, and only Python can be looked at"),
        ("a.py", "def f(:", "invalid syntax"),
        ("a.yaml", "kind: experiment\nrun: gone.py\n", "run: there is no file"),
    ],
)
def test_files_that_can_not_be_read(here, name, text, problem):
    if text is not None:
        (here / name).write_text(text)
    with pytest.raises(SpecError, match=problem):
        check(name)


def test_an_old_notebook(here):
    cells = [{"cell_type": "code", "input": "print(x)", "language": "python", "outputs": [], "metadata": {}}]
    (here / "a.ipynb").write_text(json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [
        {"cells": cells, "metadata": {}}]}))  # fmt: skip
    assert [one.place for one in check("a.ipynb")] == ["a.ipynb: cell 1 (cell-0), line 1"]


def test_a_notebook_without_ids_and_with_markdown(here):
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "text"},
        {
            "cell_type": "code",
            "metadata": {},
            "source": ["y = 1\n", "print(x)"],
            "outputs": [],
            "execution_count": None,
        },
    ]
    (here / "a.ipynb").write_text(json.dumps({"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": cells}))
    assert [one.place for one in check("a.ipynb")] == ["a.ipynb: cell 2 (cell-1), line 2"]


def test_an_empty_notebook(found):
    assert found() == []
    assert found("", "# nothing", "\n\n") == []


def test_code_that_is_nested_too_deep(found):
    assert found("x = " + "-" * 3000 + "1", "print(x)") == []


# --- comments ---


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


# --- git ---


def git(*words):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], check=True, capture_output=True)


def test_what_git_does_not_have(book, here):
    book("x = 1")
    assert check("book.ipynb") == ()
    git("init", "-q")
    assert [one.text for one in check("book.ipynb")] == ["git doesn't have this file"]
    (here / "a.py").write_text("x = 1\n")
    (here / "data.bin").write_text("x")
    git("add", ".")
    assert next(one.text for one in check("book.ipynb")) == "differs from commit none"
    git("commit", "-q", "-m", "x")
    assert check("book.ipynb") == ()
    (here / "a.py").write_text("x = 2\n")
    (here / "data.bin").write_text("y")
    [other] = check("book.ipynb")
    assert (other.rule, other.file, other.text) == (
        "uncommitted", "book.ipynb", "a.py in its work tree differs from the commit",
    )  # fmt: skip
    assert str(other) == "book.ipynb: [uncommitted] a.py in its work tree differs from the commit"
    assert [one.text.split(" ")[:3] for one in check("a.py")] == [["differs", "from", "commit"]]
    (here / "new").mkdir()
    (here / "new" / "b.py").write_text("x = 1\n")
    assert "git doesn't have this file" in [one.text for one in check("new/b.py")]


def test_files_that_were_renamed_have_other_letters_or_are_ignored_are_found_too(here):
    git("init", "-q")
    for name in ("old.py", "größe.py"):
        (here / name).write_text("x = 1\n")
    (here / ".gitignore").write_text("mine.py\n")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    git("mv", "old.py", "new name.py")
    (here / "mine.py").write_text("x = 1\n")
    assert check("new name.py")[0].text.startswith("differs from commit")
    assert next(one.text for one in check("mine.py")) == "git doesn't have this file"
    assert [one.text for one in check("größe.py")] == ["new name.py in its work tree differs from the commit"]
    (here / "größe.py").write_text("x = 2\n")
    assert check("größe.py")[0].text.startswith("differs from commit")
