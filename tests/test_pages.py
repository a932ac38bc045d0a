"""The notebooks of runs as pages: made for the best trial of a group, and for any run when asked for."""

import subprocess

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

from ml_experiment_nb import cli, loop
from ml_experiment_nb.pages import add_page_of_best, add_pages
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.tracking import Store


def run(**spec):
    return [*loop.run(make_plan(spec_from_mapping({"name": "paged", "executor": "inline", **spec})))]


@pytest.fixture
def kept(stored, script):
    """The record of a run among whose files are a notebook, and a file that only has the name of one."""
    nbformat.write(new_notebook(cells=[new_code_cell("print(5)")]), stored / "mine.ipynb")
    source = (
        "from ml_experiment_nb import artifact\nartifact('sub/mine.ipynb', __import__('pathlib').Path('mine.ipynb'))\n"
    )
    (record,) = run(kind="experiment", run=[script(source + "artifact('not.ipynb', 'text')")])
    assert record.ok, record.failure
    return record


def test_a_page_is_made_when_asked_for_and_once(stored, kept):
    store = Store(stored)
    assert "sub/mine.html" not in store.artifacts(kept)
    assert add_pages(store, kept) == ["sub/mine.html"]
    assert "print" in store.text(kept, "sub/mine.html")
    before = store.artifacts(kept)
    assert add_pages(store, kept) == ["sub/mine.html"]
    assert store.artifacts(kept) == before


def test_the_command_says_where_it_is(stored, kept):
    found = CliRunner().invoke(cli.commands, ["show", "--html", kept.run_id])
    assert found.exit_code == 0
    assert found.stdout == f"{kept.artifact_uri}/sub/mine.html\n"


def test_the_command_on_a_run_without_a_notebook(stored, script):
    (record,) = run(kind="experiment", run=[script("x = 1")])
    found = CliRunner().invoke(cli.commands, ["show", "--html", record.run_id])
    assert (found.exit_code, found.stdout) == (0, "")
    assert "no notebook" in found.stderr


def test_what_goes_wrong_is_a_sentence(stored, kept):
    store = Store(stored)
    store.client.delete_run(kept.run_id)
    gone = kept.__class__(**{**vars(kept), "run_id": "0" * 32})
    (said,) = add_page_of_best(store, gone)
    assert "is not there as a page" in said
    assert [*add_page_of_best(store, None)] == []


@pytest.mark.kernel
def test_of_a_group_s_trials_the_best_one_has_its_page(stored):
    cells = [new_code_cell("C = 1", metadata={"tags": ["parameters"]}), new_code_cell("{'a': C}")]
    nbformat.write(new_notebook(cells=cells), stored / "work.ipynb")
    metric = {"name": "a", "direction": "maximize"}
    *trials, parent = run(kind="group", run="work.ipynb", each=[{"C": 1}, {"C": 3}, {"C": 2}], metric=metric, slots=1)
    assert parent.ok, parent.failure
    store = Store(stored)
    assert [r.metrics["a"] for r in trials if "work.html" in store.artifacts(r)] == [3.0]


def test_untracked_files_are_named(stored, script):
    (stored / "new file.txt").write_text("x")
    target = script("x = 1")
    subprocess.run(["git", "init", "-q"], check=True)
    (record,) = run(kind="experiment", run=[target])
    assert set(Store(stored).text(record, "record/untracked.txt").splitlines()) >= {"new file.txt", "script.py"}
