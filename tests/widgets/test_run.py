"""A run's card under its cell: what of its files is shown, and what a cell of a real shell shows."""

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from made_records import record

from ml_experiment_nb import earlier
from ml_experiment_nb.cards import File
from ml_experiment_nb.magics import load_ipython_extension
from ml_experiment_nb.widgets.bundle import MIME
from ml_experiment_nb.widgets.run import files_of, show_run


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setattr(earlier, "_last", {})
    monkeypatch.setattr(earlier, "goals", {})
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    load_ipython_extension(made)
    yield made
    InteractiveShell.clear_instance()


def test_only_few_and_small_images_are_shown(tmp_path):
    kept = {"a.png": 10, "big.png": 60_001, "b.jpg": 60_000, "c.svg": 50_000, "d.png": 5, "e.txt": 1, "gone.gif": 3}
    for name, length in kept.items():
        if name != "gone.gif":
            (tmp_path / name).write_bytes(b"x" * length)
    shown = files_of(tmp_path, kept)
    assert [one.name for one in shown if one.image is not None] == ["a.png", "b.jpg", "d.png"]
    assert shown[-1] == File("gone.gif", 3)


def test_the_card_is_one_output(project, shell):
    with capture_output() as shown:
        show_run(record(), project, {}, later=False)
    [output] = shown.outputs
    run = {"run": record().run_id, "status": "finished", "metric": "acc 0.9877"}
    assert output.data[MIME] == {"kind": "run", **run}
    assert output.data["text/plain"].startswith("svm #1  ✓ finished")
    assert "<caption" not in output.data["text/html"]


def test_a_cell_shows_what_it_kept_and_what_changed(stored, shell):
    source = "C = {}\n{{'acc': C / 2}}, {{'note': 'text', 'deep/x': [C]}}"
    with capture_output():
        shell.run_cell_magic("experiment", "svm", source.format(1.0))
    with capture_output() as shown:
        shell.run_cell_magic("experiment", "svm", source.format(2.0))
    text = shown.outputs[0].data["text/plain"]
    assert "  params   C=2 (was 1)\n  metrics  acc=1 (▲ +0.5)\n  files    note.txt (4 B), deep/x.json (" in text


def test_a_cell_that_fails_or_is_interrupted_shows_its_card(stored, shell):
    for raised, status in (("ValueError('no')", "failed"), ("KeyboardInterrupt", "killed")):
        with capture_output() as shown:
            shell.run_cell(f"%%experiment svm\nC = 1\nraise {raised}")
        assert f" {status}  " in shown.outputs[0].data["text/plain"]
