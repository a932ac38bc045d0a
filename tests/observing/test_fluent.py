"""What a notebook has set up of MLflow for itself is put aside for a tracked cell, and there again after it."""

import os
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.tracking import fluent
from mlflow.tracking._tracking_service import utils

from ml_experiment_nb.observing.fluent import observing

OURS, THEIRS = "a" * 32, "b" * 32
GIVEN = {"MLFLOW_TRACKING_URI": "sqlite:///ours.db", "MLFLOW_RUN_ID": OURS, "MLFLOW_EXPERIMENT_ID": "7"}


@pytest.fixture
def notebook(project, monkeypatch):
    """A notebook with an address, an experiment and an open run of its own."""
    monkeypatch.setattr(utils, "_tracking_uri", "sqlite:///theirs.db")
    monkeypatch.setattr(fluent, "_active_experiment_id", "3")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///theirs.db")
    last, stack = fluent._last_active_run_id.get(), fluent._active_run_stack.get()
    before = list(stack)
    theirs = SimpleNamespace(info=SimpleNamespace(run_id=THEIRS))
    stack[:] = [theirs]
    fluent._last_active_run_id.set(THEIRS)
    yield theirs
    stack[:] = before
    fluent._last_active_run_id.set(last)


def cell(environment=GIVEN):
    return observing(SimpleNamespace(environment=environment), None)


def test_a_cell_s_calls_meet_its_own_run(notebook):
    with cell():
        assert {name: os.environ.get(name) for name in GIVEN} == GIVEN
        assert mlflow.get_tracking_uri() == "sqlite:///ours.db"
        assert mlflow.active_run() is None
    assert mlflow.active_run() is notebook
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///theirs.db"
    assert "MLFLOW_RUN_ID" not in os.environ
    assert (utils._tracking_uri, fluent._active_experiment_id) == ("sqlite:///theirs.db", "3")
    assert fluent._last_active_run_id.get() == THEIRS


def test_all_of_it_is_there_again_after_an_error(notebook):
    with pytest.raises(ZeroDivisionError), cell():
        1 / 0  # noqa: B018
    assert mlflow.active_run() is notebook
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///theirs.db"


def test_what_the_cell_itself_sets_stays(notebook):
    with cell():
        os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///chosen.db"
        utils._tracking_uri = "sqlite:///chosen.db"
        fluent._active_experiment_id = "9"
        fluent._last_active_run_id.set(OURS)
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///chosen.db"
    assert (utils._tracking_uri, fluent._active_experiment_id) == ("sqlite:///chosen.db", "9")
    assert fluent._last_active_run_id.get() == OURS


def test_a_run_that_the_cell_leaves_open_stays_open_and_ours_is_its_driver_s(notebook):
    other = SimpleNamespace(info=SimpleNamespace(run_id="c" * 32))
    with cell():
        fluent._active_run_stack.get().extend([SimpleNamespace(info=SimpleNamespace(run_id=OURS)), other])
    assert fluent._active_run_stack.get() == [notebook, other]


def test_a_task_s_process_is_left_as_it_is(notebook):
    with cell({}):
        assert mlflow.active_run() is notebook
    with observing(SimpleNamespace(), None):
        assert mlflow.active_run() is notebook
