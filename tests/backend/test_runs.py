"""What is answered of runs, with a real store."""

from __future__ import annotations

import pytest

from ml_experiment_nb.backend import runs
from ml_experiment_nb.backend.asks import Nothing
from ml_experiment_nb.backend.projects import Project
from ml_experiment_nb.backend.runs import Where
from ml_experiment_nb.tracking import Store


@pytest.fixture
def store(stored):
    return Store(stored)


def test_a_notebook_that_is_opened_while_it_runs_is_copied_again_until_somebody_edits_it(store):
    run = store.client.create_run(store.experiment_id("E"), run_name="N").info.run_id
    live = store.root / ".ml-experiment" / "runs" / run / "artifacts" / "a.ipynb"
    live.parent.mkdir(parents=True)

    def opened():
        found = runs.notebook(Project(store.root), Where(store.root, store.root, {"run": run}), Nothing())
        return store.root / found["path"]

    live.write_text("one cell")
    assert opened().read_text() == "one cell"
    live.write_text("two cells")
    assert opened().read_text() == "two cells"
    store.client.set_terminated(run)
    live.write_text("all cells")
    assert opened().read_text() == "all cells"
    written = opened().stat().st_mtime_ns
    assert opened().stat().st_mtime_ns == written  # JupyterLab asks whether to load anew what has been written
    opened().write_text("edited")
    live.write_text("other cells")
    assert opened().read_text() == "edited"


def test_of_a_log_only_the_end_is_read(store, monkeypatch):
    run = store.client.create_run(store.experiment_id("E"), run_name="N").info.run_id

    def log():
        return runs.log(Project(store.root), Where(store.root, store.root, {"run": run}), Nothing())

    assert log() == {"text": "", "whole": True}
    monkeypatch.setattr(Store, "log_text", None)
    live = store.root / ".ml-experiment" / "runs" / run / "artifacts" / "record" / "log.txt"
    live.parent.mkdir(parents=True)
    live.write_bytes(b"one\r\ntwo\n")
    assert log() == {"text": "one\ntwo\n", "whole": True}
    monkeypatch.setattr(runs, "TAIL", 4)
    assert log() == {"text": "two\n", "whole": False}
    store.client.log_artifact(run, str(live), "record")
    live.unlink()
    assert log() == {"text": "two\n", "whole": False}
